"""Joint states at 1 kHz without decoding each: where the numbers lie is learnt from the first message.

A message's bytes are numbers that change and structure that does not (names, counts, sizes). Learning overwrites one
number after the other in a copy and decodes it: the number that comes out changed lies there, and nothing else may
have changed. Later messages whose other bytes are all equal have their numbers in the same places; any other message
is decoded in full.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.joints_by_name import Believable
from read_sensors_utils.decode import header_ns

Bytes = bytes | memoryview
NS_PER_S = 1_000_000_000
WORD_BYTES = 8
INT32_MAX = 2**31 - 1
ATTEMPTS = 12  # to learn; publishers that take turns on one topic need one each
PLACES_TO_TRY = 64
STAMP = struct.Struct("<iI")


class JointSample(NamedTuple):
    """The joints of one message, and its header stamp."""

    stamp_ns: int
    positions_rad: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Of messages of one length: (start, stop, bytes) that never change, and where the numbers are."""

    constant: tuple[tuple[int, int, bytes], ...]
    stamp_at: int | None
    block_at: int
    block: struct.Struct
    order: tuple[int, ...]

    def read(self, data: Bytes) -> JointSample | None:
        """The numbers of a message of the layout's length; None for one that is to be decoded in full."""
        for start, stop, expected in self.constant:
            if data[start:stop] != expected:
                return None
        seconds, nanoseconds = (0, 0) if self.stamp_at is None else STAMP.unpack_from(data, self.stamp_at)
        block = self.block.unpack_from(data, self.block_at)
        # Seconds are signed in ROS 2 and not in ROS 1; the few values where that matters are decoded in full, as are
        # positions that are not finite (a sum that overflows only costs the time).
        if seconds < 0 or not math.isfinite(sum(block)):
            return None
        return JointSample(seconds * NS_PER_S + nanoseconds, tuple([block[n] for n in self.order]))

    def read_table(self, table: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
        """(N, length) messages -> which of them `read` reads, and (N,) stamps in ns and (N, n) positions of all."""
        fits = np.ones(len(table), np.bool_)
        for start, stop, expected in self.constant:
            fits &= (table[:, start:stop] == np.frombuffer(expected, np.uint8)).all(axis=1)
        stamps_ns = np.zeros(len(table), np.int64)
        if self.stamp_at is not None:
            stamp = _columns(table, self.stamp_at, STAMP.size)
            seconds, nanoseconds = stamp.view("<i4")[:, 0], stamp.view("<u4")[:, 1]
            fits &= seconds >= 0
            stamps_ns = seconds.astype(np.int64) * NS_PER_S + nanoseconds
        block = _columns(table, self.block_at, self.block.size).view("<f8")
        fits &= np.isfinite(block).all(axis=1)
        return fits, stamps_ns, block[:, list(self.order)]


class JointLayouts:
    """Reads the joint messages of one topic: a decoder that gives a JointSample where it need not decode."""

    def __init__(self, decode: Callable[[Bytes], Any],
                 positions_of: Callable[[Any], NDArray[np.float64] | None],
                 believable: Believable | None = None) -> None:
        """decode(raw message) gives the message; positions_of(message) the (n,) joints, believable or not, or None."""
        self._believable = believable
        self._decode = decode
        self._positions_of = positions_of
        self._layouts: dict[int, list[_Layout]] = {}
        self._attempts_left = ATTEMPTS

    def __call__(self, data: Bytes) -> Any:
        """The joints alone, or the whole message. Raises BagError for one that cannot be decoded."""
        found = self.read(data)
        if found is not None:
            return found
        message = self._decode(data)
        self.learn(data, message)
        return message

    def read(self, data: Bytes) -> JointSample | None:
        """Exactly what decoding gives; None: decode this one in full."""
        for layout in self._layouts.get(len(data), ()):
            found = layout.read(data)
            if found is not None:
                is_sound = self._believable is None or self._believable.holds(found.positions_rad)
                return found if is_sound else None
        return None

    def read_table(self, table: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
        """`read` of (N, length) messages at a fraction of the time: which it reads, (N,) stamps, (N, n) positions."""
        found, stamps_ns, positions_rad = np.zeros(len(table), np.bool_), np.zeros(len(table), np.int64), np.zeros(
            (len(table), 0))
        places = np.arange(len(table))
        for layout in self._layouts.get(table.shape[1], ()):
            fits, stamps_ns[places], read_rad = layout.read_table(table[places])
            if not positions_rad.size:
                positions_rad = np.zeros((len(table), read_rad.shape[1]))
            positions_rad[places] = read_rad
            found[places] = fits if self._believable is None else fits & self._believable.each_holds(read_rad)
            places = places[~fits]
        return found, stamps_ns, positions_rad

    def learn(self, data: Bytes, message: Any) -> None:
        """Take note of a message that had to be decoded."""
        if self._attempts_left == 0 or self._positions_of(message) is None:
            return
        self._attempts_left -= 1
        layout = _learn(bytes(data), message, self._decode, self._positions_of)
        if layout is not None:
            self._layouts.setdefault(len(data), []).append(layout)


@dataclasses.dataclass(frozen=True)
class _Number:
    """A part of a message whose bytes may change: which leaf it is, where it lies, and its words."""

    leaf: int
    start: int
    length: int
    word_bytes: int
    is_stamp: bool

    @property
    def stop(self) -> int:
        return self.start + self.length

    def marks(self, first: int) -> bytes:
        """Bytes to overwrite it with: small integers, so that a wrong guess never becomes a large count."""
        if self.is_stamp:
            return STAMP.pack(first, first)
        return np.arange(first, first + self.length // self.word_bytes, dtype=f"<u{self.word_bytes}").tobytes()


def _learn(data: bytes, message: Any, decode: Callable[[Bytes], Any],
           positions_of: Callable[[Any], NDArray[np.float64] | None]) -> _Layout | None:
    numbers = _numbers(data, message, decode)
    marked = bytearray(data)
    position_at: dict[float, int] = {}
    stamp_at: dict[int, int] = {}
    mark = 1
    for number in numbers:
        marks = number.marks(mark)
        marked[number.start : number.stop] = marks
        if number.is_stamp:
            stamp_at[mark * NS_PER_S + mark] = number.start
        elif number.word_bytes == WORD_BYTES:
            values = np.frombuffer(marks, "<f8").tolist()
            position_at |= {value: number.start + WORD_BYTES * n for n, value in enumerate(values)}
        mark += number.length // number.word_bytes
    changed = decode(bytes(marked))
    positions, stamp_ns = positions_of(changed), header_ns(changed)
    if positions is None or len(positions) == 0 or any(value not in position_at for value in positions.tolist()):
        return None
    if stamp_ns and stamp_ns not in stamp_at:
        return None
    places = np.array([position_at[value] for value in positions.tolist()])
    start = int(places.min())
    if np.any((places - start) % WORD_BYTES):
        return None
    order = (places - start) // WORD_BYTES
    block = struct.Struct(f"<{int(order.max()) + 1}d")
    return _Layout(_constant(data, numbers), stamp_at.get(stamp_ns), start, block, tuple(order.tolist()))


def _numbers(data: bytes, message: Any, decode: Callable[[Bytes], Any]) -> list[_Number]:
    """The numbers of the message that were found in its bytes, in the order of both."""
    leaves = list(_leaves(message))
    original = [_bytes_of(name, value) for name, value in leaves]
    numbers: list[_Number] = []
    for leaf, (name, value) in enumerate(leaves):
        word_bytes = _word_bytes(name, value)
        start = data.find(original[leaf], numbers[-1].stop if numbers else 0) if word_bytes else -1
        for _ in range(PLACES_TO_TRY):
            if start < 0:
                break
            number = _Number(leaf, start, len(original[leaf]), word_bytes, hasattr(value, "nanosec"))
            if _is_there(number, data, original, decode):
                numbers.append(number)
                break
            start = data.find(original[leaf], start + 1)
    return numbers


def _is_there(number: _Number, data: bytes, original: list[bytes], decode: Callable[[Bytes], Any]) -> bool:
    """Whether overwriting these bytes changes this leaf to what was written, and no other."""
    # Not all zero, whatever the word: bytes that were zero before must be seen to change.
    marks = number.marks(1)
    try:
        changed = decode(data[: number.start] + marks + data[number.stop :])
    except BagError:
        return False
    expected = original.copy()
    expected[number.leaf] = marks
    return [_bytes_of(name, value) for name, value in _leaves(changed)] == expected


def _leaves(message: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(field name, value) of everything in the message that is no message itself; stamps are leaves."""
    if hasattr(message, "nanosec") or not dataclasses.is_dataclass(message):
        if isinstance(message, list) and message and dataclasses.is_dataclass(message[0]):
            for item in message:
                yield from _leaves(item, name)
        else:
            yield name, message
        return
    for field in dataclasses.fields(message):
        yield from _leaves(getattr(message, field.name), field.name)


def _word_bytes(name: str, value: Any) -> int:
    """Bytes of one number of a leaf that may change; 0 for what counts as structure."""
    if isinstance(value, np.ndarray):
        return value.dtype.itemsize if value.dtype.kind == "f" and value.size else 0
    if hasattr(value, "nanosec"):
        return STAMP.size if 0 <= value.sec <= INT32_MAX else 0
    return WORD_BYTES if isinstance(value, float) else 4 if name == "seq" else 0


def _bytes_of(name: str, value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if hasattr(value, "nanosec") and 0 <= value.sec <= INT32_MAX:
        return STAMP.pack(value.sec, value.nanosec)
    if isinstance(value, float):
        return struct.pack("<d", value)
    return struct.pack("<I", value) if name == "seq" else repr(value).encode()


def _columns(table: NDArray[np.uint8], start: int, size: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(table[:, start : start + size])


def _constant(data: bytes, numbers: list[_Number]) -> tuple[tuple[int, int, bytes], ...]:
    """What lies between the numbers."""
    edges = [0, *(edge for number in numbers for edge in (number.start, number.stop)), len(data)]
    spans = zip(edges[::2], edges[1::2], strict=True)
    return tuple((start, stop, data[start:stop]) for start, stop in spans if start < stop)
