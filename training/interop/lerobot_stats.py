"""The statistics that LeRobot keeps of every feature, per episode and over all.

Over all episodes: smallest, largest, pooled mean and variance; quantiles are averaged with the steps as weights, which
is LeRobot's own convention.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Stats = dict[str, NDArray[Any]]

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
# Pictures are sampled, and grids with more entries than this have none: no policy is normalised by them.
SAMPLED_PICTURES = 100
LARGEST_GRID = 4096


def vector_stats(values: NDArray[Any]) -> Stats:
    """(T, ...) -> statistics of shape (...), at least one-dimensional; of the finite values, 0 where there are none."""
    rows = values.reshape(len(values), *(values.shape[1:] or (1,))).astype(np.float64)
    rows[~np.isfinite(rows)] = np.nan
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        quantiles = np.nanquantile(rows, list(QUANTILES.values()), axis=0)
        found = {"min": np.nanmin(rows, axis=0), "max": np.nanmax(rows, axis=0), "mean": np.nanmean(rows, axis=0),
                 "std": np.nanstd(rows, axis=0), **dict(zip(QUANTILES, quantiles, strict=True))}
    finite: Stats = {name: np.nan_to_num(value) for name, value in found.items()}
    if values.dtype.kind in "iu":
        scalar = values.ndim == 1
        finite |= {"min": values.min(axis=0, keepdims=scalar), "max": values.max(axis=0, keepdims=scalar)}
    return {**finite, "count": np.array([len(rows)])}


def picture_stats(images: NDArray[np.uint8]) -> Stats:
    """(T, H, W, C) -> statistics of shape (C, 1, 1) in 0..1, of at most SAMPLED_PICTURES pictures."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), SAMPLED_PICTURES)).astype(int))
    pixels = images[chosen].reshape(-1, images.shape[-1])
    found = {name: value / 255.0 for name, value in _pixel_stats(pixels).items()}
    return {**{name: value.reshape(-1, 1, 1) for name, value in found.items()}, "count": np.array([len(chosen)])}


def pooled(per_episode: list[Stats]) -> Stats:
    """One episode's statistics each -> those of all."""
    stacked = {name: np.stack([stats[name] for stats in per_episode]) for name in per_episode[0]}
    counts = stacked["count"].astype(np.float64)
    weights = (counts / counts.sum()).reshape(-1, *(1,) * (stacked["mean"].ndim - 1))
    with np.errstate(over="ignore"):  # numbers near the largest double: their variance is infinite
        mean = (stacked["mean"] * weights).sum(axis=0)
        variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weights).sum(axis=0)
    quantiles = {name: (stacked[name] * weights).sum(axis=0) for name in QUANTILES}
    return {"min": stacked["min"].min(axis=0), "max": stacked["max"].max(axis=0), "mean": mean,
            "std": np.nan_to_num(np.sqrt(variance)), "count": stacked["count"].sum(axis=0), **quantiles}


def _pixel_stats(pixels: NDArray[np.uint8]) -> dict[str, Floats]:
    """(N, C) bytes -> statistics (C,), by way of a histogram."""
    histograms = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    values, total = np.arange(256.0), len(pixels)
    mean = histograms @ values / total
    variance = histograms @ values**2 / total - mean**2
    cumulated = histograms.cumsum(axis=1)
    quantiles = {name: (cumulated < share * total).sum(axis=1).astype(np.float64) for name, share in QUANTILES.items()}
    return {"min": (histograms > 0).argmax(axis=1).astype(np.float64),
            "max": 255.0 - (histograms[:, ::-1] > 0).argmax(axis=1), "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0.0)), **quantiles}
