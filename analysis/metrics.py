"""How far predicted actions are from the recorded ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.episode_predictions import EpisodePredictions, EpisodeRecord
from ladle.pose import rotation_angle_rad
from ladle.task import TaskConfig

MM_PER_M = 1000.0

Floats = NDArray[np.float64]


def recorded_chunks(recorded: Floats, horizon: int) -> tuple[Floats, NDArray[np.bool_]]:
    """What was recorded for each element of each chunk: (T, D) -> (T, horizon, D), and which of it exists (T, horizon).

    Column h of row k is the action recorded at tick k + h; behind the episode's end there is none (the last repeats).
    """
    wanted = np.arange(len(recorded))[:, None] + np.arange(horizon)[None, :]
    return recorded[np.minimum(wanted, len(recorded) - 1)], wanted < len(recorded)


def part_errors(kind: str, predicted: Floats, recorded: Floats) -> dict[str, Floats]:
    """Errors of one action part, (..., D) each -> quantity with its unit -> (...).

    A pose: distance in mm and angle in degrees. Joints: the largest joint's error in degrees. Else: distance in the
    data's own unit.
    """
    if kind == "pose":
        return {
            "position_error_mm": np.linalg.norm(predicted[..., :3] - recorded[..., :3], axis=-1) * MM_PER_M,
            "rotation_error_deg": np.degrees(rotation_angle_rad(predicted[..., 3:], recorded[..., 3:])),
        }
    if kind == "joints":
        return {"largest_joint_error_deg": np.degrees(np.max(np.abs(predicted - recorded), axis=-1))}
    return {"error": np.linalg.norm(predicted - recorded, axis=-1)}


def summary(errors: Floats, exists: NDArray[np.bool_], n_action_steps: int) -> dict[str, Any]:
    """Numbers of errors (T, H) where a recorded action exists (T, H).

    mean and p95 are over all elements of all chunks, *_executed over the first n_action_steps of each chunk,
    by_horizon_step over the chunks (None for a step that no chunk reaches within the episode).
    """
    executed = errors[:, :n_action_steps][exists[:, :n_action_steps]]
    every = errors[exists]
    by_step = [float(np.mean(column[there])) if np.any(there) else None
               for column, there in zip(errors.T, exists.T, strict=True)]
    return {
        "mean": float(np.mean(every)), "p95": float(np.percentile(every, 95)),
        "mean_executed": float(np.mean(executed)), "p95_executed": float(np.percentile(executed, 95)),
        "by_horizon_step": by_step,
    }


def stage_metrics(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Stages of the ticks, (T,) each -> accuracy and, per labelled stage, how many ticks late its first tick is found.

    A negative delay is early; None is never found.
    """
    delays: dict[str, int | None] = {}
    for stage in np.unique(labels).tolist():
        found = np.flatnonzero(predicted == stage)
        delays[str(stage)] = int(found[0]) - int(np.argmax(labels == stage)) if len(found) else None
    return {"accuracy": float(np.mean(predicted == labels)), "first_tick_delay": delays}


def episode_metrics(
    record: EpisodeRecord, predictions: EpisodePredictions, task: TaskConfig, n_action_steps: int
) -> dict[str, Any]:
    """All numbers of one episode: per action part the summaries of its errors, and the stages where they are known."""
    parts: dict[str, Any] = {}
    for part in task.action:
        predicted = predictions.parts[part.name]
        recorded, exists = recorded_chunks(record.action[part.name], predicted.shape[1])
        errors = part_errors(part.kind, predicted, recorded)
        parts[part.name] = {name: summary(values, exists, n_action_steps) for name, values in errors.items()}
    known = predictions.stages is not None and record.labels is not None
    return {
        "n_ticks": record.n_ticks, "n_action_steps": n_action_steps, "action_parts": parts,
        "stage": stage_metrics(predictions.stages, record.labels) if known else None,  # pyright: ignore
    }
