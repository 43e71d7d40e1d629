"""trajectory_msgs/JointTrajectory as the simulated controller reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from trajectory_msgs.msg import JointTrajectory

from ladle_nodes.images import stamp_ns
from ladle_nodes.trajectories import times_s
from simulation.jtc_model import TrajectoryMessage

Floats = NDArray[np.float64]


def from_message(message: JointTrajectory) -> TrajectoryMessage:
    """The message as the model of the controller reads it."""
    points = message.points
    return TrajectoryMessage(
        stamp_s=stamp_ns(message.header.stamp) * 1e-9,
        joint_names=tuple(message.joint_names),
        times_from_start_s=times_s(message),
        positions_rad=np.array([p.positions for p in points], np.float64),
        velocities_rad_s=_rows([p.velocities for p in points]),
        accelerations_rad_s2=_rows([p.accelerations for p in points]),
    )


def _rows(rows: list[Sequence[float]]) -> Floats | None:
    """None when the points do not carry this derivative."""
    return np.array(rows, np.float64) if all(len(row) for row in rows) else None
