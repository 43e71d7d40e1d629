"""Batches gathered from arrays: only the observed frames are touched, and they stay uint8.

There are no loader workers: for data in memory they cost more than the gather itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.errors import ConfigError, LabelError
from ladle.replay_buffer import ReplayBuffer
from ladle.task import TaskConfig, task_from_text
from training.batch import Batch
from training.features import ActionCodec, low_dim_features
from training.frames import FrameSource, ZarrFrames, grouped_order, load_frames
from training.schema import DataSection, ObservationSection
from training.windows import WindowIndex

LABEL_KEY = "label"
ACTION_KEY = "action"
MASS_KEY = "mass"
SHARED_WITH_THE_TASK = ("name", "rate_hz", "frames", "action", "stages")


@dataclass(frozen=True)
class Steps:
    """The parts of a replay buffer that a network uses, in memory, one row per step.

    Attributes:
        images: key -> (N, H, W, C) uint8 at the network's size.
        low_dim: key -> (N, D) float32.
        stages: (N,) int64 or None.
        action: (N, Da) float32 as the network sees it, or None.
        mass_g: (N,) float32 final mass of each step's episode, or None.
        episode_ends: (E,) exclusive ends.
        fingerprint: of the data, to recognise it again.
    """

    images: dict[str, FrameSource]
    low_dim: dict[str, NDArray[np.float32]]
    episode_ends: NDArray[np.int64]
    fingerprint: str
    stages: NDArray[np.int64] | None = None
    action: NDArray[np.float32] | None = None
    mass_g: NDArray[np.float32] | None = None

    @property
    def n_steps(self) -> int:
        """N."""
        return int(self.episode_ends[-1])

    @property
    def n_episodes(self) -> int:
        """E."""
        return len(self.episode_ends)

    @property
    def visiting_order(self) -> str:
        """How windows are visited where that follows from the storage; empty for any order."""
        found = _grouping(self)
        return "" if found is None else f"groups of {found[1]} chunks of {found[0]} rows"

    def with_stages(self, stages: NDArray[np.int64] | None) -> Steps:
        """The same steps with other stages."""
        return replace(self, stages=stages)

    def episode_mask_to_steps(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(E,) -> (N,)."""
        return np.repeat(mask, np.diff(self.episode_ends, prepend=0))


def refuse_other_data(buffer: ReplayBuffer, task: TaskConfig, pose: bool) -> None:
    """Raise ConfigError unless the buffer was made for the task.

    A buffer by others says no task and is taken, but not where `pose` (a pose is read or learnt): its quaternion
    order would be guessed.
    """
    text = buffer.meta.get("task")
    if text is None:
        if pose:
            raise ConfigError(f"{buffer.path} does not say its quaternion order (older stores are wxyz); make it "
                              "again with training/real_data_conversion.py")
        return
    made = task_from_text(text, str(buffer.path))
    for what in SHARED_WITH_THE_TASK:
        before, now = getattr(made, what), getattr(task, what)
        if before != now:
            raise ConfigError(f"{buffer.path} was made for task {made.name} ({what} {before}), not for {task.name} "
                              f"({what} {now}); set task.name=<its task file>")


def reads_pose(observations: ObservationSection, task: TaskConfig | None) -> bool:
    """Whether an observation, or an action part of the task that is learnt, is a pose."""
    parts = () if task is None else task.action
    return any(item.kind == "pose" for item in (*observations.low_dim, *parts))


def load_steps(buffer: ReplayBuffer, observations: ObservationSection, codec: ActionCodec | None,
               mass: bool = False, data: DataSection | None = None) -> Steps:
    """Read what is needed: vectors into memory, frames to where the section keeps them (default: as it fits)."""
    low_dim = {spec.key: low_dim_features(np.asarray(buffer[spec.key][:]), spec) for spec in observations.low_dim}
    action = None if codec is None else codec.encode(np.asarray(buffer[ACTION_KEY][:]))
    mass_g = np.asarray(buffer[MASS_KEY][:], np.float32).reshape(-1) if mass else None
    _refuse_non_finite({**low_dim, **({} if action is None else {ACTION_KEY: action}),
                        **({} if mass_g is None else {MASS_KEY: mass_g[:, None]})}, buffer)
    images = load_frames(buffer, observations.images, data or DataSection())
    return Steps(images=images, low_dim=low_dim, episode_ends=buffer.episode_ends, action=action, mass_g=mass_g,
                 fingerprint=data_fingerprint(buffer))


