"""Ruckig's set-points as short trajectories: the same motion through a JTC, at rest when nobody refreshes."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.task import TaskConfig
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.fit import fit_motion
from real_world_deployment.ruckig_trajectories import RuckigTrajectories
from real_world_deployment.safety import MotionLimits
from real_world_deployment.trajectory import JointTrajectory, at_rest
from simulation.jtc_model import JtcModel, JtcParameters, TrajectoryMessage
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
CONFIG = DeploymentConfig()
JTC = JtcParameters(allow_trajectory_replacement=False)


class Route:
    """Plans in, set-points of a JTC out, which gets each message 10 ms late by a clock that is ahead or behind."""

    def __init__(self, task: TaskConfig, home_rad: Array, distribution: str = "jazzy", offset_s: float = 0.0) -> None:
        assert task.limits is not None
        assert task.joints is not None
        limits = MotionLimits(task.limits, CONFIG.stream_limits, task.joints.names)
        self.jtc = JtcModel(distribution, task.joints.names, home_rad, JTC)  # type: ignore[arg-type]
        self.stream = RuckigTrajectories(limits, CONFIG, self._send, lambda: self._is_delivered)
        self.rows: list[Array] = []
        self.sent_s: list[float] = []
        self.is_connected = self._is_delivered = True
        self.held_back: list[JtcMessage] = []
        self._ms, self._offset_ms = 1000, round(offset_s * 1000)
        self._waiting: list[tuple[int, JtcMessage]] = []

    @property
    def now_s(self) -> float:
        return self._ms / 1000

    def follow_plan(self, plan: JointTrajectory, measured_rad: Array | None = None) -> None:
        """With fresh joints: those measured, or where the controller is."""
        q_rad = self.jtc.setpoints(np.array([(self._ms + self._offset_ms) / 1000]))[-1]
        self.stream.see_joints(q_rad if measured_rad is None else measured_rad, self.now_s)
        self.stream.follow_plan(plan, self.now_s)

    def _send(self, message: JtcMessage) -> None:
        self.sent_s.append(self.now_s)
        self._is_delivered = self.is_connected
        if self.is_connected:
            self._waiting.append((self._ms + 10, message))
        else:
            self.held_back.append(message)

    def deliver_what_was_held_back(self) -> list[str | None]:
        """What the controller objects to in each message."""
        self._is_delivered = True
        return [self._accept(message) for message in self.held_back]

    def _accept(self, m: JtcMessage) -> str | None:
        return self.jtc.accept(TrajectoryMessage(m.stamp_s, m.joint_names, m.times_from_start_s, m.positions,
                                                 m.velocities, m.accelerations), (self._ms + self._offset_ms) / 1000)

    def run(self, until_s: float, refreshing: bool = True) -> None:
        while self._ms < round(until_s * 1000):
            if refreshing and self._ms % 5 == 0:
                self.stream.refresh(self._ms / 1000)
            cycle_s = (self._ms + self._offset_ms) / 1000
            while self._waiting and self._waiting[0][0] <= self._ms:
                assert self._accept(self._waiting.pop(0)[1]) is None
            self.rows.append(self.jtc.setpoints(np.array([cycle_s])))
            self._ms += 1


def out_of_reach(task: TaskConfig, home_rad: Array, lasts_s: float) -> Route:
    """In mid motion no message has reached the controller for so long; from now on they do again."""
    route = Route(task, home_rad)
    route.follow_plan(plan(home_rad, 5, 1.3))
    route.run(1.8)
    route.is_connected = False
    route.run(1.8 + lasts_s)
    route.is_connected = True
    return route


def plan(home_rad: Array, seed: int, start_s: float) -> JointTrajectory:
    """A fit through 12 random way points."""
    way = home_rad + np.cumsum(np.random.default_rng(seed).normal(0, 0.03, (12, 7)), axis=0)
    times_s = start_s + 0.1 * np.arange(1.0, 13.0)
    return fit_motion(at_rest(home_rad, start_s).state(start_s), times_s, way, 0.5, 2.0, 0.1)


def turned(first: JointTrajectory, seed: int, at_s: float) -> JointTrajectory:
    """The first plan until at_s, then through 12 other way points."""
    state = first.state(at_s)
    way = state.q_rad + np.cumsum(np.random.default_rng(seed).normal(0, 0.03, (12, 7)), axis=0)
    return first.until(at_s, fit_motion(state, at_s + 0.1 * np.arange(1.0, 13.0), way, 0.5, 2.0, 0.1))


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 10_000), offset_s=st.floats(-0.05, 0.05),
       distribution=st.sampled_from(["humble", "jazzy", "master"]))
@example(seed=0, offset_s=0.05, distribution="humble")
def test_the_route_through_a_jtc_keeps_the_limits_and_arrives(seed: int, offset_s: float, distribution: str,
                                                              task: TaskConfig, home_rad: Array) -> None:
    """A plan that is replaced in mid motion is followed to its end; the reflex model finds nothing.

    Also with a controller ahead of us, which has carried out some of what the new plan might have changed.
    """
    route = Route(task, home_rad, distribution, offset_s)
    first = plan(home_rad, seed, 1.3)
    route.follow_plan(first)
    route.run(2.1)
    last = turned(first, seed + 1, 2.2)
    route.follow_plan(last)
    route.run(4.5)
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    np.testing.assert_allclose(rows[-100:], np.tile(last.q_rad[-1], (100, 1)), atol=1e-6)
    assert route.stream.interruptions == 0


def test_without_refreshes_the_arm_comes_to_rest_and_the_next_plan_goes_on(task: TaskConfig, home_rad: Array) -> None:
    """The process dies or stalls in mid motion: no reflex, rest in time; afterwards a new plan is followed."""
    route = Route(task, home_rad)
    route.follow_plan(plan(home_rad, 5, 1.3))
    route.run(1.8)
    assert np.abs(np.diff(np.concatenate(route.rows)[-2:], axis=0)).max() > 1e-4
    route.run(2.5, refreshing=False)
    stopped = np.concatenate(route.rows)
    np.testing.assert_allclose(np.diff(stopped[-150:], axis=0), 0.0, atol=1e-12)
    route.run(2.6)
    motion = plan(stopped[-1], 6, 2.8)
    route.follow_plan(motion)
    route.run(4.8)
    rows = np.concatenate(route.rows)
    assert route.stream.interruptions == 1
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    np.testing.assert_allclose(rows[-1], motion.q_rad[-1], atol=1e-6)


def test_it_lets_go_of_an_arm_at_rest_and_begins_anew_where_the_arm_is_then(task: TaskConfig, home_rad: Array) -> None:
    """A plan that is over: nothing is sent any more. The arm is moved by hand: the old place is refused, a plan from
    the measured place is followed from there.
    """
    assert task.joints is not None
    route = Route(task, home_rad)
    motion = plan(home_rad, 5, 1.3)
    route.follow_plan(motion)
    route.run(motion.end_s + 5.0)
    assert route.sent_s[-1] < motion.end_s + 0.3
    assert not route.stream.is_streaming
    moved = motion.q_rad[-1] + 0.3 * np.array([1, 0, 0, 1, 0, 0, 0])
    count = len(route.sent_s)
    with pytest.raises(MotionError, match="rad from where the arm stands"):
        route.follow_plan(plan(motion.q_rad[-1], 6, route.now_s + 0.3), moved)
    route.run(route.now_s + 0.2)
    assert len(route.sent_s) == count
    route.jtc = JtcModel("jazzy", task.joints.names, moved, JTC)  # activated anew
    begun = len(route.rows)
    onward = plan(moved, 7, route.now_s + 0.3)
    route.follow_plan(onward)
    route.run(onward.end_s + 0.5)
    rows = np.concatenate(route.rows[begun:])
    assert ReflexModel(moved).check(rows) == (len(rows), None)
    np.testing.assert_allclose(rows[-1], onward.q_rad[-1], atol=1e-6)


def test_an_arm_that_was_moved_as_soon_as_it_rested_is_not_pulled_back(task: TaskConfig, home_rad: Array) -> None:
    """A reflex that is recovered at once: the controller holds the arm elsewhere, and hears nothing more."""
    assert task.joints is not None
    route = Route(task, home_rad)
    motion = plan(home_rad, 5, 1.3)
    route.follow_plan(motion)
    route.run(motion.end_s + 0.02)
    count, moved = len(route.sent_s), motion.q_rad[-1] + 0.01
    route.jtc = JtcModel("jazzy", task.joints.names, moved, JTC)
    begun = len(route.rows)
    route.run(motion.end_s + 0.5)
    assert len(route.sent_s) == count
    np.testing.assert_array_equal(np.concatenate(route.rows[begun:]), np.tile(moved, (480, 1)))


def test_a_process_that_stood_still_since_before_the_rest_begins_anew_where_the_arm_is(task: TaskConfig,
                                                                                       home_rad: Array) -> None:
    """Meanwhile the arm was brought elsewhere; the next plan, from there, comes at once."""
    assert task.joints is not None
    route = Route(task, home_rad)
    motion = plan(home_rad, 5, 1.3)
    route.follow_plan(motion)
    route.run(motion.end_s - 0.05)
    route.run(motion.end_s + 2.0, refreshing=False)
    moved = motion.q_rad[-1] + 0.03
    route.jtc = JtcModel("jazzy", task.joints.names, moved, JTC)
    begun = len(route.rows)
    route.run(route.now_s + 0.011)
    onward = plan(moved, 7, route.now_s + 0.4)
    route.follow_plan(onward, moved)
    route.run(onward.end_s + 0.5)
    rows = np.concatenate(route.rows[begun:])
    assert ReflexModel(moved).check(rows) == (len(rows), None)
    np.testing.assert_allclose(rows[-1], onward.q_rad[-1], atol=1e-6)


def test_a_plan_is_taken_as_soon_as_the_one_before_was_let_go(task: TaskConfig, home_rad: Array) -> None:
    """An arm at rest is not refused as one that may still move."""
    route = Route(task, home_rad)
    motion = plan(home_rad, 5, 1.3)
    route.follow_plan(motion)
    while route.stream.is_streaming and route.now_s < motion.end_s + 1.0:
        route.run(route.now_s + 0.005)
    assert motion.end_s + 0.19 < route.now_s < motion.end_s + 0.26
    route.follow_plan(plan(motion.q_rad[-1], 6, route.now_s + 0.3))
    assert route.stream.is_streaming


@pytest.mark.parametrize("stall_s", [0.08, 0.1, 0.12])
@pytest.mark.parametrize("seed", [1, 5, 9])
def test_after_a_short_stall_nothing_is_sent_into_the_braking(stall_s: float, seed: int, task: TaskConfig,
                                                              home_rad: Array) -> None:
    """A JTC of Humble would join it to the motion that is still under way. The arm rests first, and then goes on."""
    route = Route(task, home_rad, "humble")
    first = plan(home_rad, seed, 1.3)
    route.follow_plan(first)
    route.run(1.8)
    route.run(1.8 + stall_s, refreshing=False)
    with suppress(MotionError):
        route.follow_plan(first)
    route.run(first.end_s + 0.8)
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    assert np.abs(np.diff(rows[-100:], axis=0)).max() < 1e-9


def test_a_stop_is_sent_on_at_once(task: TaskConfig, home_rad: Array) -> None:
    """It does not wait for the part that was to be sent next: the arm rests where and when the plan says."""
    route = Route(task, home_rad)
    first = plan(home_rad, 5, 1.3)
    route.follow_plan(first)
    route.run(2.0)
    assert task.limits is not None
    assert task.joints is not None
    limits = MotionLimits(task.limits, CONFIG.limits, task.joints.names)
    while route.now_s - route.sent_s[-1] > 0.006:  # just after a part was sent
        route.run(route.now_s + 0.005)
    at_s = round(route.now_s + CONFIG.switch_lead_s, 3)
    stopped = first.until(at_s, braking_tail(first.state(at_s), limits))
    route.follow_plan(stopped)
    route.run(stopped.end_s + 0.5)
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    after = rows[round((stopped.end_s + 0.01 - 1.0) * 1000):]
    assert np.abs(np.diff(after, axis=0)).max() < 1e-6


@pytest.mark.parametrize("lasts_s", [0.05, 0.1, 0.2, 0.3, 0.6])
def test_a_controller_out_of_reach_is_not_made_to_step_when_it_is_back(task: TaskConfig, home_rad: Array,
                                                                       lasts_s: float) -> None:
    """Trajectories are lost in mid motion for a while: the arm rests, or goes on, without a reflex.

    What was on its way so long that its lifespan is over is lost as well.
    """
    route = out_of_reach(task, home_rad, lasts_s)
    route.run(4.0)
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    assert np.abs(np.diff(rows[-100:], axis=0)).max() < 1e-9


@pytest.mark.parametrize("lasts_s", [0.28, 0.35, 0.6])
def test_what_was_held_back_and_is_delivered_later_is_over_by_then(task: TaskConfig, home_rad: Array,
                                                                   lasts_s: float) -> None:
    """A reader that was busy, or a network that keeps messages: one of them at most, and no reflex."""
    route = out_of_reach(task, home_rad, lasts_s)
    (objection,) = route.deliver_what_was_held_back()
    assert objection is not None
    assert "ended" in objection
    route.run(4.0)
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)


def test_after_a_step_of_the_clock_nothing_more_is_sent_until_the_arm_is_at_rest(task: TaskConfig,
                                                                                 home_rad: Array) -> None:
    """Let go in mid motion: at rest by what is held; a plan that comes before then is refused."""
    route = Route(task, home_rad)
    motion = plan(home_rad, 5, 1.3)
    route.follow_plan(motion)
    route.run(1.8)
    route.stream.let_go(route.now_s)
    count = len(route.sent_s)
    with pytest.raises(MotionError, match="not be at rest"):
        route.follow_plan(motion)
    route.run(2.6)
    assert len(route.sent_s) == count
    rows = np.concatenate(route.rows)
    assert ReflexModel(home_rad).check(rows) == (len(rows), None)
    assert np.abs(np.diff(rows[-100:], axis=0)).max() < 1e-9
    onward = plan(rows[-1], 6, 2.9)
    route.follow_plan(onward)
    route.run(onward.end_s + 0.3)
    np.testing.assert_allclose(route.rows[-1][-1], onward.q_rad[-1], atol=1e-6)


def test_a_controller_that_has_not_begun_is_sent_nothing_more(task: TaskConfig, home_rad: Array) -> None:
    """It would start once more, from the state that it measures."""
    route = Route(task, home_rad)
    route.follow_plan(plan(home_rad, 5, 1.3))
    route.run(1.6)
    assert route.sent_s[0] == 1.0
    assert route.sent_s[1] >= 1.0 + CONFIG.lead_in_s + CONFIG.clock_tolerance_s


def test_a_stream_that_is_not_heard_is_let_go(task: TaskConfig, home_rad: Array) -> None:
    """A part is sent every 30 ms and may be under way for 60: after 100 ms no later part is ever sent."""
    assert not out_of_reach(task, home_rad, 0.1).stream.is_streaming
