"""One pass over the records of a file that keeps messages in chunks: what is where, and what damage has taken."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from read_sensors_utils.storage.decompress import (
    MAX_CHUNK_BYTES,
    ChunkDamageError,
    check_sizes,
    decompress,
    decompress_part,
)
from read_sensors_utils.storage.ordering import MAX_STAMP_NS, Positions, PositionsBuilder
from read_sensors_utils.storage.records import Channel, Losses
from read_sensors_utils.storage.source import FileBytes

# An index has 12 (ROS 1) or 16 bytes a message; without one, the smallest message is compressed to a few.
BYTES_A_MESSAGE = 4
WALKED_FLOOR = 1 << 18  # messages that any file may hold, however small and well compressed
LOOSE_MESSAGE_BYTES = 1 << 16  # smaller messages outside of chunks are read together, up to about twice this size


@dataclass
class Segment:
    """A stretch of the file that is read as one: a chunk's data, or neighbouring messages outside of chunks.

    Attributes:
        start: where the chunk's record begins; the same as offset outside of chunks.
        offset, stored: its bytes in the file.
        raw: bytes after decompression, as declared.
        crc: CRC-32 of the raw bytes, 0 where the file has none.
        is_whole: False for a chunk that the end of the file cuts off.
    """

    start: int
    offset: int
    stored: int
    raw: int
    compression: str = "none"
    crc: int = 0
    is_whole: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether each of its messages can be read by itself."""
        return self.compression == "none" and not self.crc and self.is_whole


def load(file: FileBytes, segment: Segment) -> bytes:
    """The raw bytes of a segment; of a cut-off one as much as there is.

    Raises:
        ChunkDamageError: they cannot be had, or are not what was written.
        BagError: the file has become shorter.
    """
    data = file.read(segment.offset, segment.stored)
    if not segment.is_whole:
        return decompress_part(data, segment.compression)
    raw = decompress(data, segment.compression, segment.raw)
    if segment.crc and zlib.crc32(raw) != segment.crc:
        raise ChunkDamageError("does not match its checksum")
    return raw