def load_labels(buffer: ReplayBuffer, task: TaskConfig) -> NDArray[np.int64]:
    """(N,) labelled stages. Raises LabelError where the buffer has none, or one that the task does not know."""
    if task.stages is None:
        raise ConfigError(f"task {task.name} has no stages, so there is nothing to classify; add `stages:`")
    if LABEL_KEY not in buffer.keys():  # noqa: SIM118  (a replay buffer is no mapping)
        raise LabelError(f"{buffer.path} has no {LABEL_KEY!r}: label the episodes with "
                         "annotator/annotator_parsor.py, extract the labels, convert again")
    labels = np.asarray(buffer[LABEL_KEY][:]).reshape(-1)
    wrong = ~np.isin(labels, np.arange(len(task.stages.names)))
    if wrong.any():
        raise LabelError(f"{buffer.path}: label {labels[wrong][0]} at step {int(np.argmax(wrong))}, but task "
                         f"{task.name} has stages 0 to {len(task.stages.names) - 1}")
    return labels.astype(np.int64)


def data_fingerprint(buffer: ReplayBuffer) -> str:
    """Recognises a data set by the ends of its episodes, its actions and its labels."""
    digest = hashlib.sha256(np.ascontiguousarray(buffer.episode_ends).tobytes())
    there = buffer.keys()
    for key in [key for key in (ACTION_KEY, LABEL_KEY) if key in there] or there[:1]:
        digest.update(np.ascontiguousarray(buffer[key][:]).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class WindowBatches:
    """Batches of windows, a pure function of the step: resuming needs no state.

    Every epoch visits every window once in a fresh order; a batch may straddle two epochs. Compressed frames are
    visited in groups of chunks, so that each is decompressed about once an epoch.
    """

    steps: Steps
    index: WindowIndex
    n_obs_steps: int
    horizon: int
    batch_size: int
    seed: int
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.index) == 0:
            raise ConfigError(f"no window of {self.horizon} steps fits into the {self.steps.n_episodes} episodes; "
                              "lower `horizon`, raise `pad_after`, or record longer episodes")

    def epoch(self, step: int) -> float:
        """Passes over the data after `step` batches."""
        return step * self.batch_size / len(self.index)

    def __call__(self, step: int) -> Batch:
        """The batch of a step, step = 0, 1, ..."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, ranks = np.divmod(positions, len(self.index))
        windows = np.concatenate([self._order(int(epoch))[ranks[epochs == epoch]] for epoch in np.unique(epochs)])
        return self.gather(windows)

    def gather(self, windows: NDArray[np.int64]) -> Batch:
        """The batch of given windows (B,)."""
        observed = self.index.steps(windows, 0, self.n_obs_steps)
        flat, shape = observed.reshape(-1), observed.shape
        steps = self.steps
        return Batch(
            images={key: torch.from_numpy(np.asarray(frames.take(flat, axis=0))).view(*shape, *frames.shape[1:])
                    for key, frames in steps.images.items()},
            low_dim={key: torch.from_numpy(values[observed]) for key, values in steps.low_dim.items()},
            stage=None if steps.stages is None else torch.from_numpy(steps.stages[observed[:, -1]]),
            action=None if steps.action is None
            else torch.from_numpy(steps.action[self.index.steps(windows, 0, self.horizon)]),
            mass_g=None if steps.mass_g is None else torch.from_numpy(steps.mass_g[observed[:, -1]]),
        )

    def chunks(self, windows: Sequence[int] | NDArray[np.int64]) -> list[Batch]:
        """Batches that visit the given windows once, in order."""
        numbers = np.asarray(windows, dtype=np.int64)
        return [self.gather(numbers[i:i + self.batch_size]) for i in range(0, len(numbers), self.batch_size)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            for old in [number for number in self._orders if number < epoch - 1]:
                del self._orders[old]
            self._orders[epoch] = self._new_order(np.random.default_rng([self.seed, epoch]))
        return self._orders[epoch]

    def _new_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        grouping = _grouping(self.steps)
        if grouping is None:
            return rng.permutation(len(self.index)).astype(np.int64)
        first_rows = self.index.steps(np.arange(len(self.index)), 0, 1)[:, 0]
        return grouped_order(first_rows, *grouping, rng)


def _grouping(steps: Steps) -> tuple[int, int] | None:
    """Rows of a chunk and chunks that are kept, where frames are compressed."""
    compressed = [frames for frames in steps.images.values() if isinstance(frames, ZarrFrames)]
    if not compressed:
        return None
    return max(frames.rows_per_chunk for frames in compressed), min(frames.capacity for frames in compressed)


def _refuse_non_finite(arrays: dict[str, NDArray[np.float32]], buffer: ReplayBuffer) -> None:
    for key, values in arrays.items():
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise ConfigError(f"{buffer.path}: {key!r} is not finite at step {int(np.argmax(bad))}; "
                              "convert the episodes again")
