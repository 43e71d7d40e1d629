"""The reflex model stops an arm for each of the manufacturer's limits, and only for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import reflex_model as r

Q0 = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])
CYCLES = np.arange(1, 2001) * r.CYCLE_S


def smooth_motion(amplitude_rad: float, duration_s: float = 2.0) -> np.ndarray:
    """Minimum-jerk set-points (2000, 7) of joint 1, resting at the end."""
    s = np.clip(CYCLES / duration_s, 0.0, 1.0)
    setpoints = np.tile(Q0, (len(s), 1))
    setpoints[:, 0] += amplitude_rad * s**3 * (10 - 15 * s + 6 * s**2)
    return setpoints


@given(amplitude=st.floats(-1.5, 1.5), pieces=st.lists(st.integers(1, 1999), max_size=5))
@settings(deadline=None, max_examples=30)
def test_smooth_motion_is_accepted_however_it_is_cut(amplitude: float, pieces: list[int]) -> None:
    """Batches of any lengths judge a motion as one batch does."""
    model = r.ReflexModel(Q0)
    for batch in np.split(smooth_motion(amplitude), sorted(pieces)):
        assert model.check(batch) == (len(batch), None)


@pytest.mark.parametrize("cut", [999, 1000, 1001, 1002])
def test_a_step_is_found_at_its_cycle_across_batches(cut: int) -> None:
    """A jump at cycle 1000 is seen whether or not a batch ends there."""
    setpoints = smooth_motion(0.5)
    setpoints[1000:, 3] += 0.01
    model = r.ReflexModel(Q0)
    accepted, why = model.check(setpoints[:cut])
    if why is None:
        more, why = model.check(setpoints[cut:])
        accepted += more
    assert accepted == 1000
    assert why == f"{r.VELOCITY} (joint 4)"


def constant_velocity(speed_rad_s: float, ramp_s: float) -> np.ndarray:
    """Joint 1 brought smoothly to a speed."""
    s = np.clip(CYCLES / ramp_s, 0.0, 1.0)
    speed = speed_rad_s * s**3 * (10 - 15 * s + 6 * s**2)
    setpoints = np.tile(Q0, (len(s), 1))
    setpoints[:, 0] += np.cumsum(speed) * r.CYCLE_S - 1.5
    return setpoints


@pytest.mark.parametrize(("speed", "ramp_s", "reason"), [
    (2.10, 1.0, None),
    (2.25, 1.0, r.VELOCITY),
    (1.0, 0.10, r.ACCELERATION),
    (0.5, 0.010, r.ACCELERATION),
])
def test_velocity_and_acceleration_limits(speed: float, ramp_s: float, reason: str | None) -> None:
    """The limit that a motion breaks first is the one that is named."""
    setpoints = constant_velocity(speed, ramp_s)
    _, why = r.ReflexModel(setpoints[0]).check(setpoints)
    assert why == (None if reason is None else f"{reason} (joint 1)")


def test_jerk_limit() -> None:
    """An acceleration that jumps by more than a cycle's worth of jerk is a discontinuity."""
    setpoints = np.tile(Q0, (50, 1))
    for jump, allowed in ((7.4, True), (7.6, False)):
        setpoints[:, 0] = Q0[0] + 0.5 * jump * r.CYCLE_S**2 * np.arange(1, 51) * np.arange(2, 52)
        _, why = r.ReflexModel(Q0).check(setpoints)
        assert (why is None) == allowed
        assert allowed or why == f"{r.JERK} (joint 1)"


def test_set_points_outside_the_joint_range_or_not_finite() -> None:
    """A set-point that no joint can have is refused, whatever its speed."""
    near = np.array([*Q0[:3], -0.0699, *Q0[4:]])
    beyond = np.tile(near, (3, 1))
    beyond[2, 3] = -0.0697
    assert r.ReflexModel(near).check(beyond) == (2, f"{r.COMMANDED_POSITION} (joint 4)")
    beyond[1, 6] = np.nan
    assert r.ReflexModel(near).check(beyond) == (1, f"{r.NOT_FINITE} (joint 7)")


def test_the_first_reason_stays() -> None:
    """Contacts and measured joints latch a reason that later events do not overwrite."""
    model = r.ReflexModel(Q0)
    model.observe(Q0, r.CONTACT_FORCE_N - 1.0)
    assert model.reason is None
    model.observe(Q0, r.CONTACT_FORCE_N + 1.0)
    first = model.reason
    assert first is not None
    assert first.startswith(r.CONTACT)
    model.observe(np.full(7, 5.0), 0.0)
    model.stop("other")
    assert model.reason == first


def test_measured_joints_outside_their_range_stop_the_arm() -> None:
    """The measured position counts, not only the commanded one."""
    model = r.ReflexModel(Q0)
    model.observe(np.array([*Q0[:5], -0.02, Q0[6]]), 0.0)
    assert model.reason == f"{r.POSITION} (joint 6)"
