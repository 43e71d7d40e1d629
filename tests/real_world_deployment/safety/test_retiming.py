"""Slower along the same path: within the limits at 1 kHz, C2 at the start, at rest at the end, near to optimal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError, TooFastError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.fit import fit_motion
from real_world_deployment.safety import MotionLimits, retimed, within_limits
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import JointState, JointTrajectory
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
STRIDE_RAD = 0.06


@pytest.fixture(scope="module")
def tight(task: TaskConfig) -> MotionLimits:
    """Joint limits at 40 %, so that ordinary chunks are too fast by up to a factor of two."""
    return limits_of(task, LimitShares(velocity=0.4, acceleration=0.4), None)


def too_fast(home_rad: Array, seed: int, stride_rad: float) -> JointTrajectory:
    """A random walk of way points 0.1 s apart, joined from a start in motion; strides of about so many radians."""
    rng = np.random.default_rng(seed)
    velocity, acceleration = rng.normal(0, 0.2, 7), rng.normal(0, 1.0, 7)
    elapsed = 0.1 * np.arange(1, 9)[:, None]
    walk = np.cumsum(rng.normal(0, stride_rad, (8, 7)), axis=0)
    return fit_motion(JointState(1.0, home_rad, velocity, acceleration), 1.0 + elapsed[:, 0],
                      home_rad + velocity * elapsed + walk, 0.5, 1.5, 0.1)


def off_path_rad(motion: JointTrajectory, path: JointTrajectory) -> float:
    """The farthest that a motion is from the path of another: its points, from the chords between 0.5 ms samples."""
    line = path.sample(np.arange(path.start_s, path.end_s + 2.5e-4, 5e-4)).q_rad
    chord = np.diff(line, axis=0)
    length2 = np.maximum(np.sum(chord**2, axis=1), 1e-30)
    farthest = 0.0
    for point in motion.sample(np.arange(motion.start_s, motion.end_s, 0.013)).q_rad:
        share = np.clip(np.sum((point - line[:-1]) * chord, axis=1) / length2, 0.0, 1.0)
        farthest = max(farthest, float(np.abs(point - line[:-1] - share[:, None] * chord).max(axis=1).min()))
    return farthest


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), stride_rad=st.floats(0.03, 0.08))
def test_what_is_too_fast_is_slowed_along_its_own_path(seed: int, stride_rad: float, tight: MotionLimits,
                                                       home_rad: Array) -> None:
    """Limits, path, start and end; also the reflex model, which differentiates set-points, finds nothing."""
    motion = too_fast(home_rad, seed, stride_rad)
    try:
        slowed, why = within_limits(motion, tight)
    except MotionError:
        assume(False)
        return
    assume(why is not None)
    tight.check(slowed)
    assert slowed.end_s > motion.end_s
    assert slowed.start_s == motion.start_s
    for new, old in ((slowed.q_rad, motion.q_rad), (slowed.dq_rad_s, motion.dq_rad_s),
                     (slowed.ddq_rad_s2, motion.ddq_rad_s2)):
        np.testing.assert_array_equal(new[0], old[0])
    np.testing.assert_array_equal(slowed.q_rad[-1], motion.q_rad[-1])
    assert not slowed.dq_rad_s[-1].any()
    assert off_path_rad(slowed, motion) < 2e-5
    before = np.array([-0.003, -0.002, -0.001])[:, None]
    reflex = ReflexModel(home_rad)
    reflex._history_rad = motion.q_rad[0] + before * motion.dq_rad_s[0] + before**2 / 2 * motion.ddq_rad_s2[0]
    rows = slowed.sample(np.arange(slowed.start_s, slowed.end_s + 0.01, 0.001)).q_rad
    assert reflex.check(rows) == (len(rows), None)


def test_nearly_every_motion_is_mended(tight: MotionLimits, home_rad: Array) -> None:
    """Of random motions that are too fast, at least nine in ten; the others are refused, not let through."""
    mended, refused = 0, 0
    for seed in range(40):
        motion = too_fast(home_rad, seed, STRIDE_RAD)
        try:
            mended += within_limits(motion, tight)[1] is not None
        except TooFastError:
            refused += 1
        except MotionError:
            continue
    assert mended > 20
    assert refused <= mended / 9


def test_what_keeps_the_limits_stays_as_it_is(limits: MotionLimits, home_rad: Array) -> None:
    """Bit for bit, and nothing to say."""
    calm = too_fast(home_rad, 1, 0.001)
    assert within_limits(calm, limits) == (calm, None)


def test_the_tip_is_slowed_too(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A motion that only the tip's limit forbids takes longer, and no longer than the tip needs."""
    slow_tip = limits_of(task, LimitShares(tip_velocity=0.1), chain)
    q = np.stack([home_rad, home_rad])
    q[1, 0] += 0.4
    motion = JointTrajectory(np.array([0.0, 1.0]), q, np.zeros((2, 7)), np.zeros((2, 7)))
    with pytest.raises(TooFastError, match="tip velocity"):
        slow_tip.check(motion)
    slowed = retimed(motion, slow_tip)
    arc_m = 0.4 * float(np.linalg.norm(chain.forward(home_rad)[:2]))
    assert arc_m / 0.17 < slowed.end_s < 1.9 * arc_m / 0.17


