"""Reading a scanned file in order of receipt with bounded memory; the part that mcap and ROS 1 bags share.

A chunk is read once, when its first wanted message is due, and let go after its last, so a file in order is read from
front to back and one whose chunks overlap in time holds only those that overlap. Chunks without a wanted message are
never read.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.storage.decompress import ChunkDamageError
from read_sensors_utils.storage.ordering import Stretch
from read_sensors_utils.storage.records import Channel, Losses, MessageRun, RawMessage
from read_sensors_utils.storage.scan import Scan, Segment, load
from read_sensors_utils.storage.source import BEGIN_BYTES, FileBytes, LeftBytes

log = logging.getLogger(__name__)

MAX_RUN_BYTES = 1 << 16  # read together
CACHE_BYTES = 256 << 20  # chunks that overlap in time; beyond it the one used least recently is read again later


class IndexUnsoundError(ValueError):
    """The file's index names a message that is not there. Never leaves this package."""


class _Segments:
    """The raw bytes of the segments that are in use."""

    def __init__(self, file: FileBytes, scan: Scan, uses: list[int]) -> None:
        self._file, self._scan, self._uses = file, scan, uses
        self._held: OrderedDict[int, memoryview] = OrderedDict()
        self._held_bytes = 0

    def take(self, number: int) -> memoryview:
        """The segment, for one or more of its messages; say with `used` when they are done.

        Raises:
            ChunkDamageError: it cannot be had.
        """
        data = self._held.get(number)
        if data is None:
            data = memoryview(load(self._file, self._scan.segments[number]))
            self._held[number] = data
            self._held_bytes += len(data)
            while self._held_bytes > CACHE_BYTES and len(self._held) > 1:
                self._held_bytes -= len(self._held.popitem(last=False)[1])
        else:
            self._held.move_to_end(number)
        return data

    def used(self, number: int, times: int) -> None:
        """So many messages of the segment were delivered; after the last it is let go."""
        self._uses[number] -= times
        if not self._uses[number] and number in self._held:
            self._held_bytes -= len(self._held.pop(number))


