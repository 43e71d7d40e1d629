"""Where chosen points of the arm may be: inside a box, and on the allowed side of planes such as the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.chain_motion import link_point
from ladle.errors import MotionError
from ladle.kinematics import KinematicChain
from ladle.workspace import WorkspaceConfig
from real_world_deployment.safety.sampled import SampledMotion

Array = NDArray[np.float64]

AXES = "xyz"


class Workspace:
    """A task's box and planes as half spaces: normal . p - radius >= offset for every chosen point p.

    Raises:
        KinematicsError: a point is on a link that the chain does not have.
    """

    def __init__(self, chain: KinematicChain, config: WorkspaceConfig) -> None:
        self._chain = chain
        self._points = [link_point(chain, point.link, point.offset_m) for point in config.points]
        self._names = [point.name for point in config.points]
        self._radii_m: Array = np.array([point.radius_m for point in config.points], dtype=np.float64)
        borders: list[tuple[str, Array, float]] = []
        for plane in config.planes:
            normal: Array = np.asarray(plane.normal, dtype=np.float64)
            normal = normal / np.linalg.norm(normal)
            borders.append((f"the plane {plane.name!r}", normal, float(normal @ np.asarray(plane.point_m))))
        for axis in range(3 if config.box is not None else 0):
            assert config.box is not None
            unit: Array = np.eye(3)[axis]
            borders.append((f"the box's lower {AXES[axis]} face", unit, config.box.lower_m[axis]))
            borders.append((f"the box's upper {AXES[axis]} face", -unit, -config.box.upper_m[axis]))
        self._borders = [name for name, _, _ in borders]
        self._normals: Array = np.array([normal for _, normal, _ in borders])
        self._offsets_m: Array = np.array([offset for _, _, offset in borders])

    def clearances_m(self, motion: SampledMotion) -> Array:
        """(B, P, k) how far each point's sphere is from each border; negative beyond it."""
        positions = motion.frames(self._chain).positions(self._points)
        distances = np.einsum("bi,pim->bpm", self._normals, positions)
        return distances - self._offsets_m[:, None, None] - self._radii_m[:, None]

    def check(self, motion: SampledMotion) -> None:
        """Raises MotionError naming the point, the border, the instant and the depth of the deepest crossing."""
        clearances = self.clearances_m(motion)
        border, point, row = np.unravel_index(int(np.argmin(clearances)), clearances.shape)
        depth_m = -float(clearances[border, point, row])
        if not depth_m <= 0.0:
            at_s = motion.at_s[motion.sparse[row]]
            raise MotionError(f"the planned path takes {self._names[point]} (radius {self._radii_m[point]:.3f} m) "
                              f"{depth_m:.3f} m beyond {self._borders[border]} at {at_s:.3f} s; the motion is refused: "
                              "stay inside, or correct the task file's workspace")
