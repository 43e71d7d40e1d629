"""Arithmetic on action chunks that overlap in time: where they agree, what of the old one is kept, their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ladle.policy import ActionChunk
from ladle.pose import normalized
from ladle.resample import interpolate_poses, interpolate_vectors

Floats = NDArray[np.float64]

SAME_INSTANT_S = 1e-6  # two time stamps that are this near are one
ENSEMBLE_DECAY = 0.01  # m of Zhao et al. 2023 (arXiv:2304.13705), appendix D


def covered(chunk: ActionChunk, times_s: Floats) -> NDArray[np.bool_]:
    """(n,) whether each instant (n,) lies between the first and the last target of the chunk."""
    return (times_s >= chunk.times_s[0] - SAME_INSTANT_S) & (times_s <= chunk.times_s[-1] + SAME_INSTANT_S)


def parts_at(chunk: ActionChunk, times_s: Floats, poses: Sequence[str]) -> dict[str, Floats]:
    """The chunk's parts at other instants (n,), held outside of it; an instant of a target gives that target exactly.

    Args:
        poses: names of the parts that are poses; all others are interpolated number by number.
    """
    nearest = np.abs(times_s[:, None] - chunk.times_s).argmin(axis=1)
    exact = np.abs(times_s - chunk.times_s[nearest]) <= SAME_INSTANT_S
    found: dict[str, Floats] = {}
    for name, values in chunk.parts.items():
        between = interpolate_poses if name in poses else interpolate_vectors
        found[name] = np.where(exact[:, None], values[nearest], between(chunk.times_s, values, times_s))
    return found


def kept_weights(times_s: Floats, running: ActionChunk, frozen_until_s: float) -> Floats:
    """How far each element of a new horizon is held to the running chunk: (n,) increasing instants -> (n,) in 0..1.

    1 for what is executed before the new chunk can be used, 0 where the running chunk says nothing, and between them
    a soft mask that decays over the m elements that both chunks cover: c (e^c - 1) / (e - 1) with c = (m - k) / (m + 1)
    for k = 0..m-1 (Black, Galliker and Levine 2025, arXiv:2506.07339, equation 5; their H - s - d is our m).
    """
    both = covered(running, times_s)
    frozen = both & (times_s <= frozen_until_s + SAME_INSTANT_S)
    soft = np.flatnonzero(both & ~frozen)
    weights = frozen.astype(np.float64)
    c = (len(soft) - np.arange(len(soft))) / (len(soft) + 1.0)
    weights[soft] = c * np.expm1(c) / np.expm1(1.0)
    return weights


def ensemble_weights(n_chunks: int, decay: float = ENSEMBLE_DECAY) -> Floats:
    """(n_chunks,) oldest first, exp(-decay i) scaled to the sum 1 (Zhao et al. 2023: the oldest counts most)."""
    weights = np.exp(-decay * np.arange(n_chunks, dtype=np.float64))
    return weights / weights.sum()


def ensembled(chunks: Sequence[ActionChunk], poses: Sequence[str], decay: float = ENSEMBLE_DECAY) -> ActionChunk:
    """The newest of the chunks (oldest first) with each target averaged over all chunks that cover its instant.

    Rotations are averaged as Markley et al. 2007 do it: the eigenvector of the weighted sum of q qᵀ.
    """
    newest = chunks[-1]
    overlaps = np.array([covered(chunk, newest.times_s) for chunk in chunks])  # (chunks, n)
    # Each instant counts only the chunks that cover it, so its oldest has rank 0.
    ranks = np.cumsum(overlaps, axis=0) - 1
    weights = np.exp(-decay * ranks) * overlaps
    weights /= weights.sum(axis=0)
    resampled = [parts_at(chunk, newest.times_s, poses) for chunk in chunks]
    parts = {name: _average(np.stack([found[name] for found in resampled]), weights, name in poses)
             for name in newest.parts}
    return replace(newest, parts=parts)


def _average(values: Floats, weights: Floats, pose: bool) -> Floats:
    """(chunks, n, D) with weights (chunks, n) -> (n, D)."""
    mean = np.einsum("cn,cnd->nd", weights, values)
    if not pose:
        return mean
    q = values[..., 3:]
    _, vectors = np.linalg.eigh(np.einsum("cn,cni,cnj->nij", weights, q, q))
    q_mean = vectors[..., -1]
    q_mean = np.where(np.sum(q_mean * q[-1], axis=-1, keepdims=True) < 0, -q_mean, q_mean)
    return np.concatenate([mean[:, :3], normalized(q_mean)], axis=-1)

