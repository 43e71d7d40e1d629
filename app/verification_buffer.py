"""The part of `ladle verify` for replay buffers: every chunk is decoded once, and what its content shows."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from ladle.script import one_line
from ladle.task import TaskConfig, task_from_text
from read_sensors_utils.array_checks import quaternion_faults

POSE_WIDTH = 7
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, EOFError)


def buffer_faults(path: Path) -> Iterator[str]:
    """Every chunk of every array is decoded once; a zip's members are checked against their CRC first."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                yield f"{broken} in {path.name} is damaged"
                return
    try:
        buffer = ReplayBuffer.open(path)
    except ReplayBufferError as error:
        yield one_line(error)
        return
    task_text = buffer.meta.get("task")
    task = task_from_text(str(task_text), str(path)) if task_text is not None else None
    poses = _pose_columns(buffer, task)
    numbers = buffer.meta.get("episodes")
    if numbers is not None and len(numbers) != buffer.n_episodes:
        yield f"it names {len(numbers)} episodes and holds {buffer.n_episodes}"
    for key in buffer.keys():  # noqa: SIM118  (not a mapping)
        for index in range(buffer.n_episodes):
            try:
                rows = np.asarray(buffer[key][buffer.episode_slice(index)])
            except UNREADABLE as error:
                yield f"data/{key} cannot be decoded in episode {index} (in order): {one_line(error)}"
                break
            yield from _row_faults(rows, f"data/{key} in episode {index} (in order)", poses.get(key, []))
            yield from _label_faults(rows, key, index, task)


def _row_faults(rows: NDArray[Any], name: str, pose_columns: list[int]) -> Iterator[str]:
    if np.issubdtype(rows.dtype, np.floating) and not np.all(np.isfinite(rows)):
        yield f"{name} is not finite"
    for column in pose_columns:
        yield from quaternion_faults(rows[:, column + 3 : column + POSE_WIDTH], name)


def _label_faults(rows: NDArray[Any], key: str, index: int, task: TaskConfig | None) -> Iterator[str]:
    if key != "label" or task is None or task.stages is None:
        return
    wrong = (rows < 0) | (rows >= len(task.stages.names))
    if np.any(wrong):
        yield (f"data/label in episode {index} (in order) holds {rows[wrong][0]:g}, expected 0 to "
               f"{len(task.stages.names) - 1}")


def _pose_columns(buffer: ReplayBuffer, task: TaskConfig | None) -> dict[str, list[int]]:
    """Key -> first columns of the poses in it, as the task says."""
    if task is None:
        return {}
    n_joints = len(task.joints.names) if task.joints is not None else 0
    starts = np.cumsum([0, *(part.width(n_joints) for part in task.action)])
    columns = {"action": [int(start) for start, part in zip(starts[:-1], task.action, strict=True)
                          if part.kind == "pose"]}
    if task.frames is not None:
        columns["eef"] = [0]
    return {key: value for key, value in columns.items() if key in buffer.keys()}  # noqa: SIM118


def buffer_notes(path: Path) -> list[str]:
    """Chunks without a file, where the buffer does not say that all were written."""
    return [f"{absent}, and these read as zeros; that is how zarr 3 keeps zeros, but whether one was lost cannot be "
            "known of this buffer: ladle convert writes one of which it can" for absent in
            ReplayBuffer.open(path).absent_chunks()]
