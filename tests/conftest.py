"""What every test may use, and how the tests are dealt out to the workers of pytest-xdist (`make test`)."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
# Processes that talk at the pace of a robot: beside other tests they would be late.
ALONE = ("tests/ros2_ws/", "tests/app/test_demo.py", "tests/app/test_up.py", "tests/app/test_kills.py",
         "tests/app/test_faults.py")
# What takes a minute begins first, so that no worker is left alone with it at the end.
LONG_FILES = ("tests/simulation/test_expert.py", "tests/test_robot_python.py")

# Whose loggers are ours.
OURS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.name for path in ROOT.glob("ros2_ws/src/*")}

# The workers already share the cores: more threads would only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts a background command (`make test &`) with SIGINT ignored; children would inherit that, and never end.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must run alone; long files first, all else stays in its order."""
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker("alone")
    items.sort(key=lambda item: _file(item.nodeid) not in LONG_FILES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each file on one worker, for its tests share fixtures.

    As --dist loadfile does, but in the order of the tests.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _file(nodeid)

    config.option.loadscopereorder = False  # by number of tests, which says nothing about how long they take
    return ByFile(config, log)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@pytest.fixture(autouse=True)
def warnings_still_sound() -> Generator[None, None, None]:
    """No test leaves a logger mute: a later one in the same process would wait for its warning in vain."""
    yield
    mute = [name for name in sorted(logging.root.manager.loggerDict)
            if name.partition(".")[0] in OURS and not logging.getLogger(name).isEnabledFor(logging.WARNING)]
    assert not mute, f"left without their warnings: {', '.join(mute)}"


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
