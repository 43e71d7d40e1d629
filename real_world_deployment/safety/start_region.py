"""Where the tip may be when a policy takes over: near to where its demonstrations began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.pose import quaternion_to_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StartRegion:
    """A ball of positions and a cone of rotations about a pose.

    Attributes:
        name: what the pose is, for people.
        pose: (7,) metres and quaternion xyzw.
        within_m, within_rad: how far from it a run may begin.
    """

    name: str
    pose: Array
    within_m: float
    within_rad: float

    def problem(self, pose: Array) -> str | None:
        """How far a pose (7,) is outside; None inside."""
        distance_m = float(np.linalg.norm(pose[:3] - self.pose[:3]))
        turn = quaternion_to_matrix(pose[3:]).T @ quaternion_to_matrix(self.pose[3:])
        angle_rad = float(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0)))
        if distance_m <= self.within_m and angle_rad <= self.within_rad:
            return None
        return (f"the tip is {distance_m:.3f} m and {angle_rad:.2f} rad from {self.name}; at most {self.within_m:g} m "
                f"and {self.within_rad:g} rad are allowed")
