"""What every test may use, and how the tests are dealt out to the workers of pytest-xdist (`make test`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
# Whole runs of several processes would slow each other down, so one worker has them all.
WHOLE_RUNS = frozenset({
    "tests/app/test_demo.py", "tests/ros2_ws/test_closed_loop.py", "tests/ros2_ws/test_messages.py",
    "tests/ros2_ws/test_policy_death.py",
})
# What takes a minute begins first, so that no worker is left alone with it at the end.
LONG_GROUPS = ("whole runs", "tests/simulation/test_expert.py", "tests/test_robot_python.py")

# The workers already share the cores: more threads would only wait for each other. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups first; all else stays in its order."""
    items.sort(key=_turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep each file on one worker, for its tests share fixtures.

    The marker xdist_group would do the same, but pytest-xdist 3.8 sets it into a field that pytest 9.2 no longer reads.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    config.option.loadscopereorder = False  # by number of tests, which says nothing about how long they take
    return ByGroup(config, log)


def _turn(item: pytest.Item) -> int:
    group = _group(item.nodeid)
    return LONG_GROUPS.index(group) if group in LONG_GROUPS else len(LONG_GROUPS)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return "whole runs" if file in WHOLE_RUNS else file


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
