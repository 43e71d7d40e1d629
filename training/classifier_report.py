"""How well a stage classifier does on episodes that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.hysteresis import filter_stages
from training.calibration import calibration_error, cross_fitted_probabilities, fit_temperature, log_loss, softmax

TOLERANCE_TICKS = 2


def report(labels: NDArray[np.int64], logits: NDArray[np.float32], episode_ends: NDArray[np.int64],
           folds: NDArray[np.int64], hysteresis_ticks: int, episodes: Sequence[int] | None = None,
           names: Sequence[str] | None = None) -> dict[str, Any]:
    """Held-out figures: labels (N,), logits (N, n_stages), episode_ends (E,), folds (E,), episodes (E,) their numbers.

    macro_f1 is of single frames; stage changes are timed after hysteresis, found minus labelled, in ticks. names
    (n_stages,) are of the stages, their numbers by default.
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
        "stages": stage_scores(labels, decisions, names or [str(stage) for stage in range(n_stages)]),
        "calibration": calibration(labels, logits, np.repeat(folds, np.diff(episode_ends, prepend=0))),
        "confusion": confusion(labels, decisions, n_stages).tolist(),
        "share_within_2_ticks": float(np.mean(within)) if within else 1.0,
        "worst_change_ticks": max((abs(error) for error in errors if error is not None), default=0),
        "missed_changes": sum(error is None for error in errors),
        "extra_changes": extra,
        "fold_of_episode": dict(zip(map(str, numbers), folds.tolist(), strict=True)),
        "changes": changes,
    }


def stage_scores(labels: NDArray[np.int64], decisions: NDArray[np.int64],
                 names: Sequence[str]) -> dict[str, dict[str, float | int | None]]:
    """Stage -> precision, recall, f1 and support (labelled frames); None where nothing is there to be measured."""
    counts = confusion(labels, decisions, len(names))
    labelled, decided, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    return {name: {"precision": _share(right[i], decided[i]), "recall": _share(right[i], labelled[i]),
                   "f1": _share(2 * right[i], decided[i] + labelled[i]), "support": int(labelled[i])}
            for i, name in enumerate(names)}


def calibration(labels: NDArray[np.int64], logits: NDArray[np.float32], folds: NDArray[np.int64]) -> dict[str, float]:
    """The temperature of all held-out frames, folds (N,), and calibration error and log loss without and with it.

    Those with it are of temperatures fitted to the other folds: what an unseen episode would get.
    """
    before = softmax(logits)
    after = cross_fitted_probabilities(logits, labels, folds) if len(np.unique(folds)) > 1 else before
    return {"temperature": fit_temperature(logits, labels),
            "expected_calibration_error_uncalibrated": calibration_error(before, labels),
            "expected_calibration_error": calibration_error(after, labels),
            "log_loss_uncalibrated": log_loss(before, labels), "log_loss": log_loss(after, labels)}


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


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _n_changes(stages: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.diff(stages)))
