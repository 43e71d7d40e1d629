"""Positions and velocities of a Ruckig trajectory at many instants at once: what its `at_time` gives one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def positions_and_velocities(segment: Any, at_s: Array) -> tuple[Array, Array]:
    """(m, J) rad and (m, J) rad/s at instants (m,) from the trajectory's start, for one without way points.

    Each joint goes through phases of constant jerk: two of the brake that brings it back within its limits, mostly of
    no length, the seven of the profile, and from its end on a constant acceleration (ruckig, trajectory.hpp,
    state_to_integrate_from).
    """
    starts, states = [], []
    for profile in segment.profiles[0]:
        brake = profile.brake
        starts.append([0.0, *brake.t, *profile.t])
        states.append([*brake.p, *profile.p, *brake.v, *profile.v,
                       *brake.a, *profile.a, *brake.j, *profile.j, 0.0])
    begun_s = np.cumsum(np.array(starts), axis=1)  # (J, 10)
    q, dq, ddq, dddq = np.array(states).reshape(len(states), 4, -1).transpose(1, 0, 2)
    # The last phase that has begun: those of no length are passed over.
    phase = (at_s[:, None, None] >= begun_s).sum(axis=2) - 1
    joint = np.arange(len(states))
    t = at_s[:, None] - begun_s[joint, phase]
    a, j = ddq[joint, phase], dddq[joint, phase]
    return (q[joint, phase] + t * (dq[joint, phase] + t * (a / 2.0 + t * j / 6.0)),
            dq[joint, phase] + t * (a + t * j / 2.0))
