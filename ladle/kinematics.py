"""Kinematics of one chain of a URDF in numpy: forward, Jacobian, inverse.

Robot-side code must run where `pin` does not install (numpy 1), hence our own; `pin` is the oracle in tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladle.errors import KinematicsError
from ladle.pose import matrix_to_quaternion, quaternion_to_matrix
from ladle.urdf_chain import LinkFrame, chain_parts

Array = NDArray[np.float64]

MAX_STEP_RAD = 0.5        # a longer Gauss-Newton step leaves the region where the linearisation holds
POSITION_TOLERANCE_M = 1e-7
ROTATION_TOLERANCE_RAD = 1e-7
NULL_SPACE_GAIN = 0.1     # share of the way to the posture that one solution may drift within the null space
BLOCK = 4096              # samples per block of forward(): stays inside the cache


@dataclass(frozen=True)
class KinematicChain:
    """The joints between a base and a tip frame; fixed joints are folded into the moving ones.

    The transform of joint i is `constant[i] + sin(q_i) sine[i] + (1 - cos(q_i)) versine[i] + q_i linear[i]`,
    which is Rodrigues' formula for a revolute and a shift for a prismatic joint.

    Attributes:
        joint_names: moving joints from base to tip.
        lower_rad, upper_rad: (n,) position limits (metres for a prismatic joint); infinite where there are none.
        links: every link from base to tip, and where it is.
    """

    base_frame: str
    tip_frame: str
    joint_names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    revolute: NDArray[np.bool_]
    axes: Array = field(repr=False)
    constant: Array = field(repr=False)
    sine: Array = field(repr=False)
    versine: Array = field(repr=False)
    linear: Array = field(repr=False)
    tip: Array = field(repr=False)
    links: Mapping[str, LinkFrame] = field(repr=False)

    @classmethod
    def from_urdf(cls, urdf_text: str, base_frame: str, tip_frame: str) -> KinematicChain:
        """The chain from base_frame to tip_frame.

        Raises:
            KinematicsError: not a URDF, a frame is missing (the message lists those there), or no chain joins them.
        """
        return cls(base_frame, tip_frame, *chain_parts(urdf_text, base_frame, tip_frame))

    @property
    def n_joints(self) -> int:
        """How many joints move."""
        return len(self.joint_names)

    @cached_property
    def parts(self) -> Array:
        """(n, 12, 4): constant, sine, versine and linear of each joint, the first three rows of each flat."""
        matrices = (self.constant, self.sine, self.versine, self.linear)
        return np.stack([matrix[:, :3].reshape(-1, 12) for matrix in matrices], axis=2)

    def forward(self, q_rad: ArrayLike) -> Array:
        """Pose of the tip in the base frame, (..., n) -> (..., 7) metres and quaternion xyzw."""
        q = np.asarray(q_rad, dtype=np.float64)
        flat = q.reshape(-1, self.n_joints)
        poses = np.empty((len(flat), 7))
        for start in range(0, len(flat), BLOCK):
            links = self._joint_transforms(flat[start:start + BLOCK])
            transform = links[:, 0]
            for joint in range(1, self.n_joints):
                transform = transform @ links[:, joint]
            transform = transform @ self.tip
            poses[start:start + BLOCK, :3] = transform[:, :3, 3]
            poses[start:start + BLOCK, 3:] = matrix_to_quaternion(transform[:, :3, :3])
        return poses.reshape(*q.shape[:-1], 7)

    def jacobian(self, q_rad: ArrayLike) -> Array:
        """(6, n) geometric Jacobian of the tip in the base frame, linear rows first."""
        return self.tip_and_jacobian(np.asarray(q_rad, dtype=np.float64))[1]

    def inverse(self, pose: ArrayLike, seed_rad: ArrayLike, posture_rad: ArrayLike | None = None,
                restarts: int = 8) -> Array:
        """Joints within the limits that bring the tip to the pose, on the seed's branch where it reaches it.

        Damped least squares from the seed. The first step drifts a little towards the posture within the null
        space, so a path solved point by point, each seeded by the last, is smooth and keeps off the limits.

        Args:
            pose: (7,) metres and quaternion xyzw.
            seed_rad: (n,) where to start.
            posture_rad: (n,) preferred joints; None for no preference.
            restarts: how many other starts to try when the seed fails; the solution nearest to the seed is
                taken. 0 stays on the branch or fails.

        Raises:
            KinematicsError: no solution within the limits was found.
        """
        target = np.asarray(pose, dtype=np.float64)
        seed = np.clip(np.asarray(seed_rad, dtype=np.float64), self.lower_rad, self.upper_rad)
        if target.shape != (7,) or not np.all(np.isfinite(target)) or not np.all(np.isfinite(seed)):
            raise KinematicsError(f"inverse kinematics needs a finite pose (7,) and seed, got {target}, {seed}")
        posture = None if posture_rad is None else np.asarray(posture_rad, dtype=np.float64)
        rotation = quaternion_to_matrix(target[3:])
        solution = self._solve(target[:3], rotation, seed, posture)
        if solution is not None:
            return solution
        found = [self._solve(target[:3], rotation, start, posture) for start in self._starts(seed, posture, restarts)]
        solutions = [q for q in found if q is not None]
        if not solutions:
            where = np.array2string(target, precision=3, separator=", ", suppress_small=True, max_line_width=200)
            raise KinematicsError(f"{self.tip_frame} cannot reach {where} (metres, xyzw in {self.base_frame}) within "
                                  f"the joint limits from the seed and {restarts} restarts; move the pose closer")
        return min(solutions, key=lambda q: float(np.abs(q - seed).max()))

    def _joint_transforms(self, q: Array) -> Array:
        """(..., n) -> (..., n, 4, 4), each joint in the frame of the one before."""
        angle = q[..., None, None]
        return self.constant + np.sin(angle) * self.sine + (1.0 - np.cos(angle)) * self.versine + angle * self.linear

    def tip_and_jacobian(self, q: Array) -> tuple[Array, Array]:
        """Transform of the tip (..., 4, 4) and its Jacobian (..., 6, n), linear rows first, at joints (..., n)."""
        links = self._joint_transforms(q)
        frames = np.empty_like(links)
        frames[..., 0, :, :] = links[..., 0, :, :]
        for joint in range(1, self.n_joints):
            np.matmul(frames[..., joint - 1, :, :], links[..., joint, :, :], out=frames[..., joint, :, :])
        tip = frames[..., -1, :, :] @ self.tip
        axes = np.matmul(frames[..., :3, :3], self.axes[:, :, None])[..., 0]
        arms = tip[..., None, :3, 3] - frames[..., :3, 3]
        jacobian = np.empty((*q.shape[:-1], 6, self.n_joints))
        jacobian[..., 0, :] = axes[..., 1] * arms[..., 2] - axes[..., 2] * arms[..., 1]
        jacobian[..., 1, :] = axes[..., 2] * arms[..., 0] - axes[..., 0] * arms[..., 2]
        jacobian[..., 2, :] = axes[..., 0] * arms[..., 1] - axes[..., 1] * arms[..., 0]
        turning = jacobian[..., 3:, :]
        turning[...] = np.swapaxes(axes, -1, -2)
        if not self.revolute.all():
            jacobian[..., :3, ~self.revolute] = turning[..., ~self.revolute]
            turning[..., ~self.revolute] = 0.0
        return tip, jacobian

    def _solve(self, position: Array, rotation: Array, start: Array, posture: Array | None,
               iterations: int = 40) -> Array | None:
        q = start.copy()
        error = np.empty(6)
        for iteration in range(iterations):
            tip, jacobian = self.tip_and_jacobian(q)
            error[:3] = position - tip[:3, 3]
            error[3:] = _rotation_error(rotation @ tip[:3, :3].T)
            close = (np.abs(error[:3]).max() < POSITION_TOLERANCE_M
                     and np.abs(error[3:]).max() < ROTATION_TOLERANCE_RAD)
            drift = NULL_SPACE_GAIN * (posture - q) if posture is not None and iteration == 0 else None
            if close and drift is None:
                return q
            step = _damped_step(jacobian, error, drift)
            blocked = ((q >= self.upper_rad) & (step > 0)) | ((q <= self.lower_rad) & (step < 0))
            if blocked.any():
                free = np.where(blocked, 0.0, jacobian)
                step = _damped_step(free, error, None)
                step[blocked] = 0.0
            longest = float(np.abs(step).max())
            if longest > MAX_STEP_RAD:
                step *= MAX_STEP_RAD / longest
            q = np.minimum(np.maximum(q + step, self.lower_rad), self.upper_rad)
        return None

    def _starts(self, seed: Array, posture: Array | None, restarts: int) -> Iterable[Array]:
        """The posture first, then draws around the seed that widen to the whole range."""
        lower, upper = np.maximum(self.lower_rad, -np.pi), np.minimum(self.upper_rad, np.pi)
        generator = np.random.default_rng(0)
        for attempt in range(restarts):
            if attempt == 0 and posture is not None:
                yield np.clip(posture, lower, upper)
                continue
            share = (attempt + 1) / restarts
            yield np.clip((1 - share) * seed + share * generator.uniform(lower, upper), lower, upper)


def _damped_step(jacobian: Array, error: Array, drift: Array | None) -> Array:
    """(n,) least-squares step for a Jacobian (6, n) and an error (6,).

    It is damped by the size of the error, which converges quadratically near the solution.
    """
    damping = 1e-9 + 0.02 * float(error @ error)
    gram = jacobian @ jacobian.T
    gram.flat[::7] += damping
    if drift is None:
        return jacobian.T @ np.linalg.solve(gram, error)
    # One solve for both: J+ e + (I - J+ J) drift = drift + J+ (e - J drift).
    return drift + jacobian.T @ np.linalg.solve(gram, error - jacobian @ drift)


def _rotation_error(matrix: Array) -> Array:
    """Rotation vector of a matrix (3, 3); the axis times the angle, right up to half a turn."""
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    sine = 0.5 * float(np.sqrt(skew @ skew))
    cosine = 0.5 * (float(matrix[0, 0] + matrix[1, 1] + matrix[2, 2]) - 1.0)
    if sine > 1e-6:
        return skew * (0.5 * float(np.arctan2(sine, cosine)) / sine)
    if cosine > 0:
        return 0.5 * skew
    axis = np.sqrt(np.maximum(np.diag(matrix) + 1.0, 0.0) / 2.0)
    pivot = int(np.argmax(axis))
    signs = np.where(matrix[pivot] + matrix[:, pivot] < 0, -1.0, 1.0)
    return np.pi * axis * signs
