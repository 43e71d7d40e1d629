"""Bytes of a recording by offset. Read, not mapped: a file that shrinks must not kill the process."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError

WINDOW_BYTES = 16_384  # holds the index records behind one chunk and the head of the next
BEGIN_BYTES = 1024  # of a message that may be left in the file: hold what comes before an image's pixels


class FileBytes:
    """Random access to one file whose size is taken once, at opening.

    Attributes:
        size: bytes of the file when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._window = b""
        self._window_start = 0
        try:
            self._file = path.open("rb", buffering=0)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise BagError(f"cannot open {path}: {error.strerror}; check the path and the rights to read it") from error

    def read(self, offset: int, size: int) -> bytes:
        """Exactly size bytes.

        Raises:
            BagError: the file has become shorter, or the disk fails.
        """
        return _read(self._file.fileno(), self.path, offset, size)

    def left(self, offset: int, size: int, head: memoryview) -> LeftBytes:
        """These bytes, to be read by whoever needs them; head: the first of them."""
        return LeftBytes(FilePlace(self._file.fileno(), self.path, offset), size, head)

    def peek(self, offset: int, size: int) -> bytes:
        """Up to size bytes, less only at the end of the file; meant for small pieces in rising order."""
        size = max(0, min(size, self.size - offset))
        at = offset - self._window_start
        if at < 0 or at + size > len(self._window):
            self._window = self.read(offset, max(size, min(WINDOW_BYTES, self.size - offset)))
            self._window_start, at = offset, 0
        return self._window[at : at + size]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class LeftPlace(Protocol):
    """Where bytes were left: a process forked since can read them too."""

    def read(self, at: int, size: int) -> bytes:
        """So many bytes, from the at-th on."""
        ...


class FilePlace(NamedTuple):
    """In an open file, from the offset on."""

    descriptor: int
    path: Path
    offset: int

    def read(self, at: int, size: int) -> bytes:
        """So many bytes, from the at-th on. Raises BagError as `FileBytes.read`."""
        return _read(self.descriptor, self.path, self.offset + at, size)


class LeftBytes(NamedTuple):
    """Bytes that were left in a file, but for the first ones."""

    place: LeftPlace
    size: int
    head: memoryview

    def read(self) -> bytes:
        """All of them."""
        return self.place.read(0, self.size)

    def array(self, at: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> LeftArray:
        """The array that the at-th and the following bytes are."""
        return LeftArray(self.place, at, dtype, shape)


class LeftArray(NamedTuple):
    """An array that was left in a file."""

    place: LeftPlace
    at: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        """The array, not to be written to."""
        data = self.place.read(self.at, self.dtype.itemsize * math.prod(self.shape))
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def _read(descriptor: int, path: Path, offset: int, size: int) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing:
        try:
            part = os.pread(descriptor, missing, offset + size - missing)
        except OSError as error:
            raise BagError(f"cannot read {path} at byte {offset}: {error.strerror}; check the disk, "
                           "or copy the recording again") from error
        if not part:
            raise BagError(f"{path} became shorter while it was read: it ends before byte {offset + size}; "
                           "wait until it is fully copied or recorded, then try again")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
