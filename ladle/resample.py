"""Samples at their own stamps -> values at other instants. Used offline and on the robot alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.pose import slerp

Floats = NDArray[np.float64]


def newest_at_or_before(stamps_s: Floats, at_s: Floats) -> NDArray[np.intp]:
    """Index of the newest sample with stamp <= at: stamps_s (N,) increasing, at_s (T,) -> (T,); -1 where none is."""
    return np.searchsorted(stamps_s, at_s, side="right") - 1


def nearest(stamps_s: Floats, at_s: Floats) -> NDArray[np.intp]:
    """Index of the nearest sample: stamps_s (N,) increasing, at_s (T,) -> (T,). Ties go to the earlier."""
    _need_samples(stamps_s)
    right = np.clip(np.searchsorted(stamps_s, at_s), 1, max(len(stamps_s) - 1, 1))
    right = np.minimum(right, len(stamps_s) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(at_s - stamps_s[left] <= stamps_s[right] - at_s, left, right)


def interpolate_vectors(stamps_s: Floats, values: Floats, at_s: Floats) -> Floats:
    """Linear between samples, held outside: stamps_s (N,) increasing, values (N, D), at_s (T,) -> (T, D)."""
    before, after, u = _bracket(stamps_s, at_s)
    low = np.asarray(values, dtype=np.float64)[before]
    return low + (np.asarray(values, dtype=np.float64)[after] - low) * u[:, None]


def interpolate_poses(stamps_s: Floats, poses: Floats, at_s: Floats) -> Floats:
    """Positions linear, rotations by slerp, held outside: poses (N, 7) xyzw, at_s (T,) -> (T, 7)."""
    before, after, u = _bracket(stamps_s, at_s)
    position = poses[before, :3] + (poses[after, :3] - poses[before, :3]) * u[:, None]
    return np.concatenate([position, slerp(poses[before, 3:], poses[after, 3:], u)], axis=-1)


def _bracket(stamps_s: Floats, at_s: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    _need_samples(stamps_s)
    at_s = np.asarray(at_s, dtype=np.float64)
    last = len(stamps_s) - 1
    after = np.clip(np.searchsorted(stamps_s, at_s, side="right"), 0, last)
    before = np.clip(after - 1, 0, last)
    before = np.where(at_s >= stamps_s[last], last, before)
    span = stamps_s[after] - stamps_s[before]
    u = np.where(span > 0, (at_s - stamps_s[before]) / np.where(span > 0, span, 1.0), 0.0)
    return before, after, np.clip(u, 0.0, 1.0)


def _need_samples(stamps_s: Floats) -> None:
    if len(stamps_s) == 0:
        raise ValueError("cannot resample a stream without samples")
