"""How the bytes of a shared-memory ring are laid out: a head that never changes, then slots.

    head   8 magic | 4 length of the JSON text | 4 its crc32 | JSON: slots, arrays [[name, dtype, shape], ...]
    4096   8 number of records written so far (a hint; the slots are what counts)
    8192   slot 0, slot 1, ...

    slot   0 sequence | 8 header_ns | 16 receive_ns | 24 sum of sequence, stamps and payload | 64 payload

The sequence of record n is 2n + 1 while it is being written and 2n + 2 when it is whole.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ladle.errors import ObservationError

MAGIC = b"LADLRNG2"
HEAD = struct.Struct("<8sII")
COUNT_AT = 4096
SLOTS_AT = 8192
PAYLOAD_AT = 64
ALIGNMENT = 64


@dataclass(frozen=True)
class ArraySpec:
    """One array of a record."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> ArraySpec:
        """With the dtype in numpy's short text form, little endian."""
        return cls(name, np.dtype(dtype).newbyteorder("<").str, tuple(int(n) for n in shape))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class RingLayout:
    """Arrays of a record and the number of slots; both ends of a ring agree on it through the head.

    Raises:
        ObservationError: fewer than two slots, or no arrays.
    """

    arrays: tuple[ArraySpec, ...]
    slots: int

    def __post_init__(self) -> None:
        if self.slots < 2 or not self.arrays or any("O" in a.dtype for a in self.arrays):
            raise ObservationError(f"a ring of {self.slots} slots with arrays {[a.name for a in self.arrays]}; it "
                                   "needs two slots or more, and arrays of plain numbers")

    @classmethod
    def like(cls, example: Mapping[str, NDArray[Any]], slots: int) -> RingLayout:
        """For records such as this one."""
        return cls(tuple(ArraySpec.of(name, a.dtype, a.shape) for name, a in example.items()), slots)

    @property
    def payload_bytes(self) -> int:
        """Of one record, each array on its alignment."""
        return sum(_aligned(a.nbytes) for a in self.arrays)

    @property
    def slot_bytes(self) -> int:
        """Distance between two slots."""
        return PAYLOAD_AT + self.payload_bytes

    @property
    def total_bytes(self) -> int:
        """Size of the segment."""
        return SLOTS_AT + self.slots * self.slot_bytes

    def offsets(self) -> dict[str, int]:
        """Where each array begins in the payload."""
        found, at = dict[str, int](), 0
        for array in self.arrays:
            found[array.name] = at
            at += _aligned(array.nbytes)
        return found

    def to_head(self) -> bytes:
        """Raises ObservationError when the arrays are too many to be described."""
        text = json.dumps({"slots": self.slots, "arrays": [[a.name, a.dtype, a.shape] for a in self.arrays]}).encode()
        if HEAD.size + len(text) > COUNT_AT:
            raise ObservationError(f"{len(self.arrays)} arrays are too many for one ring")
        return HEAD.pack(MAGIC, len(text), zlib.crc32(text)) + text

    @classmethod
    def from_head(cls, head: bytes) -> RingLayout | None:
        """None where the bytes are not a whole head of this version."""
        if len(head) < HEAD.size:
            return None
        magic, length, checksum = HEAD.unpack_from(head)
        text = head[HEAD.size : HEAD.size + length]
        if magic != MAGIC or len(text) != length or zlib.crc32(text) != checksum:
            return None
        said = json.loads(text)
        return cls(tuple(ArraySpec(name, dtype, tuple(shape)) for name, dtype, shape in said["arrays"]), said["slots"])


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
