"""Where each message of a file lies: arrays in the order of the file, from which the order of receipt follows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_STAMP_NS = 2**63 - 1  # year 2262; a later stamp is damage
ROWS_AT_ONCE = 8192
MAX_RUN = 256  # rows


class Stretch(NamedTuple):
    """Rows of one channel that lie in one segment at equal distances.

    Attributes:
        times_ns: a stamp for each row.
        offset: of the first.
        step: bytes from one row to the next, 0 for a single one.
    """

    times_ns: list[int]
    key: int
    segment: int
    offset: int
    step: int


class Positions:
    """Messages in the order of the file: N rows.

    Attributes:
        times_ns: (N,) receive stamps.
        keys: (N,) channels' numbers in the file.
        segments: (N,) which stretch of the file holds the message.
        offsets: (N,) where in the raw bytes of that stretch its record begins.
    """

    def __init__(
        self,
        times_ns: NDArray[np.int64],
        keys: NDArray[np.int64],
        segments: NDArray[np.int32],
        offsets: NDArray[np.int64],
    ) -> None:
        self.times_ns, self.keys, self.segments, self.offsets = times_ns, keys, segments, offsets

    def __len__(self) -> int:
        return len(self.times_ns)

    def counts(self) -> dict[int, int]:
        """Channel -> number of messages."""
        keys, counts = np.unique(self.keys, return_counts=True)
        return dict(zip(keys.tolist(), counts.tolist(), strict=True))

    def backsteps(self) -> dict[int, int]:
        """Channel -> messages with a stamp before the latest one so far of that channel."""
        found: dict[int, int] = {}
        for key in np.unique(self.keys).tolist():
            times = self.times_ns[self.keys == key]
            found[key] = int(np.count_nonzero(times < np.maximum.accumulate(times)))
        return found

    def ordered(self, keys: Collection[int] | None) -> NDArray[np.int64]:
        """Row numbers of the channels' messages (None: all) in order of receipt; ties keep the order of the file."""
        if keys is None:
            rows = np.arange(len(self), dtype=np.int64)
        else:
            rows = np.flatnonzero(np.isin(self.keys, np.fromiter(keys, np.int64, len(keys)))).astype(np.int64)
        times = self.times_ns[rows]
        if len(times) > 1 and np.any(times[1:] < times[:-1]):
            rows = rows[np.argsort(times, kind="stable")]
        return rows

    def rows(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, int, int, int]]:
        """(time in ns, channel, segment, offset) as plain integers."""
        for begin in range(0, len(numbers), ROWS_AT_ONCE):
            part = numbers[begin : begin + ROWS_AT_ONCE]
            yield from zip(
                self.times_ns[part].tolist(), self.keys[part].tolist(), self.segments[part].tolist(),
                self.offsets[part].tolist(), strict=True)

    def stretches(self, numbers: NDArray[np.int64], keys: Collection[int]) -> Iterator[Stretch]:
        """The rows in their order, those of the channels together as far as they come one after the other."""
        wanted = np.fromiter(keys, np.int64, len(keys))
        for begin in range(0, len(numbers), ROWS_AT_ONCE):
            part = numbers[begin : begin + ROWS_AT_ONCE]
            own, segments, offsets = self.keys[part], self.segments[part], self.offsets[part]
            steps = np.diff(offsets)
            goes_on = (np.diff(own) == 0) & (np.diff(segments) == 0) & (steps > 0) & np.isin(own[1:], wanted)
            step_of = [*np.where(goes_on, steps, 0).tolist(), 0]  # to the next row of the stretch
            times, places = self.times_ns[part].tolist(), list(zip(
                own.tolist(), segments.tolist(), offsets.tolist(), strict=True))
            first = 0
            while first < len(part):
                last, step = first, step_of[first]
                while step and step_of[last] == step and last - first < MAX_RUN - 1:
                    last += 1
                yield Stretch(times[first : last + 1], *places[first], step)
                first = last + 1


class PositionsBuilder:
    """Collects positions while a file is scanned."""

    def __init__(self) -> None:
        self._blocks: list[tuple[NDArray[np.int64], ...]] = []
        self._loose: list[tuple[int, int, int, int]] = []

    def add(self, time_ns: int, key: int, segment: int, offset: int) -> None:
        """One message."""
        self._loose.append((time_ns, key, segment, offset))
        if len(self._loose) >= ROWS_AT_ONCE:
            self._close_loose()

    def add_block(
        self, times_ns: NDArray[np.int64], keys: NDArray[np.int64], segment: int, offsets: NDArray[np.int64]
    ) -> None:
        """The messages of one segment, in the order of their offsets."""
        self._close_loose()
        self._blocks.append((times_ns, keys, np.full(len(offsets), segment), offsets))

    def build(self, known: Collection[int]) -> tuple[Positions, int]:
        """The positions of messages of known channels, and how many others there were."""
        self._close_loose()
        if not self._blocks:
            empty = np.zeros(0, np.int64)
            return Positions(empty, empty, empty.astype(np.int32), empty), 0
        times, keys, segments, offsets = (np.concatenate(column) for column in zip(*self._blocks, strict=True))
        self._blocks.clear()
        is_known = np.isin(keys, np.fromiter(known, np.int64, len(known)))
        strange = int(np.count_nonzero(~is_known))
        if strange:
            times, keys, segments, offsets = times[is_known], keys[is_known], segments[is_known], offsets[is_known]
        return Positions(times, keys, segments.astype(np.int32), offsets), strange

    def _close_loose(self) -> None:
        if self._loose:
            table = np.array(self._loose, dtype=np.int64)
            self._blocks.append((table[:, 0], table[:, 1], table[:, 2], table[:, 3]))
            self._loose.clear()
