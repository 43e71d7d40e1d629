"""150 ms of a plan and a way to rest, again and again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.fit import fit_motion
from real_world_deployment.receding import RecedingPlan
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory, at_rest

Array = NDArray[np.float64]
CONFIG = DeploymentConfig()


def brisk_plan(home_rad: Array, seed: int, start_s: float = 1.0) -> JointTrajectory:
    """A fit through 12 random way points."""
    way = home_rad + np.cumsum(np.random.default_rng(seed).normal(0, 0.04, (12, 7)), axis=0)
    return fit_motion(at_rest(home_rad, start_s).state(start_s), start_s + 0.1 * np.arange(1, 13), way, 0.5, 1.5, 0.1)


class Sent:
    """What the controller was given."""

    def __init__(self, limits: MotionLimits) -> None:
        self.messages: list[tuple[float, JointTrajectory]] = []
        self.receding = RecedingPlan(limits, CONFIG, self._keep)

    def _keep(self, splice: Splice, now_s: float) -> None:
        self.messages.append((now_s, splice.trajectory))

    def run(self, plan: JointTrajectory, steps_s: Array) -> None:
        """Follow from 0.2 s before the plan's start, then refresh at these intervals until its end."""
        now_s = plan.start_s - 0.2
        self.receding.follow(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), now_s)
        for step_s in np.resize(steps_s, 1000):
            now_s += step_s
            if now_s > plan.end_s:
                return
            self.receding.refresh(now_s)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), steps_s=st.lists(st.floats(0.003, 0.02), min_size=5, max_size=20))
def test_together_the_parts_are_the_plan(seed: int, steps_s: list[float], limits: MotionLimits,
                                         home_rad: Array) -> None:
    """Until it could have been left, each message is the plan; in the end the plan's own rest is reached."""
    plan, sent = brisk_plan(home_rad, seed), Sent(limits)
    sent.run(plan, np.array(steps_s))
    assert not sent.receding.is_interrupted
    assert sent.receding.plan is plan
    for (now_s, held), following in zip(sent.messages, [*sent.messages[1:], None], strict=True):
        until_s = plan.end_s + 0.5 if following is None else following[0] + CONFIG.switch_lead_s
        at = np.arange(max(now_s - CONFIG.clock_tolerance_s, plan.start_s), until_s, 0.001)
        for theirs, own in zip(held.sample(at)[:3], plan.sample(at)[:3], strict=True):
            np.testing.assert_allclose(theirs, own, atol=1e-8)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_whoever_dies_the_arm_rests_150_ms_and_a_braking_later(seed: int, limits: MotionLimits,
                                                               home_rad: Array) -> None:
    """Every message keeps the limits to its end, holds at most 150 ms of motion and then brakes at the limits."""
    plan, sent = brisk_plan(home_rad, seed), Sent(limits)
    sent.run(plan, np.array([0.005]))
    gaps = np.diff([now_s for now_s, _ in sent.messages if now_s > plan.start_s + 0.06])
    assert gaps.max() <= 0.05
    for now_s, held in sent.messages:
        limits.check(held)
        left_s = max(now_s, plan.start_s) + CONFIG.look_ahead_s
        state = plan.state(left_s)
        speed = np.abs(state.dq_rad_s) + np.abs(state.ddq_rad_s2) * 0.025
        braking_s = float(np.max(speed / limits.acceleration_rad_s2)) + 0.051
        assert held.end_s <= max(left_s + braking_s, 0.0)


def test_a_loop_that_stood_still_finds_the_arm_at_rest(limits: MotionLimits, home_rad: Array) -> None:
    """After 0.4 s without a refresh what was held is the plan in force; a change that comes too late is refused."""
    plan, sent = brisk_plan(home_rad, 3), Sent(limits)
    splice = Splice(plan, plan.start_s, 0, slowed=False, unreachable=0)
    sent.receding.follow(splice, 0.8)
    sent.receding.refresh(1.06)
    held = sent.messages[-1][1]
    late = Splice(plan, 1.06 + 0.4 + CONFIG.switch_lead_s, 0, slowed=False, unreachable=0)
    with pytest.raises(MotionError, match="brakes from"):
        sent.receding.follow(late, 1.46)
    assert sent.receding.refresh(1.46) is held
    assert sent.receding.is_interrupted
    assert len(sent.messages) == 2
    sent.receding.follow(Splice(brisk_plan(home_rad, 4, 2.0), 2.0, 0, slowed=False, unreachable=0), 1.8)
    assert not sent.receding.is_interrupted


def test_nothing_is_sent_for_an_arm_that_stands(limits: MotionLimits, home_rad: Array) -> None:
    """A plan at rest is known and not sent; refreshing it does nothing."""
    sent = Sent(limits)
    sent.receding.stand(at_rest(home_rad, 1.0))
    assert sent.receding.refresh(5.0) is sent.receding.plan
    assert sent.messages == []


def test_a_refresh_that_cannot_arrive_in_time_is_not_sent(limits: MotionLimits, home_rad: Array) -> None:
    """A tenth of a second after the last: what is sent now arrives when the controller may have left the plan."""
    plan, sent = brisk_plan(home_rad, 3), Sent(limits)
    sent.receding.follow(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), 0.8)
    sent.receding.refresh(1.06)
    held = sent.messages[-1][1]
    assert sent.receding.refresh(1.16) is held
    assert sent.receding.is_interrupted
    assert len(sent.messages) == 2


def test_a_controller_that_has_not_begun_is_left_alone(limits: MotionLimits, home_rad: Array) -> None:
    """Up to the tolerance of its clock after the plan's start."""
    plan, sent = brisk_plan(home_rad, 3), Sent(limits)
    sent.receding.follow(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), 0.8)
    for now_s in (0.9, 1.0, 1.045):
        sent.receding.refresh(now_s)
    assert len(sent.messages) == 1
    sent.receding.refresh(1.055)
    assert len(sent.messages) == 2
