"""The velocity limits of a Franka Research 3 against the manufacturer's formula, written out joint by joint."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.arm_config import LimitsConfig
from ladle.errors import TooFastError
from real_world_deployment.config import DeploymentConfig, LimitShares
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety import MotionLimits, fr3
from real_world_deployment.trajectory import JointTrajectory

# The manufacturer's table: range of each joint, and its largest velocity.
LOWER_RAD = (-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159)
UPPER_RAD = (2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159)
FR3 = LimitsConfig(position_lower_rad=LOWER_RAD, position_upper_rad=UPPER_RAD,
                   velocity_rad_s=(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26), acceleration_rad_s2=(10.0,) * 7,
                   jerk_rad_s3=(5000.0,) * 7, arm="fr3", tip_velocity_m_s=3.0)
NAMES = tuple(f"fr3_joint{i}" for i in range(1, 8))
INSIDE = st.tuples(*(st.floats(low, high) for low, high in zip(LOWER_RAD, UPPER_RAD, strict=True)))


def upper(joint: int, q: float) -> float:
    """The documentation's formula for one joint, without libfranka's tolerance."""
    peak, offset, slope, end = [
        (2.62, 0.30, 12.0, 2.75010), (2.62, 0.20, 5.17, 1.79180), (2.62, 0.20, 7.00, 2.90650),
        (2.62, 0.30, 8.00, -0.1458), (5.26, 0.35, 34.0, 2.81010), (4.18, 0.35, 11.0, 4.52050),
        (5.26, 0.35, 34.0, 3.01960),
    ][joint]
    return min(peak, max(0.0, -offset + math.sqrt(max(0.0, slope * (end - q)))))


def lower(joint: int, q: float) -> float:
    """As above, towards the lower end."""
    peak, offset, slope, end = [
        (2.62, 0.30, 12.0, 2.750100), (2.62, 0.20, 5.17, 1.791800), (2.62, 0.20, 7.00, 2.906500),
        (2.62, 0.30, 8.00, 3.048100), (5.26, 0.35, 34.0, 2.810100), (4.18, 0.35, 11.0, -0.54092),
        (5.26, 0.35, 34.0, 3.019600),
    ][joint]
    return max(-peak, min(0.0, offset - math.sqrt(max(0.0, slope * (end + q)))))


@given(q=INSIDE)
def test_the_bounds_are_the_manufacturers(q: tuple[float, ...]) -> None:
    """At any position, within libfranka's tolerance and never above."""
    bounds = fr3.velocity_bounds(np.array([q]))
    for joint, value in enumerate(q):
        assert upper(joint, value) - 1.001e-3 <= bounds.upper_rad_s[0, joint] <= upper(joint, value)
        assert lower(joint, value) <= bounds.lower_rad_s[0, joint] <= lower(joint, value) + 1.001e-3


def test_in_the_middle_the_table_holds_and_at_the_end_nothing_is_left() -> None:
    """All of the velocity in the middle of the range; at the very end no joint may go further, but may come back."""
    middle = (np.array(LOWER_RAD) + UPPER_RAD) / 2
    np.testing.assert_allclose(fr3.velocity_bounds(middle[None]).upper_rad_s[0, [0, 2, 4, 6]],
                               np.array([2.62, 2.62, 5.26, 5.26]) - 1e-3)
    at_end = fr3.velocity_bounds(np.array([UPPER_RAD]))
    assert at_end.upper_rad_s[0].max() < 0.03
    assert at_end.lower_rad_s[0].max() < -2.0


def swing(to_rad: float, duration_s: float) -> JointTrajectory:
    """The second joint from 0.6 rad before a place to it; the others in the middle."""
    q = np.tile((np.array(LOWER_RAD) + UPPER_RAD) / 2, (2, 1))
    q[:, 1] = to_rad - 0.6, to_rad
    return JointTrajectory(np.array([0.0, duration_s]), q, np.zeros((2, 7)), np.zeros((2, 7)))


def test_the_same_swing_is_refused_near_the_end_of_the_joint() -> None:
    """In the middle it passes, towards the end stop it does not, away from it at the same place it does."""
    limits = MotionLimits(FR3, LimitShares(), NAMES)
    limits.check(swing(0.3, 0.8))
    with pytest.raises(TooFastError, match=r"velocity.*fr3_joint2"):
        limits.check(swing(1.75, 0.8))
    away = swing(1.75, 0.8)
    limits.check(replace(away, q_rad=away.q_rad[::-1]))


def test_a_panda_keeps_its_table_everywhere() -> None:
    """Without arm: fr3 the velocity limit does not depend on the position."""
    MotionLimits(replace(FR3, arm="panda"), LimitShares(), NAMES).check(swing(1.75, 0.8))


def test_a_share_of_the_velocity_holds_towards_both_ends() -> None:
    """Near either end half the share is half of the manufacturer's bound."""
    limits = MotionLimits(FR3, LimitShares(velocity=0.5), NAMES)
    for q in (np.array(LOWER_RAD) + 0.05, np.array(UPPER_RAD) - 0.05):
        ours, theirs = limits.velocity_bounds(q[None]), fr3.velocity_bounds(q[None])
        np.testing.assert_allclose(ours.lower_rad_s, 0.5 * theirs.lower_rad_s)
        np.testing.assert_allclose(ours.upper_rad_s, 0.5 * theirs.upper_rad_s)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("duration_s", [0.6, 0.7, 0.8, 0.9, 1.0])
def test_an_fr3_streams_no_faster_than_it_may_where_it_is(sign: float, duration_s: float) -> None:
    """A plan that is too fast near the end of a joint is lagged behind or refused."""
    config = DeploymentConfig()
    limits = MotionLimits(FR3, config.stream_limits, NAMES)
    q = np.tile((np.array(LOWER_RAD) + UPPER_RAD) / 2, (2, 1))
    q[:, 1] = sign * 1.15, sign * 1.70
    controller = RuckigController(limits, config)
    controller.start(q[0], 0.0)
    controller.follow_plan(JointTrajectory(np.array([0.1, 0.1 + duration_s]), q, np.zeros((2, 7)), np.zeros((2, 7))))
    rows = np.vstack([q[0], controller.setpoints(3.0)])
    speeds, bounds = np.diff(rows, axis=0) / 0.001, fr3.velocity_bounds((rows[1:] + rows[:-1]) / 2)
    assert (speeds <= bounds.upper_rad_s + 1e-3).all()
    assert (speeds >= bounds.lower_rad_s - 1e-3).all()
