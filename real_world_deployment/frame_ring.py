"""A ring of records in shared memory: one process writes, any number read, nobody waits and nothing is pickled.

A record is a set of arrays, such as a camera's frame, with its two stamps. The ring holds the newest records. A writer
may be killed at any instant: the record that it was writing is never seen, older ones stay, and the next writer of the
same name goes on in the same segment. Readers copy a record and then prove by its sequence number and checksum that
it is whole; the checksum makes this true also on processors that reorder writes.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ObservationError
from real_world_deployment.ring_layout import COUNT_AT, PAYLOAD_AT, SLOTS_AT, RingLayout
from real_world_deployment.ring_segment import claim_segment, is_current, layout_of, release_segment, segment_path

READ_ATTEMPTS = 5
WORD = (1 << 64) - 1
SPARE_SLOTS = 4  # so many records may be written while a reader copies the oldest that it wants

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Record:
    """One record, copied out of the ring.

    Attributes:
        number: running number, over restarts of the writer as well.
        header_ns: when it was taken; receive_ns: when it was there to be used.
        arrays: name -> array.
    """

    number: int
    header_ns: int
    receive_ns: int
    arrays: Mapping[str, NDArray[Any]]


class _Segment:
    """A mapping and what lies where in it."""

    def __init__(self, descriptor: int, layout: RingLayout, *, writable: bool) -> None:
        self.layout, self.inode = layout, os.fstat(descriptor).st_ino
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, layout.total_bytes, access=access)
        whole = np.frombuffer(self._map, np.uint8)
        self.count = whole[COUNT_AT : COUNT_AT + 8].view(np.uint64)
        slots = whole[SLOTS_AT:].reshape(layout.slots, layout.slot_bytes)
        self.words = slots[:, :PAYLOAD_AT].view(np.uint64)
        self.payload = slots[:, PAYLOAD_AT:]
        self._offsets = layout.offsets()

    def views(self, payload: Bytes) -> dict[str, NDArray[Any]]:
        """The arrays of a payload (payload_bytes,), without copying."""
        return {a.name: payload[self._offsets[a.name] : self._offsets[a.name] + a.nbytes].view(a.dtype).reshape(a.shape)
                for a in self.layout.arrays}

    def record(self, number: int) -> Record | None:
        """Record `number` if the slot holds it whole."""
        slot, whole = number % self.layout.slots, 2 * number + 2
        words = self.words[slot].copy()
        if int(words[0]) != whole:
            return None
        payload = self.payload[slot].copy()
        header_ns, receive_ns = (int(word) for word in words[1:3].view(np.int64))
        if int(self.words[slot, 0]) != whole or int(words[3]) != checksum(whole, header_ns, receive_ns, payload):
            return None
        return Record(number, header_ns, receive_ns, self.views(payload))

    def written(self) -> int:
        """One more than the newest whole record, by the slots themselves; 0 where there is none."""
        for sequence in sorted((int(word) for word in self.words[:, 0]), reverse=True):
            if sequence and sequence % 2 == 0 and self.record(sequence // 2 - 1) is not None:
                return sequence // 2
        return 0


def checksum(sequence: int, header_ns: int, receive_ns: int, payload: Bytes) -> int:
    """The sum of all 64-bit words of a record: what is half of one frame and half of another has another sum.

    It is there for copies that were overtaken, not for damaged memory; a crc32 would take fifteen times as long, and
    the loop waits for it.
    """
    return (sequence + header_ns + receive_ns + int(payload.view(np.uint64).sum())) & WORD


class RingWriter:
    """The only writer of a ring; goes on where a killed one stopped.

    Raises:
        ObservationError: another living process writes to the ring, or /dev/shm has no room.
    """

    def __init__(self, name: str, layout: RingLayout) -> None:
        self.name = name
        self._descriptor = claim_segment(name, layout)
        self._segment = _Segment(self._descriptor, layout, writable=True)
        self._next = self._segment.written()

    def put(self, arrays: Mapping[str, NDArray[Any]], header_ns: int, receive_ns: int) -> int:
        """Write one record and return its number.

        Raises:
            ObservationError: an array is missing, or has another shape or type than the ring.
        """
        self._check(arrays)
        segment, number = self._segment, self._next
        slot = number % segment.layout.slots
        words, payload = segment.words[slot], segment.payload[slot]
        words[0] = 2 * number + 1
        for name, view in segment.views(payload).items():
            view[...] = arrays[name]
        words[1:3].view(np.int64)[:] = header_ns, receive_ns
        words[3] = checksum(2 * number + 2, header_ns, receive_ns, payload)
        words[0] = 2 * number + 2
        self._next = number + 1
        segment.count[0] = self._next
        return number

    def close(self, *, unlink: bool = True) -> None:
        """Let go of the ring; its name goes too unless a successor is to find it."""
        if self._descriptor >= 0:
            release_segment(self.name, self._descriptor, unlink=unlink)
        self._descriptor = -1

    def _check(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for spec in self._segment.layout.arrays:
            given = arrays.get(spec.name)
            if given is None or given.shape != spec.shape or given.dtype != np.dtype(spec.dtype):
                what = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ObservationError(f"ring {self.name!r}: {spec.name} must be {np.dtype(spec.dtype)} {spec.shape}, "
                                       f"got {what}")


class RingReader:
    """Reads the newest records of a ring that may not be there yet, or be there again after a restart."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = segment_path(name)
        self._segment: _Segment | None = None

    def last(self, k: int) -> list[Record]:
        """The newest k whole records, oldest first; fewer where there are not so many, none without a writer so far.

        Raises:
            ObservationError: k is more than the ring keeps, or the writer is faster than this process can copy.
        """
        segment = self._attached()
        if segment is None:
            return []
        if not 1 <= k < segment.layout.slots:
            raise ObservationError(f"{k} records asked of ring {self.name!r}, which keeps {segment.layout.slots - 1}")
        for _ in range(READ_ATTEMPTS):
            written = max(int(segment.count[0]), 0)
            numbers = range(max(written - k, 0), written)
            records = [segment.record(number) for number in numbers]
            found = [record for record in records if record is not None]
            if len(found) == len(numbers):
                return found
            if int(segment.count[0]) == written:  # nobody overtook us: what is missing is not to be had
                return found[-k:]
        raise ObservationError(f"ring {self.name!r}: {k} records cannot be copied before they are overwritten; "
                               f"give the ring more than {segment.layout.slots} slots")

    def newest_receive_ns(self) -> int | None:
        """When the newest record was received, without copying it; None without one."""
        segment = self._attached()
        written = 0 if segment is None else max(int(segment.count[0]), 0)
        if segment is None or written == 0:
            return None
        return int(segment.words[(written - 1) % segment.layout.slots, 2].view(np.int64))

    def get(self, number: int) -> Record | None:
        """A record by its number; None where it is not there any more or not yet."""
        segment = self._attached()
        return None if segment is None else segment.record(number)

    def _attached(self) -> _Segment | None:
        if self._segment is not None and is_current(self._segment.inode, self._path):
            return self._segment
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._segment
        try:
            layout = layout_of(descriptor)
            if layout is not None:
                self._segment = _Segment(descriptor, layout, writable=False)
        finally:
            os.close(descriptor)
        return self._segment
