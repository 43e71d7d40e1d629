"""Memory through which one process hands arrays to another that it forks."""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """Where an array lies in the shared memory."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class SharedArrays:
    """Arrays that are taken in the order in which they were put: a ring. It has no name, so no kill leaves it behind.

    Attributes:
        end: bytes that were ever put or skipped at the ring's end; give it to `release` when all up to here is done.
    """

    def __init__(self, n_bytes: int) -> None:
        self._bytes = np.frombuffer(mmap.mmap(-1, n_bytes), np.uint8)
        self._released = 0
        self.end = 0

    @property
    def is_half_empty(self) -> bool:
        """Whether at most half of the memory is in use."""
        return self.end - self._released <= len(self._bytes) // 2

    def put(self, array: NDArray[Any]) -> Place | None:
        """Copy an array into the memory; None while there is no room for it."""
        if self._released == self.end:
            self._released = self.end = -(-self.end // len(self._bytes)) * len(self._bytes)  # empty: from the front
        start = self.end % len(self._bytes)
        skipped = len(self._bytes) - start if start + array.nbytes > len(self._bytes) else 0
        if self.end + skipped + array.nbytes - self._released > len(self._bytes):
            return None
        place = Place((start + skipped) % len(self._bytes), array.dtype, array.shape)
        np.copyto(self._at(place), array)
        self.end += skipped + array.nbytes
        return place

    def get(self, place: Place) -> NDArray[Any]:
        """The array itself, not to be written to: the other process may write there as soon as it is released."""
        array = self._at(place)
        array.flags.writeable = False
        return array

    def release(self, end: int) -> None:
        """What was put up to this `end` is done with."""
        self._released = end

    def _at(self, place: Place) -> NDArray[Any]:
        n_bytes = int(np.prod(place.shape)) * place.dtype.itemsize
        return self._bytes[place.start : place.start + n_bytes].view(place.dtype).reshape(place.shape)
