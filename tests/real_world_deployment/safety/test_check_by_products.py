"""The check of a whole motion by products of matrices refuses what the plain one refuses, for the same reason."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError, TooFastError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.fit import fit_motion
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.sampled import SPACE_STRIDE
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import CYCLE_S, JointState, JointTrajectory

Array = NDArray[np.float64]

HOME_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])
NEAR = 1e-7  # shares this near to 1 may be told apart by rounding


def random_motion(seed: int, reach_rad: float, rate: float) -> JointTrajectory:
    """A plan as chunks give: some are calm, some too fast, some leave the range, the box or the table's side."""
    rng = np.random.default_rng(seed)
    start = JointState(rng.integers(0, 10**6) / 1000.0, HOME_RAD, np.zeros(7), np.zeros(7))
    times_s = start.time_s + np.arange(1, 9) / (10.0 * rate)
    way_points = HOME_RAD + np.cumsum(rng.normal(0.0, reach_rad, (8, 7)), axis=0)
    return fit_motion(start, times_s, way_points, 0.5, 1.5, 0.1)


def plain_shares(motion: JointTrajectory, task: TaskConfig, limits: MotionLimits,
                 chain: KinematicChain) -> tuple[float, float]:
    """The largest share of a limit of place, above 1 beyond a border, and of speed: sample by sample."""
    assert limits.workspace is not None
    assert limits.tip_speed is not None
    assert task.workspace is not None
    count = round((motion.end_s - motion.start_s) / CYCLE_S) + 1
    states = motion.sample(motion.start_s + CYCLE_S * np.arange(count))
    middle, half = (limits.upper_rad + limits.lower_rad) / 2, (limits.upper_rad - limits.lower_rad) / 2
    place = float(np.max(np.abs(states.q_rad - middle) / half))
    fast = max(float(np.max(np.abs(values) / allowed)) for values, allowed in (
        (states.dq_rad_s, limits.velocity_rad_s), (states.ddq_rad_s2, limits.acceleration_rad_s2),
        (states.dddq_rad_s3, limits.jerk_rad_s3)))
    for row in [*range(0, count - 1, SPACE_STRIDE), count - 1]:
        q = states.q_rad[row]
        speed = float(np.linalg.norm((chain.jacobian(q) @ states.dq_rad_s[row])[:3]))
        fast = max(fast, speed / limits.tip_speed.velocity_m_s)
        place = max(place, 1.0 + depth_m(q, task, chain))
    return place, fast


def depth_m(q: Array, task: TaskConfig, chain: KinematicChain) -> float:
    """How far the deepest point is beyond a border of the workspace; negative inside."""
    assert task.workspace is not None
    box = task.workspace.box
    assert box is not None
    frame, frames = np.eye(4), [np.eye(4)]
    for joint in range(chain.n_joints):
        own = (chain.constant[joint] + np.sin(q[joint]) * chain.sine[joint]
               + (1.0 - np.cos(q[joint])) * chain.versine[joint] + q[joint] * chain.linear[joint])
        frame = frame @ own
        frames.append(frame)
    depths: list[float] = []
    for point in task.workspace.points:
        link = chain.links[point.link]
        at = (frames[link.moving] @ link.fixed @ np.append(point.offset_m, 1.0))[:3]
        depths += [float(d) + point.radius_m for d in (*(np.array(box.lower_m) - at), *(at - np.array(box.upper_m)))]
        depths += [point.radius_m - float(np.array(plane.normal) @ (at - np.array(plane.point_m)))
                   for plane in task.workspace.planes]
    return max(depths)


def verdict(motion: JointTrajectory, limits: MotionLimits) -> str:
    """What the check says."""
    try:
        limits.check(motion)
    except TooFastError:
        return "too fast"
    except MotionError:
        return "wrong place"
    return "good"


def expected(place: float, fast: float) -> str:
    """Places come first."""
    return "wrong place" if place > 1.0 else "too fast" if fast > 1.0 else "good"


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), reach_rad=st.floats(0.002, 0.3), rate=st.sampled_from([0.5, 1.0, 2.0]))
def test_the_check_refuses_what_a_plain_one_refuses(task: TaskConfig, chain: KinematicChain, seed: int,
                                                    reach_rad: float, rate: float) -> None:
    """Whatever the motion, verdict and kind are those of looking at one millisecond after the other."""
    limits = limits_of(task, LimitShares(), chain)
    motion = random_motion(seed, reach_rad, rate)
    place, fast = plain_shares(motion, task, limits, chain)
    if abs(place - 1.0) > NEAR and abs(fast - 1.0) > NEAR:
        assert verdict(motion, limits) == expected(place, fast)


def test_all_three_verdicts_are_met(task: TaskConfig, chain: KinematicChain) -> None:
    """The motions above are not all of one kind."""
    limits = limits_of(task, LimitShares(), chain)
    met = {verdict(random_motion(seed, reach_rad, rate), limits)
           for seed in range(10) for reach_rad in (0.01, 0.05, 0.2) for rate in (0.5, 2.0)}
    assert met == {"good", "too fast", "wrong place"}


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_cycle_is_sampling_every_millisecond(seed: int) -> None:
    """All four derivatives, but for rounding, also where segments differ in length."""
    motion = random_motion(seed, 0.1, 1.0)
    some = np.sort(np.random.default_rng(seed).choice(np.arange(1, len(motion.times_s) - 1), 5, replace=False))
    kept = np.concatenate([[0], some, [len(motion.times_s) - 1]])
    uneven = JointTrajectory(motion.times_s[kept], motion.q_rad[kept], motion.dq_rad_s[kept], motion.ddq_rad_s2[kept])
    for each in (motion, uneven):
        count = round((each.end_s - each.start_s) / CYCLE_S) + 1
        plain = each.sample(each.start_s + CYCLE_S * np.arange(count))
        ours = each.every_cycle()
        for mine, theirs in zip(ours[:3], plain[:3], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-9 * max(1.0, float(np.abs(theirs).max())))
        # Jerk may step at a node, and a rounded instant lies on either side of it: there the larger one counts.
        at_node = np.isin(np.arange(count), np.rint((each.times_s - each.start_s) / CYCLE_S))
        tolerance = 1e-7 * max(1.0, float(np.abs(plain.dddq_rad_s3).max()))
        np.testing.assert_allclose(ours.dddq_rad_s3[~at_node], plain.dddq_rad_s3[~at_node], atol=tolerance)
        if each is motion:
            assert np.all(np.abs(ours.dddq_rad_s3) >= np.abs(plain.dddq_rad_s3) - tolerance)
