"""Observation windows and action chunks as messages of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ladle.policy import ActionChunk, MonitorScore, ObservationWindow, RunningChunk
from real_world_deployment.array_message import ArrayMessage

TIMES = "times_s"
PROBABILITIES = "stage_probabilities"
PART = "part:"
RUNNING = "running:"  # a chunk that is being executed travels with the question


def is_image(stream: NDArray[Any]) -> bool:
    """Whether a stream (To, ...) is one of frames: these go through shared memory, or are recorded once each."""
    return stream.ndim >= 3


def window_message(kind: str, window: ObservationWindow, arrays: Mapping[str, NDArray[Any]],
                   **more: Any) -> ArrayMessage:
    """A window with those of its streams that travel in the message itself."""
    return ArrayMessage(kind, {"decision_time_s": window.decision_time_s, **more},
                        {TIMES: window.observation_times_s, **arrays})


def to_window(message: ArrayMessage, images: Mapping[str, NDArray[Any]]) -> ObservationWindow:
    """The inverse, with the streams that came another way."""
    own = {name: array for name, array in message.arrays.items() if name != TIMES and not name.startswith(RUNNING)}
    return ObservationWindow(message.values["decision_time_s"], message.arrays[TIMES], {**own, **images})


def chunk_message(kind: str, chunk: ActionChunk, **more: Any) -> ArrayMessage:
    """An answer."""
    arrays: dict[str, NDArray[Any]] = {TIMES: chunk.times_s}
    arrays.update({PART + name: part for name, part in chunk.parts.items()})
    if chunk.stage_probabilities is not None:
        arrays[PROBABILITIES] = chunk.stage_probabilities
    monitor = None if chunk.monitor is None else {
        name: [score.value, score.slow_above, score.hold_above] for name, score in chunk.monitor.items()}
    values = {"observation_time_s": chunk.observation_time_s, "stage": chunk.stage, "monitor": monitor, **more}
    return ArrayMessage(kind, values, arrays)


def to_chunk(message: ArrayMessage) -> ActionChunk:
    """The inverse."""
    parts = {name.removeprefix(PART): array for name, array in message.arrays.items() if name.startswith(PART)}
    scores = message.values["monitor"]
    monitor = None if scores is None else {name: MonitorScore(*numbers) for name, numbers in scores.items()}
    return ActionChunk(message.values["observation_time_s"], message.arrays[TIMES], parts, message.values["stage"],
                       message.arrays.get(PROBABILITIES), monitor)


def with_running(question: ArrayMessage, running: RunningChunk | None) -> ArrayMessage:
    """A question that tells what is being executed."""
    if running is None:
        return question
    chunk = chunk_message("", running.chunk, frozen_until_s=running.frozen_until_s)
    arrays = {RUNNING + name: array for name, array in chunk.arrays.items()}
    return ArrayMessage(question.kind, {**question.values, RUNNING: chunk.values}, {**question.arrays, **arrays})


def to_running(question: ArrayMessage) -> RunningChunk | None:
    """The inverse; None for a question that tells of nothing."""
    values = question.values.get(RUNNING)
    if values is None:
        return None
    arrays = {name.removeprefix(RUNNING): array for name, array in question.arrays.items() if name.startswith(RUNNING)}
    return RunningChunk(to_chunk(ArrayMessage("", values, arrays)), values["frozen_until_s"])
