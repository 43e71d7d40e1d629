"""The Ruckig stream: within the limits at every cycle, close to the plan."""

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.task import TaskConfig
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.fit import fit_motion
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety import MotionLimits, within_limits
from real_world_deployment.trajectory import JointTrajectory, at_rest
from simulation.reflex_model import ReflexModel

CONFIG = DeploymentConfig()


@pytest.fixture(scope="module")
def stream_limits(task: TaskConfig) -> MotionLimits:
    """The default limits of the stream."""
    assert task.limits is not None
    assert task.joints is not None
    return MotionLimits(task.limits, CONFIG.stream_limits, task.joints.names)


def wavy_plan(home_rad: NDArray[np.float64], seed: int, size_rad: float) -> JointTrajectory:
    """A fit through 12 random way points."""
    rng = np.random.default_rng(seed)
    way = home_rad + np.cumsum(rng.normal(0, size_rad, (12, 7)), axis=0)
    return fit_motion(at_rest(home_rad, 0.2).state(0.2), 0.2 + 0.1 * np.arange(1, 13), way, 0.5, 2.0, 0.1)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_setpoints_keep_the_limits_and_follow(seed: int, stream_limits: MotionLimits,
                                              home_rad: NDArray[np.float64]) -> None:
    """For calm plans the reflex model is silent, the plan is followed within 2 mrad and its end is met."""
    plan = wavy_plan(home_rad, seed, 0.02)
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    controller.follow_plan(plan)
    blocks = [controller.setpoints(0.1 * k) for k in range(1, 31)]
    setpoints = np.concatenate(blocks)
    assert len(setpoints) == 3000
    assert ReflexModel(home_rad).check(setpoints) == (3000, None)
    assert controller.refusals == 0
    at = 0.001 * np.arange(1, 3001)
    assert np.abs(setpoints - plan.sample(at).q_rad).max() < 2e-3
    np.testing.assert_allclose(setpoints[-1], plan.q_rad[-1], atol=1e-9)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), cut_s=st.floats(0.5, 1.3))
def test_a_plan_that_brakes_as_hard_as_it_may_is_at_rest_when_it_ends(
    seed: int, cut_s: float, task: TaskConfig, stream_limits: MotionLimits, limits: MotionLimits,
    home_rad: NDArray[np.float64]
) -> None:
    """So that a plan which is renewed no more rests as soon as a controller that holds the plan itself."""
    cut_s = round(cut_s, 3)
    try:
        plan, _ = within_limits(wavy_plan(home_rad, seed, 0.07), limits)
        stopped = plan.until(cut_s, braking_tail(plan.state(cut_s), limits))
    except MotionError:
        reject()
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    controller.follow_plan(plan)
    before = controller.setpoints(cut_s - 0.075)
    controller.follow_plan(stopped)
    setpoints = np.concatenate([before, controller.setpoints(stopped.end_s + 0.5)])
    assert ReflexModel(home_rad).check(setpoints) == (len(setpoints), None)
    assert np.abs(np.diff(setpoints[round(stopped.end_s * 1000) - 1:], axis=0)).max() < 1e-6
    np.testing.assert_allclose(setpoints[-1], stopped.q_rad[-1], atol=1e-6)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_wild_plans_never_break_a_limit(seed: int, stream_limits: MotionLimits,
                                        home_rad: NDArray[np.float64]) -> None:
    """Unchecked plans that change every 100 ms for 300 steps lag or are refused, but no set-point breaks a limit."""
    rng = np.random.default_rng(seed)
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    rows = []
    for step in range(300):
        if rng.uniform() < 0.5:
            plan = wavy_plan(home_rad, int(rng.integers(10_000)), 0.15)
            shifted = JointTrajectory(plan.times_s + round(0.1 * step, 3) - 0.2, plan.q_rad, plan.dq_rad_s,
                                      plan.ddq_rad_s2)
            controller.follow_plan(shifted)
        rows.append(controller.setpoints(0.1 * (step + 1)))
    setpoints = np.concatenate(rows)
    assert ReflexModel(home_rad).check(setpoints) == (30_000, None)


def test_what_ruckig_would_take_silently_is_refused(stream_limits: MotionLimits,
                                                    home_rad: NDArray[np.float64]) -> None:
    """A start of six joints, NaN, a joint outside its range and a plan of six joints."""
    controller = RuckigController(stream_limits, CONFIG)
    outside = home_rad.copy()
    outside[3] = 0.1
    for start in (home_rad[:6], np.full(7, np.nan), outside):
        with pytest.raises(MotionError):
            controller.start(start, 0.0)
    controller.start(home_rad, 0.0)
    with pytest.raises(MotionError, match="6 joints"):
        controller.follow_plan(at_rest(home_rad[:6], 0.0))


def test_without_a_plan_it_holds(stream_limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """The start position is repeated."""
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 5.0)
    np.testing.assert_array_equal(controller.setpoints(5.05), np.tile(home_rad, (50, 1)))