class ChunkedStorage(ABC):
    """An open file with chunks; see records.Storage for the attributes.

    A message's data is a view of its chunk: whoever keeps the view keeps the whole chunk in memory, so copy what is to
    be kept.
    """

    channels: list[Channel]
    counts: dict[int, int]
    start_ns: int
    end_ns: int
    backsteps: dict[int, int]

    def __init__(self, path: Path) -> None:
        """Open and index the file.

        Raises:
            BagError: not a file of this kind, or nothing in it can be read.
        """
        self.path = path
        self.losses = Losses()
        self.file = FileBytes(path)
        try:
            self._scan = self._scanned(is_deep=False)
            if self._scan.expected is not None and self._scan.expected > len(self._scan.positions):
                self._scan = self._scanned(is_deep=True)
            self._publish()
        except BaseException:
            self.file.close()
            raise

    @abstractmethod
    def new_scan(self, *, is_deep: bool) -> Scan:
        """A scan that has not run."""

    @abstractmethod
    def message_at(self, data: memoryview, offset: int, size: int) -> tuple[int, int, int, int] | None:
        """(channel, receive time in ns, start, stop) of the message record at offset; None if there is none.

        Args:
            data: the segment, or as much of its beginning as holds the record's head.
            size: bytes of the segment.
        """

    @abstractmethod
    def heads_agree(self, heads: NDArray[np.uint8], times_ns: NDArray[np.int64]) -> bool:
        """Whether (N, bytes) heads of message records are as the first but for their receive times, which are these."""

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def messages(self, keys: Collection[int] | None = None, left: Collection[int] = (),
                 runs: Collection[int] = ()) -> Iterator[RawMessage]:
        """Messages of the channels (None: all) in order of receipt; equal stamps keep the order of the file.

        Args:
            left: channels of which large messages in chunks without compression and checksum are left in the file.
            runs: channels of which messages that lie one behind the other come as one MessageRun.

        Raises:
            BagError: the file is changed by someone else while it is read.
        """
        scan, seen = self._scan, set[tuple[int, int]]()
        while True:
            positions = scan.positions
            numbers = positions.ordered(keys)
            if seen:
                numbers = np.array([n for n in numbers.tolist() if _place(scan, n) not in seen], np.int64)
            given = 0
            try:
                for n_rows, message in self._deliver(scan, numbers, left, runs):
                    given += n_rows
                    if message is not None:
                        yield message
            except IndexUnsoundError as error:
                if scan.is_deep:
                    raise BagError(f"{self.path} was changed while it was read; wait until it is complete, "
                                   "then try again") from error
                # Channels that only the new scan finds are left to the next call: nobody has been told of them.
                keys = list(positions.counts()) if keys is None else keys
                seen.update(_place(scan, n) for n in numbers[:given].tolist())
                scan = self._rescan()
            else:
                return

    def _deliver(self, scan: Scan, numbers: NDArray[np.int64], left: Collection[int],
                 runs: Collection[int]) -> Iterator[tuple[int, RawMessage | None]]:
        """How many rows and what they hold, None in a damaged chunk."""
        uses = np.bincount(scan.positions.segments[numbers], minlength=len(scan.segments)).tolist()
        held = _Segments(self.file, scan, uses)
        damaged: set[int] = set()
        taken, times, data = -1, 0, memoryview(b"")
        for stretch in scan.positions.stretches(numbers, runs):
            number, n_rows = stretch.segment, len(stretch.times_ns)
            if left and scan.segments[number].is_plain:
                yield from self._by_itself(scan, stretch, left)
                continue
            if number in damaged:
                yield n_rows, None
                continue
            if number != taken:
                if times:
                    held.used(taken, times)
                try:
                    taken, times, data = number, 0, held.take(number)
                except ChunkDamageError as error:
                    taken, times = -1, 0
                    damaged.add(number)
                    self._lose(scan, number, str(error))
                    yield n_rows, None
                    continue
            times += n_rows
            yield from self._from_chunk(scan, stretch, data)

    def _from_chunk(self, scan: Scan, stretch: Stretch, data: memoryview) -> Iterator[tuple[int, RawMessage]]:
        channel = scan.channels[stretch.key]
        n_rows = len(stretch.times_ns)
        if run := self._run(stretch, data[stretch.offset : stretch.offset + n_rows * stretch.step]):
            yield n_rows, RawMessage(channel, stretch.times_ns[0], run)
            return
        for n, time_ns in enumerate(stretch.times_ns):
            found = self.message_at(data, stretch.offset + n * stretch.step, len(data))
            if found is None or found[0] != stretch.key or found[1] != time_ns:
                raise IndexUnsoundError
            yield 1, RawMessage(channel, time_ns, data[found[2] : found[3]])

    def _by_itself(self, scan: Scan, stretch: Stretch, left: Collection[int]) -> Iterator[tuple[int, RawMessage]]:
        """From a plain segment, without reading the rest of it."""
        channel, segment = scan.channels[stretch.key], scan.segments[stretch.segment]
        n_rows, n_bytes = len(stretch.times_ns), len(stretch.times_ns) * stretch.step
        is_within = 0 < n_bytes <= min(segment.raw - stretch.offset, MAX_RUN_BYTES)
        start = segment.offset + stretch.offset
        if is_within and (run := self._run(stretch, memoryview(self.file.peek(start, n_bytes)))):
            yield n_rows, RawMessage(channel, stretch.times_ns[0], run)
            return
        for n, time_ns in enumerate(stretch.times_ns):
            data = self._alone(segment, stretch.offset + n * stretch.step, stretch.key, time_ns, left)
            yield 1, RawMessage(channel, time_ns, data)

    def _run(self, stretch: Stretch, data: memoryview) -> MessageRun | None:
        """The stretch's messages, where its records fill these bytes and are all of a kind."""
        n_rows, step = len(stretch.times_ns), stretch.step
        if not step or len(data) != n_rows * step:
            return None
        found = self.message_at(data, 0, step)
        if found is None or (found[0], found[1], found[3]) != (stretch.key, stretch.times_ns[0], step):
            return None
        table, times_ns = np.frombuffer(data, np.uint8).reshape(n_rows, step), np.array(stretch.times_ns, np.int64)
        start = found[2]
        if not self.heads_agree(table[:, :start], times_ns):
            return None
        return MessageRun(times_ns, table[:, start:].copy())

    def _alone(self, segment: Segment, offset: int, key: int, time_ns: int,
               left: Collection[int]) -> memoryview | LeftBytes:
        """The data of one message of a plain segment, without reading the others."""
        start, size = segment.offset + offset, segment.raw - offset
        begin = memoryview(self.file.peek(start, min(size, BEGIN_BYTES)))
        found = self.message_at(begin, 0, size)
        if found is None or (found[3] > len(begin) and key not in left):
            begin = memoryview(self.file.read(start, size if found is None else found[3]))
            found = self.message_at(begin, 0, size)
        if found is None or found[0] != key or found[1] != time_ns:
            raise IndexUnsoundError
        data = begin[found[2] : found[3]]
        n_bytes = found[3] - found[2]
        return data if len(data) == n_bytes else self.file.left(start + found[2], n_bytes, data)

    def _lose(self, scan: Scan, number: int, why: str) -> None:
        if scan is self._scan and number not in self._lost:
            self._lost.add(number)
            segment = scan.segments[number]
            self.losses.add(f"a chunk {why} and was left out", n_bytes=segment.stored, chunks=1,
                            messages=int(np.count_nonzero(scan.positions.segments == number)))

    def _scanned(self, *, is_deep: bool) -> Scan:
        scan = self.new_scan(is_deep=is_deep)
        scan.run()
        return scan

    def _rescan(self) -> Scan:
        if not self._scan.is_deep:
            log.debug("%s: the index does not fit the messages; walking every chunk", self.path)
            before = self._scan.channels
            self._scan = self._scanned(is_deep=True)
            self._scan.channels |= before  # who reads may know the channels by their objects
            self._publish()
        return self._scan

    def _publish(self) -> None:
        scan, positions = self._scan, self._scan.positions
        none = dict.fromkeys(scan.channels, 0)
        self.channels = list(scan.channels.values())
        self.counts = none | positions.counts()
        self.backsteps = none | positions.backsteps()
        self.start_ns = int(positions.times_ns.min()) if len(positions) else 0
        self.end_ns = int(positions.times_ns.max()) if len(positions) else 0
        losses = scan.losses
        self.losses.bytes, self.losses.chunks, self.losses.messages = losses.bytes, losses.chunks, losses.messages
        self.losses.reasons[:] = losses.reasons
        self._lost: set[int] = set()


def _place(scan: Scan, number: int) -> tuple[int, int]:
    """Where the file holds the message of a row, independent of the scan."""
    return scan.segments[int(scan.positions.segments[number])].offset, int(scan.positions.offsets[number])
