"""The last seconds of one sensor's samples, in arrays that are never built anew."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ObservationError
from ladle.observation_time import StreamStamps, trusted_stamp_s
from ladle.sensor_config import CameraConfig, JointsConfig

Array = NDArray[np.float64]

KEPT_S = 3.0  # covers any window; older samples are dropped
FIRST_CAPACITY = 512
FORGET_EVERY = 64


class SampleStream:
    """Samples in order of receipt; one that was overtaken on its way, or is stamped in the future, is not kept.

    Stamps and values lie in the second half of arrays twice as long as needed, more or less: a sample is appended, and
    when the end is reached what is kept moves to the front. So what was asked for is a view, valid until the next
    sample.

    Args:
        width: numbers in a value; None where a value is an image, which is kept as it is.

    Attributes:
        ahead_s: how far in the future the sample received last was stamped, if that is why it is not kept; else 0.
        forgot: whether samples have been dropped.
    """

    def __init__(self, config: JointsConfig | CameraConfig, width: int | None = None) -> None:
        self.config = config
        self.forgot, self.ahead_s = False, 0.0
        self._header_s = np.empty(FIRST_CAPACITY)
        self._receive_s = np.empty(FIRST_CAPACITY)
        self._rows = None if width is None else np.empty((FIRST_CAPACITY, width))
        self._images: list[NDArray[Any]] = []
        self._first = self._end = 0
        self.newest_header_s = self._newest_receive_s = -math.inf

    def __len__(self) -> int:
        """How many are kept."""
        return self._end - self._first

    @property
    def header_s(self) -> Array:
        """(N,) strictly increasing."""
        return self._header_s[self._first:self._end]

    @property
    def receive_s(self) -> Array:
        """(N,) never decreasing."""
        return self._receive_s[self._first:self._end]

    @property
    def rows(self) -> Array:
        """(N, width) values of a stream of numbers."""
        assert self._rows is not None
        return self._rows[self._first:self._end]

    @property
    def images(self) -> list[NDArray[Any]]:
        """(N) values of a stream of images."""
        return self._images

    def stamps(self, first: int = 0) -> StreamStamps:
        """Of the samples from index `first` on."""
        return StreamStamps(self.header_s[first:], self.receive_s[first:], self.config.latency_s, self.config.rate_hz,
                            self.config.clock_offset_s)

    def add(self, name: str, header_s: float | None, receive_s: float, value: NDArray[Any]) -> None:
        """One sample, header_s None where it bears no stamp.

        Raises:
            ObservationError: a time is not finite, or the clock went back.
        """
        if not (math.isfinite(receive_s) and (header_s is None or math.isfinite(header_s))):
            raise ObservationError(f"{name}: stamp {header_s} or receipt {receive_s} is not finite")
        if receive_s < self._newest_receive_s:
            raise ObservationError(f"{name}: received at {receive_s:.3f} s after a sample received at "
                                   f"{self._newest_receive_s:.3f} s; the clock went back: stop and start the run again")
        stamp_s = trusted_stamp_s(header_s, receive_s, self.config.clock_offset_s)
        self.ahead_s = 0.0
        if stamp_s is None:
            assert header_s is not None
            self.ahead_s = header_s + self.config.clock_offset_s - receive_s
            return
        if stamp_s <= self.newest_header_s:
            return
        if self._end == len(self._header_s):
            self._make_room()
        self._header_s[self._end], self._receive_s[self._end] = stamp_s, receive_s
        if self._rows is None:
            self._images.append(value)
        else:
            self._rows[self._end] = value
        self._end += 1
        self.newest_header_s, self._newest_receive_s = stamp_s, receive_s
        if self._end % FORGET_EVERY == 0:
            self._forget(receive_s - KEPT_S)

    def _forget(self, before_s: float) -> None:
        """Drop what was received before an instant, but for the last of it."""
        drop = int(np.searchsorted(self.receive_s, before_s)) - 1
        if drop > 0:
            self._first += drop
            del self._images[:drop]
            self.forgot = True

    def _make_room(self) -> None:
        """Move what is kept to the front, of longer arrays if it fills more than half of these."""
        count = len(self)
        capacity = len(self._header_s) * (2 if 2 * count > len(self._header_s) else 1)
        self._header_s, self._receive_s = _moved(self.header_s, capacity), _moved(self.receive_s, capacity)
        if self._rows is not None:
            self._rows = _moved(self.rows, capacity)
        self._first, self._end = 0, count


def _moved(values: Array, capacity: int) -> Array:
    """The values (N, ...) at the front of a new array (capacity, ...)."""
    room = np.empty((capacity, *values.shape[1:]))
    room[:len(values)] = values
    return room
