"""Which steps of a replay buffer make up a window, with the padding rules of the Diffusion Policy paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError


@dataclass(frozen=True)
class WindowIndex:
    """All windows of some episodes.

    A window of `horizon` steps may begin up to pad_before steps before its episode and end up to pad_after steps
    behind it; there the first or the last step repeats.

    Attributes:
        starts: (W,) first step of each window in the buffer; may lie before its episode.
        first, last: (W,) first and last step of the window's episode, both inclusive.
        episodes: (W,) running number of the window's episode.
    """

    starts: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    episodes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def steps(self, windows: NDArray[np.int64], offset: int, length: int) -> NDArray[np.int64]:
        """Buffer steps of `length` entries from `offset` on: windows (B,) -> (B, length)."""
        wanted = self.starts[windows, None] + np.arange(offset, offset + length)
        return np.clip(wanted, self.first[windows, None], self.last[windows, None])


def index_windows(
    episode_ends: NDArray[np.int64],
    horizon: int,
    pad_before: int,
    pad_after: int,
    episode_mask: NDArray[np.bool_] | None = None,
) -> WindowIndex:
    """List the windows of the episodes where the mask is true, in order: episode_ends (N,) exclusive ends."""
    if horizon < 1 or not 0 <= pad_before < horizon or not 0 <= pad_after < horizon:
        raise ConfigError(f"horizon {horizon} with pad_before {pad_before} and pad_after {pad_after}: "
                          "horizon must be positive, both pads from 0 to horizon - 1")
    ends = np.asarray(episode_ends, dtype=np.int64)
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    counts = np.maximum(ends - begins - horizon + pad_after + pad_before + 1, 0)
    if episode_mask is not None:
        counts = np.where(episode_mask, counts, 0)
    episodes = np.repeat(np.arange(len(ends), dtype=np.int64), counts)
    rank_in_episode = np.arange(len(episodes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return WindowIndex(
        starts=begins[episodes] - pad_before + rank_in_episode,
        first=begins[episodes],
        last=ends[episodes] - 1,
        episodes=episodes,
    )


def validation_mask(n_episodes: int, ratio: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole episodes for validation: (N,) bool. At least one on each side where the ratio is above zero."""
    mask = np.zeros(n_episodes, dtype=bool)
    if ratio <= 0 or n_episodes < 2:
        return mask
    count = min(max(1, round(n_episodes * ratio)), n_episodes - 1)
    mask[np.random.default_rng(seed).choice(n_episodes, size=count, replace=False)] = True
    return mask


def at_most(mask: NDArray[np.bool_], count: int | None, seed: int) -> NDArray[np.bool_]:
    """At most `count` of the episodes where the mask is true, chosen by the seed: (N,) -> (N,) bool; None takes all."""
    chosen = np.flatnonzero(mask)
    if count is None or count >= len(chosen):
        return mask
    kept = np.zeros_like(mask)
    kept[np.random.default_rng(seed).choice(chosen, size=count, replace=False)] = True
    return kept


def fold_of_episode(n_episodes: int, n_folds: int, seed: int) -> NDArray[np.int64]:
    """Spread whole episodes evenly over folds: (N,) fold numbers."""
    if not 2 <= n_folds <= n_episodes:
        raise ConfigError(f"{n_folds} folds over {n_episodes} episodes: there must be 2 to {n_episodes} folds; "
                          "set classifier.n_folds, or record more episodes")
    folds = np.arange(n_episodes) % n_folds
    return np.random.default_rng(seed).permutation(folds).astype(np.int64)