class Scan(ABC):
    """What a pass has found.

    A chunk's own index is believed where it is sound and names declared channels only; else, and always in a deep scan,
    the chunk is decompressed and its records are walked.

    Attributes:
        channels: number in the file -> declaration.
        segments: in the order of the file.
        positions: the messages, after run().
        expected: messages that the file's summary tells of, None without one.
        has_end: whether the file's end is there; read_records tells.
        is_deep: whether every chunk is walked.
    """

    def __init__(self, file: FileBytes, *, is_deep: bool) -> None:
        self.file = file
        self.is_deep = is_deep
        self.losses = Losses()
        self.channels: dict[int, Channel] = {}
        self.segments: list[Segment] = []
        self.expected: int | None = None
        self.positions: Positions
        self.anchors: list[int] = []
        self.has_end = False
        self._builder = PositionsBuilder()
        self._open_chunk: int | None = None
        self._loose: Segment | None = None
        self._index: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]] = []
        self._index_is_sound = True
        self._left_to_walk = WALKED_FLOOR + file.size // BYTES_A_MESSAGE

    def run(self) -> None:
        """Scan the file.

        Raises:
            BagError: it is nothing that can be read at all.
        """
        self.read_summary()
        self.anchors = sorted({*self.anchors, self.file.size})
        self.read_records()
        if not self.has_end:
            self.spoil_index()  # more of the last chunk's may have been to come
        self.close_chunk()
        self.finish()
        if not self.has_end and not self.losses:
            self.losses.add(f"the file ends without an index at byte {self.file.size}; what is before was read")
        self.positions, strange = self._builder.build(self.channels)
        if strange:
            self.losses.add("messages of channels that the file does not declare were left out", messages=strange)
        missing = (self.expected or 0) - len(self.positions) - self.losses.messages
        if missing > 0:
            self.losses.add("the file's summary tells of more messages than can be found", messages=missing)

    @abstractmethod
    def read_summary(self) -> None:
        """Take channels, chunks' places (into anchors) and the expected count from the file's index, if it is sound."""

    @abstractmethod
    def read_records(self) -> None:
        """Go through the file's records."""

    @abstractmethod
    def walk(self, data: bytes, segment: int) -> int:
        """Take the records in a chunk's raw bytes, messages with `add_walked`; returns how many bytes are sound.

        Raises:
            ChunkDamageError: more messages than can be true.
        """

    @abstractmethod
    def is_anchor(self, offset: int) -> bool:
        """Whether a record begins there such as the summary says."""

    def finish(self) -> None:  # noqa: B027 - most formats have nothing to add
        """Called when all records have been seen."""

    @property
    def open_raw_bytes(self) -> int:
        """Raw bytes of the chunk whose index is being read."""
        return 0 if self._open_chunk is None else self.segments[self._open_chunk].raw

    def resume(self, offset: int, end: int) -> int | None:
        """None when the record from offset to end is possible; else where the next record begins for certain.

        That is a place the summary knows, or the end of the file.
        """
        place = bisect_right(self.anchors, offset)
        while self.anchors[place] < min(end, self.file.size):
            if self.is_anchor(self.anchors[place]):
                return self.anchors[place]
            del self.anchors[place]
        return None if end <= self.file.size else self.file.size

    def lose_record(self, start: int, stop: int) -> None:
        """Count bytes at which there is no sound record."""
        if stop == self.file.size:
            reason = f"the file ends in the middle of a record at byte {stop}; what is before was read"
        else:
            reason = "damaged records were skipped"
        self.losses.add(reason, n_bytes=stop - start)

    def add_message(self, time_ns: int, key: int, segment: int, offset: int) -> None:
        """One message whose record begins at offset in the segment's raw bytes."""
        if time_ns > MAX_STAMP_NS:
            self.losses.add("messages with a receive stamp after the year 2262 were left out", messages=1)
        else:
            self._builder.add(time_ns, key, segment, offset)

    def add_walked(self, time_ns: int, key: int, segment: int, offset: int) -> None:
        """One message of a chunk that is walked.

        Raises:
            ChunkDamageError: there are more than a file of this size can hold.
        """
        if not self._left_to_walk:
            raise ChunkDamageError("holds more messages than a file of this size can")
        self._left_to_walk -= 1
        self.add_message(time_ns, key, segment, offset)

    def add_loose_message(self, time_ns: int, key: int, start: int, size: int) -> None:
        """One message outside of chunks, by its place in the file."""
        last = self._loose
        if last is None or last.offset + last.stored != start or max(size, last.stored) > LOOSE_MESSAGE_BYTES:
            last = Segment(start, start, 0, 0)
            self.segments.append(last)
        self._loose = last
        last.stored += size
        last.raw += size
        self.add_message(time_ns, key, len(self.segments) - 1, start - last.offset)

    def open_chunk(self, segment: Segment) -> None:
        """A chunk begins; its index may follow."""
        self.close_chunk()
        self._loose = None
        if segment.is_whole:
            try:
                check_sizes(segment.compression, segment.stored, segment.raw)
            except ChunkDamageError as error:
                self.lose_chunk(segment, str(error))
                return
        else:
            segment.stored = min(segment.stored, MAX_CHUNK_BYTES)
        self.segments.append(segment)
        self._open_chunk = len(self.segments) - 1

    def add_index(self, key: int, times_ns: NDArray[np.int64] | NDArray[np.uint64],
                  offsets: NDArray[np.int64] | NDArray[np.uint64]) -> None:
        """Part of the open chunk's index: one channel's messages."""
        if len(offsets) and (int(offsets.max()) >= self.open_raw_bytes or int(times_ns.max()) > MAX_STAMP_NS):
            self._index_is_sound = False
        else:
            self._index.append((key, times_ns.astype(np.int64, copy=False), offsets.astype(np.int64, copy=False)))

    def spoil_index(self) -> None:
        """Part of the open chunk's index cannot be read."""
        self._index_is_sound = False

    def close_chunk(self) -> None:
        """The open chunk's index is complete: take it, or walk the chunk."""
        number, self._open_chunk = self._open_chunk, None
        if number is not None and not (self._index_can_be_used(number) and self._take_index(number)):
            self._walk_chunk(number)
        self._index.clear()
        self._index_is_sound = True

    def lose_chunk(self, segment: Segment, why: str) -> None:
        """Count a chunk that cannot be used."""
        known = sum(len(times) for _, times, _ in self._index) if self._index_is_sound else 0
        self.losses.add(f"a chunk {why} and was left out", n_bytes=segment.stored, chunks=1, messages=known)

    def _index_can_be_used(self, number: int) -> bool:
        return (not self.is_deep and bool(self._index) and self._index_is_sound and self.segments[number].is_whole
                and all(key in self.channels for key, _, _ in self._index))

    def _take_index(self, number: int) -> bool:
        offsets = np.concatenate([offsets for _, _, offsets in self._index])
        order = np.argsort(offsets, kind="stable")
        offsets = offsets[order]
        if (offsets[1:] == offsets[:-1]).any():
            return False
        times = np.concatenate([times for _, times, _ in self._index])
        keys = np.repeat(np.array([key for key, _, _ in self._index], np.int64), [len(t) for _, t, _ in self._index])
        self._builder.add_block(times[order], keys[order], number, offsets)
        return True

    def _walk_chunk(self, number: int) -> None:
        segment = self.segments[number]
        try:
            if not self._left_to_walk:
                raise ChunkDamageError("comes after more messages than a file of this size can hold")
            data = load(self.file, segment)
            sound = self.walk(data, number)
        except ChunkDamageError as error:
            self.lose_chunk(segment, str(error))
            return
        if not segment.is_whole:
            unread = len(data) - sound if segment.compression == "none" else segment.stored if not sound else 0
            self.losses.add(f"the file ends in the middle of a chunk at byte {self.file.size}; what is before was read",
                            n_bytes=unread, chunks=1)
        elif sound < len(data):
            self.losses.add("a chunk holds broken records; what is before them was read", chunks=1,
                            n_bytes=(len(data) - sound) * segment.stored // max(1, segment.raw))
