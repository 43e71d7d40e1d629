"""Positions and velocities of points on the links of a chain, for many samples at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladle.errors import KinematicsError
from ladle.kinematics import KinematicChain

Array = NDArray[np.float64]


class LinkPoint(NamedTuple):
    """A point that moves with a link.

    Attributes:
        moving: how many joints of the chain move it.
        position_m: (3,) in the frame after the last of them, or in the base frame.
    """

    moving: int
    position_m: Array


def link_point(chain: KinematicChain, link: str, offset_m: ArrayLike = (0.0, 0.0, 0.0)) -> LinkPoint:
    """The point at offset_m (3,) in the frame of a link.

    Raises:
        KinematicsError: the chain does not pass through the link.
    """
    if link not in chain.links:
        raise KinematicsError(f"link {link!r} is not on the chain from {chain.base_frame} to {chain.tip_frame}; the "
                              f"links on it are: {', '.join(chain.links)}")
    frame = chain.links[link]
    offset: Array = np.asarray(offset_m, dtype=np.float64)
    return LinkPoint(frame.moving, frame.fixed[:3, :3] @ offset + frame.fixed[:3, 3])


class ChainFrames:
    """The frames after each joint at m samples; samples are the last axis, which is what makes it fast.

    Attributes:
        poses: (n_joints, 3, 4, m) rotation and origin in the base frame.
    """

    def __init__(self, chain: KinematicChain, q_rad: Array) -> None:
        """q_rad: (m, n_joints)."""
        self._chain = chain
        q: Array = np.ascontiguousarray(q_rad.T, dtype=np.float64)
        # constant + sine, versine and angle times their matrices, for all joints and samples in one product.
        factors: Array = np.stack([np.ones_like(q), np.sin(q), 1.0 - np.cos(q), q], axis=1)
        own = (chain.parts @ factors).reshape(chain.n_joints, 3, 4, -1)
        self.poses: Array = np.empty_like(own)
        self.poses[0] = own[0]
        for joint in range(1, chain.n_joints):
            before = self.poses[joint - 1]
            np.einsum("ikm,kjm->ijm", before[:, :3], own[joint], out=self.poses[joint])
            self.poses[joint, :, 3] += before[:, 3]

    def positions(self, points: Sequence[LinkPoint]) -> Array:
        """(P, 3, m) metres in the base frame."""
        found: Array = np.empty((len(points), 3, self.poses.shape[-1]))
        for row, point in enumerate(points):
            if point.moving == 0:
                found[row] = point.position_m[:, None]
                continue
            pose = self.poses[point.moving - 1]
            found[row] = np.einsum("ikm,k->im", pose[:, :3], point.position_m) + pose[:, 3]
        return found

    def velocities(self, points: Sequence[LinkPoint], dq_rad_s: Array) -> Array:
        """(P, 3, m) m/s in the base frame: the linear rows of each point's Jacobian times dq_rad_s (m, n_joints).

        A joint turns what follows it by w = axis * dq about its origin o, so a point at p moves by w x p - w x o.
        """
        turns, shifts = self._twists(dq_rad_s)
        positions = self.positions(points)
        found = np.zeros_like(positions)
        for row, point in enumerate(points):
            if point.moving:
                turn, shift = turns[:, :point.moving].sum(axis=1), shifts[:, :point.moving].sum(axis=1)
                found[row] = _cross(turn, positions[row]) + shift
        return found

    def _twists(self, dq_rad_s: Array) -> tuple[Array, Array]:
        """(3, n, m) each: what each joint adds to the angular velocity, and to the velocity at the base's origin."""
        chain = self._chain
        turns: Array = np.einsum("nikm,nk->inm", self.poses[:, :, :3], chain.axes)
        turns *= dq_rad_s.T
        shifts: Array = np.zeros_like(turns)
        if not chain.revolute.all():
            shifts[:, ~chain.revolute] = turns[:, ~chain.revolute]
            turns[:, ~chain.revolute] = 0.0
        shifts -= _cross(turns, self.poses[:, :, 3].transpose(1, 0, 2))
        return turns, shifts


def _cross(a: Array, b: Array) -> Array:
    """(3, ...) x (3, ...)."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
