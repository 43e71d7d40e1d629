"""The form in which episodes pass from one format to another: one episode at a time, key -> (T, ...) arrays.

Formats differ in what they can say about the data. What is said travels in one mapping, `meta`, which is the attribute
`ladle` of a replay buffer and which the other formats keep beside their own fields:

    task          the task file's text, when Ladle recorded the episodes
    episodes      the episodes' numbers, in the order of the data
    fps_hz        steps per second, where the task does not say
    instructions  what the robot was asked to do, one text an episode
    names         key -> names of its columns, as LeRobot has them
    features      key -> LeRobot feature, where the name does not follow from the key
    filters       robomimic's filter keys -> numbers of the episodes in them
    env_args      robomimic's description of the environment
    attributes    episode number -> robomimic's attributes of the demonstration
    robot_type    LeRobot's name of the robot
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ReplayBufferError
from ladle.task import task_from_text

Array = NDArray[Any]
Streams = Mapping[str, Array]


@dataclass(frozen=True)
class Column:
    """What one stream holds at every step: shape of a row (no time axis) and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, values: Any) -> Column:
        """Of an array (T, ...), or of anything with its shape and dtype; the bytes in this machine's order."""
        return cls(tuple(int(size) for size in values.shape[1:]), np.dtype(values.dtype).newbyteorder("="))

    @property
    def is_image(self) -> bool:
        """Whether a row is a picture for people: (H, W, 1 or 3), bytes or floats."""
        return len(self.shape) == 3 and self.shape[2] in (1, 3) and self.dtype in (np.uint8, np.float32)


@dataclass(frozen=True)
class EpisodeSet:
    """All episodes of one data set, read lazily.

    Attributes:
        origin: where they come from.
        columns: key -> what a row holds; the same for all episodes.
        lengths: steps of each episode, in the order of the data.
        meta: see the module.
        read: gives the episodes one after the other.
        not_carried: what the source holds and this form does not, in words.
    """

    origin: Path
    columns: Mapping[str, Column]
    lengths: tuple[int, ...]
    meta: Mapping[str, Any]
    read: Callable[[], Iterator[Streams]]
    not_carried: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """Number of each episode; 0, 1, ... where none are known."""
        return episode_numbers(self.meta, len(self.lengths))

    @property
    def fps_hz(self) -> float | None:
        """Steps per second, if the data set says so."""
        return fps_of(self.meta)

    @property
    def instructions(self) -> tuple[str, ...]:
        """One text an episode; the task's name, else the data set's, where the data do not say."""
        known = self.meta.get("instructions")
        if isinstance(known, list) and len(cast(list[Any], known)) == len(self.lengths):
            return tuple(str(text) for text in cast(list[Any], known))
        text = self.meta.get("task")
        name = task_from_text(text, str(self.origin)).name if text else self.origin.name.partition(".")[0]
        return (name,) * len(self.lengths)

    def episodes(self) -> Iterator[Streams]:
        """The episodes, each checked against `columns` and `lengths`.

        Raises:
            ReplayBufferError: an episode has other streams, shapes, types or lengths than announced.
        """
        count = 0
        for streams in self.read():
            self._check(count, streams)
            yield streams
            count += 1
        if count != len(self.lengths):
            raise ReplayBufferError(f"{self.origin}: {count} episodes were read, {len(self.lengths)} are announced")

    def _check(self, index: int, streams: Streams) -> None:
        where = f"{self.origin}: episode {self.numbers[index]}"
        if set(streams) != set(self.columns):
            raise ReplayBufferError(f"{where} has {sorted(streams)}, the data set has {sorted(self.columns)}")
        for key, values in streams.items():
            found, expected = Column.of(values), self.columns[key]
            if found != expected or len(values) != self.lengths[index]:
                raise ReplayBufferError(
                    f"{where}: {key!r} has shape {values.shape} and type {found.dtype}, expected "
                    f"{(self.lengths[index], *expected.shape)} and {expected.dtype}; mend or remove the episode")


def native(values: Array) -> Array:
    """The same numbers with their bytes in this machine's order: Arrow takes no other."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def fps_of(meta: Mapping[str, Any]) -> float | None:
    """Steps per second: what the data say, else the rate of Ladle's task."""
    if meta.get("fps_hz"):
        return float(meta["fps_hz"])
    text = meta.get("task")
    return task_from_text(text, "the data set's task").rate_hz if text else None


def episode_numbers(meta: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The numbers in `meta`, as long as there is one for each of `count` episodes; else 0, 1, ..."""
    known = meta.get("episodes")
    if isinstance(known, list):
        numbers = tuple(int(number) for number in cast(list[Any], known))
        if len(numbers) == count == len(set(numbers)) and min(numbers, default=0) >= 0:
            return numbers
    return tuple(range(count))


def meta_with(meta: Mapping[str, Any], numbers: Sequence[int], **known: Any) -> dict[str, Any]:
    """`meta` with what the format itself says; numbers that say nothing (0, 1, ...) and empty entries stay out."""
    merged = {**meta, **{key: value for key, value in known.items() if value not in (None, [], {})}}
    if "episodes" in meta or list(numbers) != list(range(len(numbers))):
        merged["episodes"] = list(numbers)
    return merged