def test_a_target_outside_the_range_brakes(stream_limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """A plan that leaves the position range is not followed there; the arm comes to rest inside."""
    far = home_rad.copy()
    far[0] = 3.5
    plan = JointTrajectory(np.array([0.0, 6.0]), np.stack([home_rad, far]), np.zeros((2, 7)), np.zeros((2, 7)))
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    controller.follow_plan(plan)
    setpoints = controller.setpoints(8.0)
    assert controller.refusals > 0
    assert ReflexModel(home_rad).check(setpoints)[1] is None
    np.testing.assert_allclose(np.diff(setpoints[-100:], axis=0), 0.0, atol=1e-12)


def test_braking_in_mid_motion_ends_at_rest(stream_limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """The plan is left; set-points keep the limits, end at rest when announced, and stay there."""
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    assert controller.brake() == 0.0
    controller.follow_plan(wavy_plan(home_rad, 1, 0.1))
    before = controller.setpoints(0.8)
    assert np.abs(np.diff(before[-2:], axis=0)).max() > 1e-4
    duration_s = controller.brake()
    assert 0.0 < duration_s < 1.0
    after = controller.setpoints(0.8 + duration_s + 0.1)
    assert ReflexModel(home_rad).check(np.concatenate([before, after]))[1] is None
    np.testing.assert_allclose(after[-99:], np.tile(after[-1], (99, 1)), atol=1e-12)


def test_a_swing_beyond_the_range_is_refused(stream_limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """A target inside the range that is reached only by swinging out of it is not aimed at; the arm stays inside."""
    near, back = home_rad.copy(), home_rad.copy()
    near[0], back[0] = 2.88, 2.7
    velocity = np.zeros((3, 7))
    velocity[1, 0] = -0.9
    plan = JointTrajectory(np.array([0.0, 0.05, 0.6]), np.stack([near, near, back]), velocity, np.zeros((3, 7)))
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(near, 0.0)
    controller.follow_plan(plan)
    setpoints = controller.setpoints(2.0)
    assert controller.refusals > 0
    assert setpoints[:, 0].max() <= stream_limits.upper_rad[0]
    np.testing.assert_allclose(setpoints[-1], back, atol=1e-6)


def test_a_target_without_room_to_brake_is_refused(stream_limits: MotionLimits,
                                                   home_rad: NDArray[np.float64]) -> None:
    """A plan that is cut off at speed next to the end of a joint brakes before it, not beyond it."""
    far = home_rad.copy()
    far[0] = 2.88
    velocity = np.zeros((3, 7))
    velocity[1, 0] = 1.8
    plan = JointTrajectory(np.array([0.0, 3.0, 3.05]), np.stack([home_rad, far, far]), velocity, np.zeros((3, 7)))
    controller = RuckigController(stream_limits, CONFIG)
    controller.start(home_rad, 0.0)
    controller.follow_plan(plan)
    setpoints = controller.setpoints(4.0)
    assert controller.refusals > 0
    assert ReflexModel(home_rad).check(setpoints)[1] is None


def test_a_target_that_is_too_near_to_stop_at_is_refused(stream_limits: MotionLimits,
                                                         home_rad: NDArray[np.float64]) -> None:
    """From 2.80 rad at 1.8 rad/s the way to rest at 2.88 rad would leave the range."""
    position, velocity, target = home_rad.copy(), np.zeros(7), home_rad.copy()
    position[0], velocity[0], target[0] = 2.80, 1.8, 2.88
    with pytest.raises(MotionError, match="the way to the target"):
        RuckigController(stream_limits, CONFIG)._solve((position, velocity, np.zeros(7)),
                                                       (target, np.zeros(7), np.zeros(7)), 50)


def test_an_arm_that_has_arrived_stands_still(stream_limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """6e-13 rad from its target at rest: no swing out and back within the period, however often it is aimed at."""
    for joint in range(7):
        start = home_rad.copy()
        start[joint] += 6e-13
        controller = RuckigController(stream_limits, CONFIG)
        controller.start(start, 0.0)
        controller.follow_plan(at_rest(home_rad, 0.0))
        assert np.abs(np.diff(controller.setpoints(1.0), axis=0)).max() < 1e-12


@pytest.mark.parametrize("end", ["lower_rad", "upper_rad"])
def test_no_stream_begins_beyond_either_end(end: str, stream_limits: MotionLimits) -> None:
    """At the end of any joint it may, a milliradian beyond it may not."""
    middle = (stream_limits.lower_rad + stream_limits.upper_rad) / 2
    for joint in range(7):
        q = middle.copy()
        q[joint] = getattr(stream_limits, end)[joint]
        RuckigController(stream_limits, CONFIG).start(q, 0.0)
        q[joint] += 0.001 * np.sign(q[joint] - middle[joint])
        with pytest.raises(MotionError, match=f"joint{joint + 1} stands at"):
            RuckigController(stream_limits, CONFIG).start(q, 0.0)
