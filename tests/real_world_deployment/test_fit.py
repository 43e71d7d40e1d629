"""The smooth fit: exact ends, close to way points, bounded jerk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from real_world_deployment.fit import basis_values, fit_motion
from real_world_deployment.trajectory import JointState


def start_state(rng: np.random.Generator, scale: float) -> JointState:
    """A moving start of 7 joints at 2 s."""
    return JointState(2.0, rng.normal(0, 1, 7), scale * rng.normal(0, 0.4, 7), scale * rng.normal(0, 1, 7))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 14))
def test_start_and_end_hold_exactly(seed: int, n: int) -> None:
    """Position, velocity and acceleration at the start are those asked for to the bit; the end is at rest."""
    rng = np.random.default_rng(seed)
    start = start_state(rng, 1.0)
    times = 2.0 + rng.uniform(0.001, 0.1) + 0.1 * np.arange(n)
    motion = fit_motion(start, times, rng.normal(0, 0.1, (n, 7)) + start.q_rad, 0.5, 2.0, 0.1)
    first = motion.state(2.0)
    np.testing.assert_array_equal(first.q_rad, start.q_rad)
    np.testing.assert_array_equal(first.ddq_rad_s2, start.ddq_rad_s2)
    after = motion.sample(2.0 + 1e-7)
    np.testing.assert_allclose(after.ddq_rad_s2[0], start.ddq_rad_s2, atol=1e-3)
    assert np.all(motion.dq_rad_s[-1] == 0)
    assert motion.end_s >= (times[-1] if n else 2.0) + 0.5 - 1e-9


def test_slow_motion_is_followed_and_noise_is_not() -> None:
    """A 0.3 Hz sine is met within 2 mrad; of white noise less than half gets through, with little jerk."""
    at = 0.1 * np.arange(1, 16)
    sine = 0.2 * np.sin(2 * np.pi * 0.3 * at)[:, None] * np.ones(7)
    speed = np.full(7, 0.2 * 2 * np.pi * 0.3)
    start = JointState(0.0, np.zeros(7), speed, np.zeros(7))
    clean = fit_motion(start, at, sine, 0.5, 2.0, 0.1)
    assert np.abs(clean.sample(at).q_rad - sine).max() < 2e-3
    noise = np.random.default_rng(0).normal(0, 0.005, sine.shape)
    noisy = fit_motion(start, at, sine + noise, 0.5, 2.0, 0.1)
    residue = noisy.sample(at).q_rad - clean.sample(at).q_rad
    assert np.sqrt(np.mean(residue[:-1] ** 2)) < 0.8 * 0.005
    assert np.abs(noisy.sample(np.arange(0, noisy.end_s, 0.001)).dddq_rad_s3).max() < 100.0


def test_without_way_points_the_arm_brakes() -> None:
    """From 0.5 rad/s it is at rest after the tail, and never faster than at the start."""
    start = JointState(1.0, np.zeros(7), np.full(7, 0.5), np.zeros(7))
    motion = fit_motion(start, np.empty(0), np.empty((0, 7)), 0.5, 2.0, 0.1)
    assert motion.end_s == 1.5
    assert np.abs(motion.sample(np.arange(1.0, 1.5, 0.001)).dq_rad_s).max() <= 0.5 + 1e-9


def test_jerk_is_continuous_between_the_ends() -> None:
    """Between nodes the spline has four continuous derivatives: no jerk step larger than its slope allows."""
    rng = np.random.default_rng(1)
    at = 2.03 + 0.1 * np.arange(10)
    start = start_state(rng, 0.3)
    motion = fit_motion(start, at, start.q_rad + np.cumsum(rng.normal(0, 0.02, (10, 7)), axis=0), 0.5, 2.0, 0.1)
    jerk = motion.sample(np.arange(2.0005, motion.end_s - 0.001, 0.001)).dddq_rad_s3
    assert np.abs(np.diff(jerk, axis=0)).max() < 0.1 * np.abs(jerk).max()


@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_the_basis_is_scipys(degree: int) -> None:
    """At the knots, at both ends and between them."""
    knots = np.concatenate([np.zeros(degree), np.linspace(0.0, 0.6, 13), np.full(degree, 0.6)])
    at = np.concatenate([knots, np.random.default_rng(0).uniform(0.0, 0.6, 200)])
    oracle = BSpline.design_matrix(at, knots, degree).toarray()
    np.testing.assert_allclose(basis_values(knots, degree, at), oracle, atol=1e-12)
