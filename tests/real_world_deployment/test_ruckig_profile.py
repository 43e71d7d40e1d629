"""Many instants of a Ruckig trajectory at once are what Ruckig says of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import ruckig
from hypothesis import given
from hypothesis import strategies as st

from real_world_deployment.ruckig_profile import positions_and_velocities

JOINTS = 4


def trajectory(seed: int, *, is_braking: bool, is_beyond: bool) -> Any:
    """From a random state to a random one, or to rest; beyond its limits at first, or within them."""
    random = np.random.default_rng(seed)
    ask: Any = ruckig.InputParameter(JOINTS)
    ask.max_velocity, ask.max_acceleration, ask.max_jerk = [1.5] * JOINTS, [8.0] * JOINTS, [300.0] * JOINTS
    reach = 1.4 if is_beyond else 0.7
    ask.current_position = random.normal(size=JOINTS).tolist()
    ask.current_velocity = (reach * 1.5 * random.uniform(-1, 1, JOINTS)).tolist()
    ask.current_acceleration = (reach * 8.0 * random.uniform(-1, 1, JOINTS)).tolist()
    ask.target_velocity = [0.0] * JOINTS
    ask.target_acceleration = [0.0] * JOINTS
    if is_braking:
        ask.control_interface = ruckig.ControlInterface.Velocity
    else:
        ask.target_position = (np.array(ask.current_position) + 0.05 * random.normal(size=JOINTS)).tolist()
        ask.target_velocity = random.uniform(-0.3, 0.3, JOINTS).tolist()
        ask.minimum_duration = 0.05
    found: Any = ruckig.Trajectory(JOINTS)
    assert ruckig.Ruckig(JOINTS).calculate(ask, found) in (ruckig.Result.Working, ruckig.Result.Finished)
    return found


@given(seed=st.integers(0, 2**32 - 1), is_braking=st.booleans(), is_beyond=st.booleans())
def test_all_instants_together_are_each_by_itself(seed: int, is_braking: bool, is_beyond: bool):
    """The brake's phases, the profile's, their borders and what comes after the end."""
    segment = trajectory(seed, is_braking=is_braking, is_beyond=is_beyond)
    borders = [np.cumsum([*profile.brake.t, *profile.t]) for profile in segment.profiles[0]]
    at_s = np.concatenate([np.arange(0.0, segment.duration + 0.05, 0.001), [segment.duration], *borders])
    q, dq = positions_and_velocities(segment, at_s)
    each = np.array([segment.at_time(instant)[:2] for instant in at_s.tolist()])
    assert q == pytest.approx(each[:, 0], abs=1e-9)
    assert dq == pytest.approx(each[:, 1], abs=1e-9)


def test_some_of_these_trajectories_brake_first():
    """Else the property would say nothing of it."""
    assert any(profile.brake.duration > 0.0 for seed in range(20)
               for profile in trajectory(seed, is_braking=False, is_beyond=True).profiles[0])
