"""What must be known good before anything moves: each denial names what is missing and the remedy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig
from real_world_deployment.arm_condition import ArmCondition
from real_world_deployment.config import DeploymentConfig, WatchdogBounds
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.clock_watch import ClockWatch
from real_world_deployment.safety.gate import StartGate
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.safety.watchdogs import Watchdogs

Array = NDArray[np.float64]
NOW_S = 10.0


class Controller:
    """Knows whether it may be used."""

    def __init__(self, why: str | None = None) -> None:
        self.why = why

    def problem(self) -> Trouble | None:
        return None if self.why is None else Trouble(Alarm.CONTROLLER_DEAD, self.why)


def gate(task: TaskConfig, chain: KinematicChain, q_rad: Array, config: DeploymentConfig | None = None,
         controller: object = None, joints_at_s: float = NOW_S, cameras: bool = True,
         start_poses: Array | None = None) -> StartGate:
    """A gate before which everything is good at NOW_S, unless told otherwise."""
    config = config or DeploymentConfig()
    observations = ObservationBuffer(task, chain)
    assert task.joints is not None
    observations.add_joints(joints_at_s, NOW_S, task.joints.names, q_rad.tolist())
    if cameras:
        observations.add_frame("camera_1", NOW_S, NOW_S, np.zeros((120, 240, 3), np.uint8))
        observations.add_frame("camera_0", NOW_S, NOW_S, np.zeros((120, 240), np.uint16))
    watchdogs = Watchdogs(config, observations, controller, {})
    return StartGate(task, config, chain, limits_of(task, config.limits, chain), observations, controller, watchdogs,
                     start_poses)


def denied(gate: StartGate, at_s: float = NOW_S) -> str:
    """All denials as text."""
    return "; ".join(map(str, gate.denials(at_s)))


def test_nothing_is_denied_when_all_is_good(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """In simulation and on a real robot, with a controller that knows itself and one that does not."""
    assert gate(task, chain, home_rad).denials(NOW_S) == ()
    real = DeploymentConfig(real_robot=True, home=False)
    assert gate(task, chain, home_rad, real, Controller()).denials(NOW_S) == ()


def test_old_future_and_missing_samples_are_denied(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Joints of a second ago, joints stamped ahead, no camera."""
    assert "joints: newest sample is 1.000 s old" in denied(gate(task, chain, home_rad, joints_at_s=NOW_S - 1.0))
    assert "in the future" in denied(gate(task, chain, home_rad, joints_at_s=NOW_S + 0.5))
    assert "camera_1: nothing received yet" in denied(gate(task, chain, home_rad, cameras=False))


@pytest.mark.parametrize(("mode", "is_denied"), [("move", False), ("idle", True), ("other", True), ("reflex", True)])
def test_an_arm_that_no_controller_commands_is_not_moved(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                         mode: str, *, is_denied: bool) -> None:
    """Idle as after a released stop: no error is reported, and still nothing would be followed; homing waits too."""
    asked = gate(task, chain, home_rad)
    asked._watchdogs.arm.see(ArmCondition(mode, (), 1.0, NOW_S))
    for takes_over in (True, False):
        denials = asked.denials(NOW_S, takes_over=takes_over)
        assert [denial.what for denial in denials] == ["arm"] * is_denied
        assert all(mode in denial.why and denial.remedy for denial in denials)


