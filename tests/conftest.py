"""What every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Genuine recordings and data sets, which are never copied into the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the recordings under {SHARED_DATA}")
    return SHARED_DATA
