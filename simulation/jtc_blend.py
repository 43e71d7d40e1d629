"""How master's JointTrajectoryController lets a new trajectory take over from a running one.

Written after `JointTrajectoryController::blend_with_active_trajectory` of ros2_controllers, master of August 2026.
Omitted joints are held, as in the other distributions; master lets them follow the old trajectory.

Why a plan is never streamed into it (`real_world_deployment/jtc_parameters.py` refuses): `update` calls it before it
moves its cursor on, and counts the joined points from the present cycle. With a stamp in the past every replacement
repeats the set-point of the cycle before, a stop for one millisecond. With one in the future the set-points up to the
first point that was kept start from the measured state, which lags, or two cycles ahead with
`interpolate_from_desired_state`. All are steps at speed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulation.jtc_trajectory import Floats, HeldTrajectory, JointState


def blended(
    held: HeldTrajectory, points_ns: NDArray[np.int64], points: JointState, cursor_ns: int, wait_ns: int
) -> tuple[NDArray[np.int64], JointState]:
    """The running plan up to the switch time, then the new points, in time from this cycle.

    A stamp in the past is not honoured: the new plan starts at the controller's cursor. The cursor is the time
    of the last cycle while the blend starts in this one, so that each replacement lags by one cycle.
    """
    assert held.start_ns is not None
    switch_ns = cursor_ns + wait_ns
    old_ns = held.start_ns + held.points_ns
    kept = np.flatnonzero((old_ns > cursor_ns) & (old_ns < switch_ns))
    parts_ns = [old_ns[kept] - cursor_ns]
    parts = [held.points.at(kept)]
    if points_ns[0] > 0:
        parts_ns.append(np.array([wait_ns]))
        parts.append(held.sample(np.array([switch_ns])))
    parts_ns.append(points_ns + wait_ns)
    parts.append(points)
    return np.concatenate(parts_ns), _joined(parts)


def _joined(parts: Sequence[JointState]) -> JointState:
    """Points one after the other; a rate that one part lacks is zero there, or absent where all lack it."""

    def column(rates: list[Floats | None]) -> Floats | None:
        if rates[-1] is None:
            return None
        widths = [part.position_rad.shape for part in parts]
        filled = [np.zeros(shape) if rate is None else rate for rate, shape in zip(rates, widths, strict=True)]
        return np.concatenate(filled)

    return JointState(
        np.concatenate([part.position_rad for part in parts]),
        column([part.velocity_rad_s for part in parts]),
        column([part.acceleration_rad_s2 for part in parts]),
    )
