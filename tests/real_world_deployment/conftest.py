"""The Panda and the scoop task, as deployment sees them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig, load_task
from real_world_deployment.config import LimitShares
from real_world_deployment.homing import Homing
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.task_limits import limits_of


@pytest.fixture(scope="session")
def loop_bench() -> Any:
    """The module whose bench has loop, arm and sensors in lockstep; tests are no package that could import it."""
    return _module("test_deployment_loop")


@pytest.fixture(scope="session")
def watchdog_bench() -> Any:
    """The module whose bench ticks every 10 ms, and whose arm, sensors and policy can be broken."""
    return _module("test_watchdogs")


@pytest.fixture(scope="session")
def task() -> TaskConfig:
    """The scoop task."""
    return load_task("scoop")


@pytest.fixture(scope="session")
def chain(task: TaskConfig) -> KinematicChain:
    """The Panda between the task's frames."""
    assert task.frames is not None
    return KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)


@pytest.fixture(scope="session")
def limits(task: TaskConfig) -> MotionLimits:
    """The task's limits with the default shares."""
    assert task.limits is not None
    assert task.joints is not None
    return MotionLimits(task.limits, LimitShares(), task.joints.names)


@pytest.fixture(scope="session")
def all_limits(task: TaskConfig, chain: KinematicChain) -> MotionLimits:
    """What a run checks: joints, tip speed and workspace."""
    return limits_of(task, LimitShares(), chain)


@pytest.fixture(scope="session")
def homing(task: TaskConfig, chain: KinematicChain, limits: MotionLimits) -> Homing:
    """Homing at the default speed."""
    assert task.home is not None
    return Homing(chain, task.home, limits, 0.25)


@pytest.fixture(scope="session")
def home_rad(homing: Homing) -> NDArray[np.float64]:
    """(7,) joints of the home pose."""
    return homing.home_rad


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"bench_of_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
