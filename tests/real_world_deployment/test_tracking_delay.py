"""The arm's delay out of what was commanded and measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import MotionError
from real_world_deployment.tracking_delay import tracking_delay

COMMANDED_S = np.arange(0.0, 4.0, 0.01)


def motion(times_s: np.ndarray, seed: int) -> np.ndarray:
    """(n, 7) rad: smooth, with another frequency and size for each joint; at rest before 0.5 s."""
    random = np.random.default_rng(seed)
    size, hz, phase = random.uniform(0.02, 0.5, 7), random.uniform(0.1, 0.8, 7), random.uniform(0, 6, 7)
    moving_s = np.maximum(times_s - 0.5, 0.0)[:, None]
    return size * (np.sin(2 * np.pi * hz * moving_s + phase) - np.sin(phase))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.0, 0.25), st.integers(0, 1000), st.sampled_from([100.0, 200.0, 1000.0]), st.floats(-0.005, 0.005))
def test_a_known_delay_is_found_within_a_millisecond(delay_s: float, seed: int, rate_hz: float, sag_rad: float) -> None:
    """At any rate, with noise of 0.1 mrad and a constant offset, such as an arm that sags."""
    measured_s = np.arange(0.0, 4.0, 1 / rate_hz)
    noise = np.random.default_rng(seed).normal(0, 1e-4, (len(measured_s), 7))
    measured = motion(measured_s - delay_s, seed) + noise + sag_rad
    found = tracking_delay(COMMANDED_S, motion(COMMANDED_S, seed), measured_s, measured)
    assert found.delay_s == pytest.approx(delay_s, abs=1e-3)
    assert found.residual_rad < 2e-4


def test_what_tells_nothing_is_refused() -> None:
    """An arm at rest, a moment only, another clock, a delay beyond the range."""
    command = motion(COMMANDED_S, 0)
    with pytest.raises(MotionError, match="no joint moved"):
        tracking_delay(COMMANDED_S, np.zeros_like(command), COMMANDED_S, np.zeros_like(command))
    with pytest.raises(MotionError, match="0 measured joints"):
        tracking_delay(COMMANDED_S, command, COMMANDED_S + 1e9, command)
    with pytest.raises(MotionError, match=r"later than 0\.1 s"):
        tracking_delay(COMMANDED_S, command, COMMANDED_S, motion(COMMANDED_S - 0.2, 0), longest_s=0.1)
