"""Where the tip may be when a policy takes over: near to where its demonstrations began."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.pose import quaternion_to_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StartRegion:
    """Balls of positions and cones of rotations about poses; inside one of them is inside.

    Attributes:
        name: what the poses are, for people.
        poses: (n, 7) metres and quaternion xyzw; n >= 1.
        within_m, within_rad: how far from the nearest of them a run may begin.
    """

    name: str
    poses: Array
    within_m: float
    within_rad: float

    def problem(self, pose: Array) -> str | None:
        """How far a pose (7,) is outside; None inside."""
        distances_m = np.linalg.norm(self.poses[:, :3] - pose[:3], axis=1)
        turns = np.stack([quaternion_to_matrix(other[3:]) for other in self.poses])
        cosines = (np.einsum("ij,nij->n", quaternion_to_matrix(pose[3:]), turns) - 1.0) / 2.0
        angles_rad = np.arccos(np.clip(cosines, -1.0, 1.0))
        if bool(np.any((distances_m <= self.within_m) & (angles_rad <= self.within_rad))):
            return None
        nearest = int(np.argmin(np.maximum(distances_m / self.within_m, angles_rad / self.within_rad)))
        return (f"the tip is {distances_m[nearest]:.3f} m and {angles_rad[nearest]:.2f} rad from {self.name}; at most "
                f"{self.within_m:g} m and {self.within_rad:g} rad are allowed")
