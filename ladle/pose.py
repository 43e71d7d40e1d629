"""Poses and rotations on arrays: metres and quaternion xyzw, float64, any leading shape.

A pose is (..., 7): x, y, z, qx, qy, qz, qw. Other quaternion orders exist only inside `from_xyz_wxyz` and
`to_xyz_wxyz`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SMALL = 1e-12
POSE_KEY = "eef"  # the stream of the tip's poses: in replay buffers, and in what a policy is shown


def from_xyz_wxyz(pose: ArrayLike) -> Floats:
    """(..., 7) with the scalar first -> (..., 7) with the scalar last; the users' older files are of the first kind."""
    return np.asarray(pose, dtype=np.float64)[..., [0, 1, 2, 4, 5, 6, 3]]


def to_xyz_wxyz(pose: ArrayLike) -> Floats:
    """(..., 7) with the scalar last -> (..., 7) with the scalar first, as MuJoCo wants it."""
    return np.asarray(pose, dtype=np.float64)[..., [0, 1, 2, 6, 3, 4, 5]]


def quaternion_multiply(a: ArrayLike, b: ArrayLike) -> Floats:
    """Hamilton product a * b of (..., 4) xyzw: rotate by b, then by a."""
    ax, ay, az, aw = _components(a)
    bx, by, bz, bw = _components(b)
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        axis=-1,
    )


def quaternion_conjugate(q: ArrayLike) -> Floats:
    """Inverse rotation of unit quaternions (..., 4)."""
    return np.asarray(q, dtype=np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])


def quaternion_to_matrix(q: ArrayLike) -> Floats:
    """(..., 4) unit xyzw -> (..., 3, 3)."""
    x, y, z, w = _components(q)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(matrix: ArrayLike) -> Floats:
    """(..., 3, 3) rotation matrices -> (..., 4) unit xyzw with w >= 0.

    Of the four ways to recover a quaternion the one with the largest divisor is taken (Shepperd, 1978).
    """
    m = np.asarray(matrix, dtype=np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squared = np.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], axis=-1)
    xy, xz, yz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    candidates = np.stack(
        [
            np.stack([squared[..., 0], xy, xz, wx], axis=-1),
            np.stack([xy, squared[..., 1], yz, wy], axis=-1),
            np.stack([xz, yz, squared[..., 2], wz], axis=-1),
            np.stack([wx, wy, wz, squared[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(squared, axis=-1)[..., None, None]
    q = np.take_along_axis(candidates, best, axis=-2)[..., 0, :]
    q = normalized(q)
    return np.where(q[..., 3:] < 0, -q, q)


def normalized(q: ArrayLike) -> Floats:
    """(..., 4) scaled to unit length."""
    q = np.asarray(q, dtype=np.float64)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def make_continuous(q: ArrayLike) -> Floats:
    """(T, 4) -> (T, 4): signs chosen so that neighbours never point to opposite hemispheres; the first stays."""
    q = np.array(q, dtype=np.float64)
    if len(q) < 2:
        return q
    flips = np.where(np.sum(q[1:] * q[:-1], axis=-1) < 0, -1.0, 1.0)
    q[1:] *= np.cumprod(flips)[:, None]
    return q


def slerp(q0: ArrayLike, q1: ArrayLike, u: ArrayLike) -> Floats:
    """Shortest-arc interpolation: q0 (..., 4), q1 (..., 4), u (...) in 0..1 -> (..., 4)."""
    q0, q1 = np.asarray(q0, dtype=np.float64), np.asarray(q1, dtype=np.float64)
    u = np.asarray(u, dtype=np.float64)[..., None]
    dot = np.sum(q0 * q1, axis=-1, keepdims=True)
    q1 = np.where(dot < 0, -q1, q1)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))
    sine = np.sin(angle)
    nearly_equal = sine < 1e-6
    safe = np.where(nearly_equal, 1.0, sine)
    a = np.where(nearly_equal, 1 - u, np.sin((1 - u) * angle) / safe)
    b = np.where(nearly_equal, u, np.sin(u * angle) / safe)
    return normalized(a * q0 + b * q1)


def rotation_vector(q: ArrayLike) -> Floats:
    """(..., 4) unit xyzw -> (..., 3): axis times angle in rad, angle in 0..pi."""
    q = np.asarray(q, dtype=np.float64)
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[..., 3:])
    return q[..., :3] * np.where(sine < SMALL, 2.0, angle / np.maximum(sine, SMALL))


def quaternion_from_rotation_vector(vector: ArrayLike) -> Floats:
    """(..., 3) axis times angle in rad -> (..., 4) unit xyzw."""
    vector = np.asarray(vector, dtype=np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    half_sinc = 0.5 * np.sinc(angle / (2.0 * np.pi))
    return np.concatenate([vector * half_sinc, np.cos(angle / 2.0)], axis=-1)


def rotation_angle_rad(q0: ArrayLike, q1: ArrayLike) -> Floats:
    """Angle between two rotations, (..., 4) and (..., 4) -> (...), in 0..pi."""
    between = quaternion_multiply(q1, quaternion_conjugate(q0))
    return 2.0 * np.arctan2(np.linalg.norm(between[..., :3], axis=-1), np.abs(between[..., 3]))


def rotation_6d_from_quaternion(q: ArrayLike) -> Floats:
    """(..., 4) -> (..., 6): the first two columns of the matrix, one after the other (Zhou et al., 2019)."""
    matrix = quaternion_to_matrix(q)
    return np.concatenate([matrix[..., :, 0], matrix[..., :, 1]], axis=-1)


def quaternion_from_rotation_6d(columns: ArrayLike) -> Floats:
    """(..., 6) two columns, not necessarily orthonormal -> (..., 4): Gram-Schmidt, then a quaternion with w >= 0."""
    columns = np.asarray(columns, dtype=np.float64)
    a, b = columns[..., :3], columns[..., 3:]
    x = a / np.linalg.norm(a, axis=-1, keepdims=True)
    y = b - np.sum(x * b, axis=-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return matrix_to_quaternion(np.stack([x, y, np.cross(x, y)], axis=-1))


def rotate(q: ArrayLike, vector: ArrayLike) -> Floats:
    """Rotate (..., 3) by (..., 4)."""
    return np.einsum("...ij,...j->...i", quaternion_to_matrix(q), np.asarray(vector, dtype=np.float64))


def compose(a: ArrayLike, b: ArrayLike) -> Floats:
    """Pose of b's frame when b is given in a's frame: (..., 7), (..., 7) -> (..., 7)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    position = a[..., :3] + rotate(a[..., 3:], b[..., :3])
    return np.concatenate([position, quaternion_multiply(a[..., 3:], b[..., 3:])], axis=-1)


def inverse(pose: ArrayLike) -> Floats:
    """(..., 7) -> (..., 7) such that compose(pose, inverse(pose)) is the identity."""
    pose = np.asarray(pose, dtype=np.float64)
    q = quaternion_conjugate(pose[..., 3:])
    return np.concatenate([-rotate(q, pose[..., :3]), q], axis=-1)


def _components(q: ArrayLike) -> tuple[Any, Any, Any, Any]:
    q = np.asarray(q, dtype=np.float64)
    return q[..., 0], q[..., 1], q[..., 2], q[..., 3]
