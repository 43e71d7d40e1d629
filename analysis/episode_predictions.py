"""A policy asked at every tick of a recorded episode, and what was recorded there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ladle.errors import CheckpointError
from ladle.policy import ActionChunk, ObservationWindow, Policy
from ladle.replay_buffer import ReplayBuffer
from ladle.task import TaskConfig

ACTION_KEY = "action"
LABEL_KEY = "label"
TIME_TOLERANCE = 1e-3  # periods

Floats = NDArray[np.float64]


class TrainedPolicy(Policy, Protocol):
    """A policy that says for which task it was trained and how much of a chunk it executes."""

    @property
    def task(self) -> TaskConfig:
        """The task."""
        ...

    @property
    def n_action_steps(self) -> int:
        """Ta."""
        ...


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode of a replay buffer: T ticks.

    Attributes:
        streams: observation key -> (T, ...) as stored.
        action: part name -> (T, D); row k is to be reached one period after tick k.
        labels: (T,) labelled stages, or None.
    """

    streams: Mapping[str, NDArray[Any]]
    action: Mapping[str, Floats]
    labels: NDArray[np.int64] | None

    @property
    def n_ticks(self) -> int:
        """T."""
        return len(next(iter(self.action.values())))


@dataclass(frozen=True)
class EpisodePredictions:
    """The chunks that a policy gave at each tick k; column h is to be reached h + 1 periods after tick k.

    Attributes:
        parts: part name -> (T, H, D).
        stages: (T,) stage after hysteresis, or None without a classifier.
        stage_probabilities: (T, n_stages), or None.
    """

    parts: Mapping[str, Floats]
    stages: NDArray[np.int64] | None
    stage_probabilities: Floats | None


def read_episode(buffer: ReplayBuffer, index: int, policy: TrainedPolicy) -> EpisodeRecord:
    """Rows of episode 0 <= index < n_episodes.

    Raises:
        ReplayBufferError: no such episode; the range is named.
        CheckpointError: the buffer lacks a stream that the policy reads, or has other actions.
    """
    rows = buffer.episode_slice(index)
    needed, present = {*policy.observation_keys, ACTION_KEY}, set(buffer.keys())
    missing = sorted(needed - present)
    if missing:
        raise CheckpointError(f"the checkpoint of task {policy.task.name!r} needs {', '.join(missing)}, "
                              f"but {buffer.path} has {', '.join(sorted(present))}; "
                              "give the checkpoint and the dataset of one task")
    action = np.asarray(buffer[ACTION_KEY][rows], np.float64)
    if action.shape[1:] != (policy.task.action_width,):
        raise CheckpointError(f"the checkpoint of task {policy.task.name!r} gives actions of width "
                              f"{policy.task.action_width}, but those of {buffer.path} have shape {action.shape[1:]}; "
                              "give the checkpoint and the dataset of one task")
    labels = np.asarray(buffer[LABEL_KEY][rows]).reshape(-1).astype(np.int64) if LABEL_KEY in present else None
    return EpisodeRecord(
        streams={key: np.asarray(buffer[key][rows]) for key in policy.observation_keys},
        action=split_action(action, policy.task), labels=labels,
    )


def split_action(action: Floats, task: TaskConfig) -> dict[str, Floats]:
    """Columns of `action` (T, Da) by the name of the part that they belong to."""
    n_joints = len(task.joints.names) if task.joints else 0
    ends = np.cumsum([part.width(n_joints) for part in task.action])
    return {part.name: columns for part, columns in zip(task.action, np.split(action, ends[:-1], axis=1), strict=True)}


def window_at(record: EpisodeRecord, tick: int, n_obs_steps: int, period_s: float) -> ObservationWindow:
    """What the policy would have been asked at a tick; before the episode's start the first tick repeats."""
    wanted = np.arange(tick - n_obs_steps + 1, tick + 1, dtype=np.int64)
    rows = np.maximum(wanted, 0)
    return ObservationWindow(
        decision_time_s=tick * period_s, observation_times_s=wanted.astype(np.float64) * np.float64(period_s),
        streams={key: values[rows] for key, values in record.streams.items()},
    )


def predict_episode(policy: TrainedPolicy, record: EpisodeRecord, seed: int) -> EpisodePredictions:
    """Ask the policy at every tick, in order. Raises CheckpointError when its steps are not the task's period."""
    period_s = policy.task.period_s
    policy.reset(seed)
    chunks = [policy.predict(window_at(record, tick, policy.n_obs_steps, period_s)) for tick in range(record.n_ticks)]
    for chunk in chunks:
        _check_times(chunk, period_s)
    stages = [chunk.stage for chunk in chunks if chunk.stage is not None]
    probabilities = [chunk.stage_probabilities for chunk in chunks if chunk.stage_probabilities is not None]
    return EpisodePredictions(
        parts={name: np.stack([chunk.parts[name] for chunk in chunks]) for name in record.action},
        stages=np.asarray(stages, np.int64) if len(stages) == len(chunks) else None,
        stage_probabilities=np.stack(probabilities) if len(probabilities) == len(chunks) else None,
    )


def _check_times(chunk: ActionChunk, period_s: float) -> None:
    periods = (chunk.times_s - chunk.observation_time_s) / period_s
    expected = np.arange(1, len(periods) + 1)
    if not np.allclose(periods, expected, atol=TIME_TOLERANCE):
        raise CheckpointError(f"expected actions 1, 2, ... periods of {period_s} s after the observation, got "
                              f"{np.round(periods, 3).tolist()}; was the policy trained at another rate?")
