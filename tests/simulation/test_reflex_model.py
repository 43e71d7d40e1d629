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


# Of the data sheet, joint by joint: rad/s, rad/s^2, rad/s^3, lowest and highest rad.
DATA_SHEET = [
    (2.1750, 15.0, 7500.0, -2.8973, 2.8973),
    (2.1750, 7.5, 3750.0, -1.7628, 1.7628),
    (2.1750, 10.0, 5000.0, -2.8973, 2.8973),
    (2.1750, 12.5, 6250.0, -3.0718, -0.0698),
    (2.6100, 15.0, 7500.0, -2.8973, 2.8973),
    (2.6100, 20.0, 10000.0, -0.0175, 3.7525),
    (2.6100, 20.0, 10000.0, -2.8973, 2.8973),
]


def speeding_up(joint: int, limit: str, share: float) -> np.ndarray:
    """Set-points (2000, 7) of a joint that reaches a share of one of its limits and stays far from the others."""
    speed, acceleration, jerk, _, _ = DATA_SHEET[joint]
    ramp = 0.5 * jerk * CYCLES
    if limit == r.JERK:
        speeds = np.cumsum(np.full(20, share * jerk * r.CYCLE_S)) * r.CYCLE_S
    elif limit == r.ACCELERATION:
        speeds = np.cumsum(np.minimum(ramp[:60], share * acceleration)) * r.CYCLE_S
    else:
        speeds = np.minimum(np.cumsum(np.minimum(ramp, 0.25 * acceleration)) * r.CYCLE_S, share * speed)
        speeds = speeds[: int(np.flatnonzero(speeds == speeds[-1])[0]) + 5]
    setpoints = np.tile(Q0, (len(speeds), 1))
    setpoints[:, joint] += np.cumsum(speeds) * r.CYCLE_S
    return setpoints


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("limit", [r.VELOCITY, r.ACCELERATION, r.JERK])
def test_every_joint_keeps_the_limits_of_the_data_sheet_both_ways(joint: int, limit: str) -> None:
    """One percent below a limit of any joint is accepted, one percent above is a reflex, whichever way it turns."""
    for way in (1.0, -1.0):
        for share, why in ((0.99, None), (1.01, f"{limit} (joint {joint + 1})")):
            setpoints = Q0 + way * (speeding_up(joint, limit, share) - Q0)
            assert r.ReflexModel(Q0).check(setpoints)[1] == why


@pytest.mark.parametrize("joint", range(7))
def test_every_joint_has_both_ends_of_its_range(joint: int) -> None:
    """Commanded or measured, a millionth of a radian beyond either end stops the arm, and before it does not."""
    for end, way in zip(DATA_SHEET[joint][3:], (-1.0, 1.0), strict=True):
        inside, beyond = Q0.copy(), Q0.copy()
        inside[joint], beyond[joint] = end - way * 5e-7, end + way * 5e-7
        assert r.ReflexModel(inside).check(beyond[None]) == (0, f"{r.COMMANDED_POSITION} (joint {joint + 1})")
        assert r.ReflexModel(inside).check(inside[None]) == (1, None)
        model = r.ReflexModel(inside)
        model.observe(inside, 0.0)
        assert model.reason is None
        model.observe(beyond, 0.0)
        assert model.reason == f"{r.POSITION} (joint {joint + 1})"


def test_a_contact_of_more_than_30_newton_is_a_reflex() -> None:
    """The force at which the demonstrations' arm would stop."""
    for force_n, stops in ((29.0, False), (31.0, True)):
        model = r.ReflexModel(Q0)
        model.observe(Q0, force_n)
        assert (model.reason is not None) == stops