def test_every_reason_is_told_at_once(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A missing camera and a controller that is inactive: both, each with a remedy."""
    found = gate(task, chain, home_rad, controller=Controller("it is inactive"), cameras=False).denials(NOW_S)
    assert [denial.what for denial in found] == ["sensors", "controller"]
    assert all(denial.remedy for denial in found)


def test_a_real_robot_needs_a_workspace_and_a_tip_limit(task: TaskConfig, chain: KinematicChain,
                                                        home_rad: Array) -> None:
    """A task file without them runs in simulation only."""
    assert task.limits is not None
    bare = replace(task, workspace=None, limits=replace(task.limits, tip_velocity_m_s=None))
    assert gate(bare, chain, home_rad).denials(NOW_S) == ()
    assert "no limits.tip_velocity_m_s and no workspace" in denied(
        gate(bare, chain, home_rad, DeploymentConfig(real_robot=True)))


def test_another_robots_frames_are_denied(task: TaskConfig, home_rad: Array) -> None:
    """A chain to the flange for a task of the hand."""
    chain = KinematicChain.from_urdf(panda_urdf(), "panda_link0", "panda_link8")
    no_points = replace(task, workspace=None)
    assert "panda_link8, the task has panda_link0 to panda_hand" in denied(gate(no_points, chain, home_rad))


def test_an_arm_outside_its_workspace_is_denied(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """It is to be moved back by hand."""
    below = home_rad.copy()
    below[1] += 0.45
    assert "beyond the plane 'table'" in denied(gate(task, chain, below))
    assert "by hand" in denied(gate(task, chain, below))


def test_without_homing_the_start_must_be_near(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """The start poses of the evaluation scenes (5 cm, 15 degrees) pass, 24 cm away does not; homing mends it."""
    no_homing = DeploymentConfig(home=False)
    near, far, turned = (home_rad.copy() for _ in range(3))
    near[0] += 0.1
    far[0] += 0.55
    turned[6] += 0.6
    assert gate(task, chain, near, no_homing).denials(NOW_S) == ()
    assert "m and 0.55 rad from the task's home pose" in denied(gate(task, chain, far, no_homing))
    assert "start" in denied(gate(task, chain, turned, no_homing))
    assert gate(task, chain, far).denials(NOW_S) == ()


def test_the_start_must_be_near_a_training_start(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Near any one of them, in place and rotation at once; where they are elsewhere, homing does not help."""
    home = chain.forward(home_rad)
    far, turned = home.copy(), home.copy()
    far[0] -= 0.3
    turned[3:] = turned_about_x(home[3:], np.pi / 2)
    no_homing = DeploymentConfig(home=False)
    for config in (no_homing, DeploymentConfig()):
        assert gate(task, chain, home_rad, config, start_poses=np.stack([far, turned, home])).denials(NOW_S) == ()
        why = denied(gate(task, chain, home_rad, config, start_poses=np.stack([far, turned])))
        assert "1.57 rad from the nearest start of the training episodes" in why or "0.300 m and 0.00 rad" in why
    assert "make it the one of the demonstrations" in denied(gate(task, chain, home_rad, start_poses=far[None]))


def turned_about_x(xyzw: Array, angle_rad: float) -> Array:
    """A rotation turned about its own x axis."""
    return (Rotation.from_quat(xyzw) * Rotation.from_euler("x", angle_rad)).as_quat()


@pytest.mark.parametrize(("times_s", "is_denied"), [
    ([9.8, 9.9, NOW_S], False), ([9.8, 12.0, NOW_S], True), ([9.5, 9.9, NOW_S], True), ([9.9, 9.5, NOW_S], True),
    ([9.8, 9.99, 9.98], True), ([5.0, 6.5, 6.7, 6.9, 7.1, 7.3, 7.5], False),
    ([5.0, 6.5, 6.7, 6.9, 7.1, 7.3, 7.5, 8.5], True),
])
def test_a_clock_that_jumps_is_not_trusted(times_s: list[float], is_denied: bool) -> None:
    """Backwards or by more than a quarter of a second; trusted again after a second of even running."""
    clock = ClockWatch(WatchdogBounds().clock_leap_s)
    for at_s in times_s:
        clock.note(at_s)
    assert (clock.problem(times_s[-1]) is not None) == is_denied


def test_a_real_robot_needs_each_of_the_two(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A workspace without a tip limit is not enough, nor the other way round."""
    assert task.limits is not None
    real = DeploymentConfig(real_robot=True)
    fast = replace(task, limits=replace(task.limits, tip_velocity_m_s=None))
    assert "has no limits.tip_velocity_m_s;" in denied(gate(fast, chain, home_rad, real))
    assert "has no workspace;" in denied(gate(replace(task, workspace=None), chain, home_rad, real))


def test_another_base_is_denied(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """The same tip, seen from elsewhere."""
    assert task.frames is not None
    moved = replace(task, frames=replace(task.frames, base="table"))
    assert "the task has table to panda_hand" in denied(gate(moved, chain, home_rad))
