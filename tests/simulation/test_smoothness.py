"""Jerk of the set-points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.smoothness import JerkMeter


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.floats(0.1, 100.0))
def test_a_cubic_has_its_jerk_however_it_is_dealt_out(parts: list[int], jerk_rad_s3: float):
    """q = j t^3 / 6 on each of two joints, in batches of any size."""
    times_s = 0.001 * np.arange(10, 10 + sum(parts) + 3)
    q_rad = np.repeat((jerk_rad_s3 * times_s**3 / 6)[:, None], 2, axis=1)
    meter = JerkMeter()
    for batch in np.split(q_rad, np.cumsum([3, *parts])[:-1]):
        meter.add(batch)
    # Third differences of float64 positions of about 1 rad, over 1e-9 s^3.
    assert meter.rms_rad_s3 == pytest.approx(jerk_rad_s3, rel=1e-3, abs=2e-6 * max(1.0, q_rad.max() / 1e-3))


def test_standing_still_does_not_dilute_the_jerk():
    """The same motion with a second of rest before and after it."""
    moving = np.sin(np.linspace(0, np.pi, 500))[:, None] * np.ones(7)
    rest = np.zeros((1000, 7))
    alone, padded = JerkMeter(), JerkMeter()
    for batch in (rest[:3], moving[1:], rest[:3]):
        alone.add(batch)
    for batch in (rest, moving[1:], rest):
        padded.add(batch)
    assert padded.rms_rad_s3 == pytest.approx(alone.rms_rad_s3)
    assert JerkMeter().rms_rad_s3 == 0.0
