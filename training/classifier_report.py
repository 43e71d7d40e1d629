"""How well a stage classifier does on episodes that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.hysteresis import filter_stages

TOLERANCE_TICKS = 2


def report(labels: NDArray[np.int64], logits: NDArray[np.float32], episode_ends: NDArray[np.int64],
           folds: NDArray[np.int64], hysteresis_ticks: int, episodes: Sequence[int] | None = None) -> dict[str, Any]:
    """Held-out figures: labels (N,), logits (N, n_stages), episode_ends (E,), folds (E,), episodes (E,) their numbers.

    macro_f1 is of single frames; stage changes are timed after hysteresis, found minus labelled, in ticks.
    """
    n_stages = logits.shape[1]
    decisions = logits.argmax(axis=1)
    parts = np.split(decisions, episode_ends[:-1])
    filtered = [filter_stages(part, hysteresis_ticks) for part in parts]
    truths = np.split(labels, episode_ends[:-1])
    numbers = list(range(len(truths))) if episodes is None else [int(number) for number in episodes]
    changes = [{"episode": number, **change}
               for number, truth, held in zip(numbers, truths, filtered, strict=True)
               for change in stage_changes(truth, held)]
    errors = [change["error_ticks"] for change in changes]
    within = [error is not None and abs(error) <= TOLERANCE_TICKS for error in errors]
    extra = sum(max(0, _n_changes(held) - _n_changes(truth)) for truth, held in zip(truths, filtered, strict=True))
    return {
        "macro_f1": macro_f1(labels, decisions, n_stages),
        "macro_f1_after_hysteresis": macro_f1(labels, np.concatenate(filtered), n_stages),
        "f1_per_stage": [float(value) for value in f1_scores(labels, decisions, n_stages)],
        "confusion": confusion(labels, decisions, n_stages).tolist(),
        "share_within_2_ticks": float(np.mean(within)) if within else 1.0,
        "worst_change_ticks": max((abs(error) for error in errors if error is not None), default=0),
        "missed_changes": sum(error is None for error in errors),
        "extra_changes": extra,
        "fold_of_episode": dict(zip(map(str, numbers), folds.tolist(), strict=True)),
        "changes": changes,
    }


def stage_changes(truth: NDArray[np.int64], held: NDArray[np.int64]) -> list[dict[str, int | None]]:
    """Each labelled change of one episode, (T,) and (T,), and by how many ticks it was found late (None: never)."""
    changes: list[dict[str, int | None]] = []
    for tick in np.flatnonzero(np.diff(truth)) + 1:
        stage = int(truth[tick])
        found = np.flatnonzero((held[1:] == stage) & (held[:-1] != stage)) + 1
        error = None if len(found) == 0 else int(found[np.argmin(np.abs(found - tick))] - tick)
        changes.append({"stage": stage, "tick": int(tick), "error_ticks": error})
    return changes


def confusion(labels: NDArray[np.int64], decisions: NDArray[np.int64], n_stages: int) -> NDArray[np.int64]:
    """(n_stages, n_stages) counts, labelled by row, decided by column."""
    return np.bincount(labels * n_stages + decisions, minlength=n_stages**2).reshape(n_stages, n_stages)


def f1_scores(labels: NDArray[np.int64], decisions: NDArray[np.int64], n_stages: int) -> NDArray[np.float64]:
    """(n_stages,) harmonic mean of precision and recall; nan for a stage that is neither labelled nor decided."""
    counts = confusion(labels, decisions, n_stages)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    return np.where(total > 0, 2 * np.diag(counts) / np.maximum(total, 1), np.nan)


def macro_f1(labels: NDArray[np.int64], decisions: NDArray[np.int64], n_stages: int) -> float:
    """Mean F1 over the stages that occur."""
    return float(np.nanmean(f1_scores(labels, decisions, n_stages)))


def _n_changes(stages: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.diff(stages)))