def test_a_path_that_leads_out_is_not_retimed(all_limits: MotionLimits, home_rad: Array) -> None:
    """Slower would not help: refused with the place."""
    q = np.stack([home_rad, home_rad])
    q[1, 1] += 0.45
    motion = JointTrajectory(np.array([0.0, 0.5]), q, np.zeros((2, 7)), np.zeros((2, 7)))
    with pytest.raises(MotionError, match="table"):
        retimed(motion, all_limits)


def test_a_start_that_cannot_be_kept_is_refused(limits: MotionLimits, home_rad: Array) -> None:
    """The start's own velocity is above the limit: nothing is clipped, the reason is told."""
    fast = JointState(0.0, home_rad, np.array([2.1, 0, 0, 0, 0, 0, 0]), np.zeros(7))
    with pytest.raises(TooFastError, match="begins at its limits"):
        retimed(fit_motion(fast, np.empty(0), np.empty((0, 7)), 0.6, 1.5, 0.1), limits)


def test_a_motion_that_would_take_for_ever_is_refused(tight: MotionLimits, home_rad: Array) -> None:
    """The factor is told."""
    with pytest.raises(TooFastError, match="times as long"):
        retimed(too_fast(home_rad, 3, STRIDE_RAD), tight, longest=1.1)


def test_the_course_is_near_the_time_optimal_one(tight: MotionLimits, home_rad: Array) -> None:
    """Against toppra with the same velocity and acceleration limits, rates up to 1 and the same start: never faster
    than its optimum, which knows no jerk, and less than 10 % slower.
    """
    ratios: list[float] = []
    for seed in (1, 4, 5, 7, 9):
        motion = too_fast(home_rad, seed, STRIDE_RAD)
        slowed, why = within_limits(motion, tight)
        assert why is not None
        ratios.append((slowed.end_s - slowed.start_s) / _time_optimal_s(motion, tight))
    assert min(ratios) > 1.0
    assert max(ratios) < 1.10


def _time_optimal_s(motion: JointTrajectory, limits: MotionLimits) -> float:
    """Duration of toppra's course along the path, which is given s itself as an eighth joint of velocity at most 1."""
    algorithm = pytest.importorskip("toppra.algorithm")
    constraint = pytest.importorskip("toppra.constraint")
    interpolator = pytest.importorskip("toppra.interpolator")
    s = np.arange(0.0, motion.end_s - motion.start_s + 1e-9, 0.025)
    path = interpolator.SplineInterpolator(s, np.column_stack([motion.sample(motion.start_s + s).q_rad, s]))
    velocity, acceleration = np.append(limits.velocity_rad_s, 1.0), np.append(limits.acceleration_rad_s2, 1e3)
    course = algorithm.TOPPRA([constraint.JointVelocityConstraint(np.column_stack([-velocity, velocity])),
                               constraint.JointAccelerationConstraint(np.column_stack([-acceleration, acceleration]))],
                              path, gridpoints=np.linspace(0, s[-1], 100))
    return float(course.compute_trajectory(1.0, 1.0).duration)
