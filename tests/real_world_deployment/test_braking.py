"""The way to rest: within the limits, as short as they allow, exactly what its four nodes say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.braking import braking_tail
from real_world_deployment.safety import MotionLimits
from real_world_deployment.trajectory import JointState

RAMP_S = 0.025


def moving(limits: MotionLimits, q_rad: NDArray[np.float64], seed: int, share: float) -> JointState:
    """A state at up to a share of the limits, slow enough that a ramp does not lift it above them."""
    rng = np.random.default_rng(seed)
    return JointState(2.001, q_rad, 0.9 * share * limits.velocity_rad_s * rng.uniform(-1, 1, 7),
                      share * limits.acceleration_rad_s2 * rng.uniform(-1, 1, 7))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0))
def test_it_keeps_the_limits_and_is_as_short_as_they_allow(seed: int, share: float, limits: MotionLimits,
                                                           home_rad: NDArray[np.float64]) -> None:
    """At rest after the slowest joint's speed over its acceleration and one ramp, from any acceleration."""
    start = moving(limits, home_rad, seed, share)
    tail = braking_tail(start, limits)
    limits.check(tail)
    needed_s = float(np.max(np.abs(start.dq_rad_s + start.ddq_rad_s2 * RAMP_S / 2) / limits.acceleration_rad_s2))
    assert tail.end_s - start.time_s <= max(needed_s + RAMP_S, 2 * RAMP_S) + 0.0011
    np.testing.assert_array_equal(tail.q_rad[0], start.q_rad)
    acceleration = tail.sample(np.arange(start.time_s, tail.end_s - 1e-4, 0.001)).ddq_rad_s2
    steps = np.abs(np.diff(np.vstack([start.ddq_rad_s2, acceleration]), axis=0))
    assert steps.max() <= 2 * limits.acceleration_rad_s2.max() * 0.001 / 0.01 + 1e-6


def test_braking_that_would_leave_the_range_is_refused(limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """At speed next to the end of joint 4: refused, with the joint named."""
    q, v = home_rad.copy(), np.zeros(7)
    q[3], v[3] = limits.upper_rad[3] - 0.02, 1.5
    with pytest.raises(MotionError, match="joint4"):
        braking_tail(JointState(0.0, q, v, np.zeros(7)), limits)


def test_speed_that_still_rises_is_refused_above_the_limit(limits: MotionLimits,
                                                           home_rad: NDArray[np.float64]) -> None:
    """At the velocity limit and accelerating, any ramp exceeds it."""
    v, a = np.zeros(7), np.zeros(7)
    v[0], a[0] = limits.velocity_rad_s[0], limits.acceleration_rad_s2[0]
    with pytest.raises(MotionError, match="would first reach"):
        braking_tail(JointState(0.0, home_rad, v, a), limits)


def test_the_ramps_keep_the_jerk_that_is_asked_for(limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """Also one that makes them longer than usual, as a stream's."""
    jerk_rad_s3 = 0.05 * limits.jerk_rad_s3
    start = JointState(2.001, home_rad, 0.3 * limits.velocity_rad_s, 0.5 * limits.acceleration_rad_s2)
    tail = braking_tail(start, limits, jerk_rad_s3)
    states = tail.sample(np.arange(tail.start_s, tail.end_s, 0.001))
    assert (np.abs(states.dddq_rad_s3) <= jerk_rad_s3 * (1 + 1e-6)).all()


def test_a_way_to_rest_that_leaves_the_range_for_a_moment_is_refused(limits: MotionLimits,
                                                                     home_rad: NDArray[np.float64]) -> None:
    """It ends inside, but not before it has gone on for 0.3 mrad; 0.2 are left."""
    q, v, a = home_rad.copy(), np.zeros(7), np.zeros(7)
    q[0], v[0], a[0] = limits.upper_rad[0] - 2e-4, 0.1, -limits.acceleration_rad_s2[0]
    with pytest.raises(MotionError, match=r"range.*joint1"):
        braking_tail(JointState(0.0, q, v, a), limits)
