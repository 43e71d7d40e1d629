"""Raw set-points: none without need, none elsewhere than the arm, and no burst after a stall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.fit import fit_motion
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.setpoint_stream import Pace, SetpointStream
from real_world_deployment.stream_rules import ELSEWHERE_RAD, REST_S, STANDS_RAD
from real_world_deployment.trajectory import JointTrajectory, at_rest
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
CONFIG = DeploymentConfig()
MOVED_RAD = 0.3 * np.array([1, 0, 0, 1, 0, 0, 0])


class Robot:
    """A position controller that follows the newest set-point in every cycle, and a process that may stand still."""

    def __init__(self, task: TaskConfig, q_rad: Array, speed: float = 1.0) -> None:
        self.stream = SetpointStream(limits_of(task, CONFIG.stream_limits, None, speed), CONFIG, at_most=1)
        self.latched_rad = q_rad
        self.cycles: list[Array] = []  # what the arm is given
        self.sent: list[Array] = []
        self._pace, self._ms = Pace(0.0), 0

    @property
    def now_s(self) -> float:
        return self._ms / 1000

    def follow(self, plan: JointTrajectory, measured_rad: Array | None = None) -> None:
        """With fresh joints: those measured, or where the controller is."""
        self.stream.see_joints(self.latched_rad if measured_rad is None else measured_rad, self.now_s)
        self.stream.follow_plan(plan, self.now_s)

    def run(self, until_s: float, *, stalled: bool = False) -> None:
        while self._ms < round(until_s * 1000):
            self._ms += 1
            if not stalled:
                rows = self.stream.setpoints(self._pace.cycle_s(self.now_s))
                self._pace.advance()
                self.sent.extend(rows)
                self.latched_rad = rows[-1] if len(rows) else self.latched_rad
            self.cycles.append(self.latched_rad)


@pytest.fixture
def robot(task: TaskConfig, home_rad: Array) -> Callable[..., Robot]:
    """At home, at full speed unless said."""
    return lambda speed=1.0: Robot(task, home_rad, speed)


def motion(start_rad: Array, seed: int, start_s: float, size_rad: float = 0.02) -> JointTrajectory:
    """A fit through 12 random way points."""
    way = start_rad + np.cumsum(np.random.default_rng(seed).normal(0, size_rad, (12, 7)), axis=0)
    times_s = start_s + 0.1 * np.arange(1.0, 13.0)
    return fit_motion(at_rest(start_rad, start_s).state(start_s), times_s, way, 0.5, 2.0, 0.1)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), at_ms=st.integers(150, 1600), stall_ms=st.integers(0, 600))
@example(seed=0, at_ms=600, stall_ms=2)
@example(seed=0, at_ms=600, stall_ms=20)
@example(seed=1, at_ms=600, stall_ms=500)
def test_after_a_stall_the_stream_is_late_and_catches_up_within_the_limits(seed: int, at_ms: int, stall_ms: int,
                                                                           task: TaskConfig, home_rad: Array) -> None:
    """The process stands in mid motion: what was missed is not sent at once, and no plan that is far away is chased.

    Of what the arm is given from the end of the stall on the reflex model says nothing, taken as from rest after a long
    stall, as the going on of what was before after a short one.
    """
    robot, plan = Robot(task, home_rad), motion(home_rad, seed, 0.1)
    robot.follow(plan)
    robot.run(at_ms / 1000)
    before = len(robot.sent)
    stood_rad = robot.latched_rad
    robot.run(robot.now_s + stall_ms / 1000, stalled=True)
    away_rad = np.abs(plan.state(robot.now_s).q_rad - stood_rad).max()
    after = len(robot.cycles)
    robot.run(plan.end_s + 1.5)
    given_rad = np.array(robot.cycles[after:] if stall_ms > 10 else robot.sent)
    assert ReflexModel(stood_rad if stall_ms > 10 else home_rad).check(given_rad) == (len(given_rad), None)
    assert len(robot.sent) - before <= len(robot.cycles) - after + 1
    if away_rad < 0.9 * ELSEWHERE_RAD and stall_ms < 0.9 * 1000 * REST_S:
        np.testing.assert_allclose(robot.latched_rad, plan.q_rad[-1], atol=1e-6)
    elif away_rad > 1.1 * ELSEWHERE_RAD:
        assert np.abs(np.diff(robot.cycles[-300:], axis=0)).max() < 1e-9
        assert np.abs(robot.latched_rad - stood_rad).max() < ELSEWHERE_RAD


def test_it_lets_go_of_an_arm_at_rest_and_begins_anew_where_the_arm_is_then(robot: Callable[..., Robot],
                                                                            home_rad: Array) -> None:
    """A plan that is over: no set-points. The arm is moved by hand: none to the old place, then some from the new."""
    arm = robot()
    plan = motion(home_rad, 3, 0.1)
    arm.follow(plan)
    arm.run(plan.end_s + REST_S + 0.01)
    count = len(arm.sent)
    arm.run(plan.end_s + 60.0)
    assert len(arm.sent) == count
    moved_rad = plan.q_rad[-1] + MOVED_RAD
    with pytest.raises(MotionError, match=r"0\.300 rad from where the arm stands"):
        arm.follow(motion(plan.q_rad[-1], 4, arm.now_s + 0.1), moved_rad)
    arm.run(arm.now_s + 0.1)
    assert len(arm.sent) == count
    onward = motion(moved_rad, 5, arm.now_s + 0.1)
    arm.follow(onward, moved_rad)
    arm.run(onward.end_s + 0.1)
    begun = np.array(arm.sent[count:])
    np.testing.assert_array_equal(begun[0], moved_rad)
    assert ReflexModel(moved_rad).check(begun) == (len(begun), None)
    np.testing.assert_allclose(begun[-1], onward.q_rad[-1], atol=1e-6)


def test_an_arm_that_still_stands_goes_on_from_its_set_point(robot: Callable[..., Robot], home_rad: Array) -> None:
    """What its control leaves over would be a step."""
    arm = robot()
    plan = motion(home_rad, 3, 0.1)
    arm.follow(plan)
    arm.run(plan.end_s + 1.0)
    count = len(arm.sent)
    arm.follow(motion(plan.q_rad[-1], 5, arm.now_s + 0.1), plan.q_rad[-1] + 0.9 * STANDS_RAD)
    arm.run(arm.now_s + 0.01)
    np.testing.assert_array_equal(arm.sent[count], arm.sent[count - 1])


def test_without_fresh_joints_nothing_begins(robot: Callable[..., Robot], home_rad: Array) -> None:
    """None at all, old ones, and those from before the stream let go."""
    arm = robot()
    plan = motion(home_rad, 3, 0.5)
    with pytest.raises(MotionError, match="no joint positions"):
        arm.stream.follow_plan(plan, 0.0)
    arm.stream.see_joints(home_rad, 0.0)
    with pytest.raises(MotionError, match=r"no joint positions within 0\.2 s"):
        arm.stream.follow_plan(plan, 0.25)
    arm.run(0.4)
    arm.follow(plan)
    arm.run(plan.end_s + REST_S + 0.1)
    with pytest.raises(MotionError, match="no joint positions"):
        arm.stream.follow_plan(motion(plan.q_rad[-1], 3, arm.now_s + 0.1), arm.now_s)


def test_a_plan_elsewhere_leaves_the_one_in_force(robot: Callable[..., Robot], home_rad: Array) -> None:
    """In mid motion: of another place, of six joints, or over; the arm arrives where it was going."""
    arm = robot()
    plan = motion(home_rad, 3, 0.1)
    arm.follow(plan)
    arm.run(0.6)
    six = JointTrajectory(plan.times_s, plan.q_rad[:, :6], plan.dq_rad_s[:, :6], plan.ddq_rad_s2[:, :6])
    for other, why in ((motion(home_rad + 0.1, 3, 0.1), "from where the arm stands"), (six, "6 joints"),
                       (motion(home_rad, 3, -2.0), "the plan ended")):
        with pytest.raises(MotionError, match=why):
            arm.follow(other)
    arm.run(plan.end_s + 0.1)
    np.testing.assert_allclose(arm.latched_rad, plan.q_rad[-1], atol=1e-6)


@pytest.mark.parametrize("speed", [1.0, 0.1])
def test_no_set_points_are_faster_than_the_run(speed: float, robot: Callable[..., Robot], task: TaskConfig,
                                               home_rad: Array) -> None:
    """A plan at full speed, in a run at a tenth of it, is not followed at its own speed, nor caught up with."""
    assert task.limits is not None
    arm = robot(speed)
    plan = motion(home_rad, 3, 0.1, size_rad=0.04)
    fastest_rad_s = np.abs(plan.sample(np.arange(0.1, plan.end_s, 0.001)).dq_rad_s).max(axis=0)
    limit_rad_s = speed * np.array(task.limits.velocity_rad_s)
    assert (fastest_rad_s > 0.1 * np.array(task.limits.velocity_rad_s)).any()
    arm.follow(plan)
    arm.run(plan.end_s + 3.0)
    assert (1000 * np.abs(np.diff(arm.cycles, axis=0)).max(axis=0) <= limit_rad_s).all()


def test_braking_leads_to_rest(robot: Callable[..., Robot], home_rad: Array) -> None:
    """In mid motion, without a clock: set-points until the arm stands, then no more."""
    arm = robot()
    arm.follow(motion(home_rad, 3, 0.1))
    arm.run(0.7)
    arm.stream.brake()
    while (row := arm.stream.next_setpoint()) is not None:
        arm.sent.append(row)
    assert ReflexModel(home_rad).check(np.array(arm.sent)) == (len(arm.sent), None)
    assert np.abs(arm.sent[-1] - arm.sent[-2]).max() < 1e-6


def test_all_are_sent_where_time_waits_for_them(task: TaskConfig, home_rad: Array) -> None:
    """In lockstep: every set-point of a tick, bit for bit those that Ruckig makes of the plan, and no letting go."""
    limits, plan = limits_of(task, CONFIG.stream_limits, None), motion(home_rad, 3, 5.1)
    stream, alone = SetpointStream(limits, CONFIG, None, lets_go=False), RuckigController(limits, CONFIG)
    stream.see_joints(home_rad, 0.0)
    stream.follow_plan(plan, 5.0)
    alone.start(home_rad, 5.0)
    alone.follow_plan(plan)
    for tick in range(1, 101):
        rows = stream.setpoints(5.0 + 0.1 * tick)
        assert len(rows) == 100
        np.testing.assert_array_equal(rows, alone.setpoints(5.0 + 0.1 * tick))
    stream.forget()
    assert len(stream.setpoints(20.0)) == 0


def test_in_another_scene_the_stream_begins_where_the_arm_is_seen_then(task: TaskConfig, home_rad: Array) -> None:
    """What was measured, or left, in the scene before does not count."""
    stream = SetpointStream(limits_of(task, CONFIG.stream_limits, None), CONFIG, None, lets_go=False)
    plan = motion(home_rad, 3, 0.1)
    stream.see_joints(home_rad, 0.0)
    stream.follow_plan(plan, 0.0)
    stream.setpoints(0.5)
    stream.forget()
    with pytest.raises(MotionError, match="no joint positions"):
        stream.follow_plan(plan, 0.05)


def test_after_a_long_stall_the_stream_has_ended(robot: Callable[..., Robot], home_rad: Array) -> None:
    """However near its plan still is: the arm may have been moved meanwhile, and only measured joints tell."""
    arm = robot()
    arm.follow(motion(home_rad, 3, 0.1, size_rad=0.002))
    arm.run(0.6)
    arm.run(0.6 + REST_S + 0.05, stalled=True)
    count = len(arm.sent)
    arm.run(arm.now_s + 0.3)
    assert len(arm.sent) == count
    assert not arm.stream.is_streaming


def test_an_arm_that_has_left_its_set_point_is_not_pulled_back(robot: Callable[..., Robot], home_rad: Array) -> None:
    """By 4 mrad: more than its control leaves over."""
    arm = robot()
    plan = motion(home_rad, 3, 0.1)
    arm.follow(plan)
    arm.run(plan.end_s + 1.0)
    count, moved_rad = len(arm.sent), plan.q_rad[-1] + 0.004
    arm.follow(motion(moved_rad, 5, arm.now_s + 0.1), moved_rad)
    arm.run(arm.now_s + 0.01)
    np.testing.assert_array_equal(arm.sent[count], moved_rad)
