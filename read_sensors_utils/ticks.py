"""Which instants become ticks, and what the joints are at them.

Decision times are d_k = d_0 + k dt in the clock of the receive stamps. The first is the first at which every stream
has a sample and the joints are known at the observation time; the last is not after any stream's last sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from ladle.observation_time import StreamStamps
from ladle.resample import interpolate_vectors

Floats = NDArray[np.float64]


class TickSchedule:
    """Says, while a recording is replayed, which decision times have passed.

    Attributes:
        decisions_ns: the ticks so far.
    """

    def __init__(self, period_s: float, streams: Collection[str], is_valid: Callable[[int], bool]) -> None:
        """is_valid(decision_ns) is asked for candidates of the first tick, once every stream has a sample."""
        self._period_ns = period_s * 1e9
        self._waiting = set(streams)
        self._is_valid = is_valid
        self._origin_ns = 0
        self._candidate = 0
        self.decisions_ns: list[int] = []

    def due(self, before_ns: int) -> Iterator[int]:
        """Decision times before the next receipt, each once; call before the sample received then is taken in."""
        while not self._waiting:
            decision_ns = self._origin_ns + round(self._candidate * self._period_ns)
            if decision_ns >= before_ns:
                return
            self._candidate += 1
            if self.decisions_ns or self._is_valid(decision_ns):
                self.decisions_ns.append(decision_ns)
                yield decision_ns

    def received(self, stream: str, receive_ns: int) -> None:
        """A sample of the stream was taken in."""
        if stream in self._waiting:
            self._waiting.remove(stream)
            self._origin_ns = receive_ns

    @property
    def waiting_for(self) -> list[str]:
        """Streams without any sample yet."""
        return sorted(self._waiting)


def joints_seen(stamps: StreamStamps, joints_rad: Floats, decision_s: Floats, observation_s: Floats) -> Floats:
    """Joints at the observation times from what was received by the decision times: (N, n), (T,), (T,) -> (T, n)."""
    usable = _overtaking_removed(stamps)
    receive_s, capture_s, values = stamps.receive_s[usable], stamps.capture_s[usable], joints_rad[usable]
    received = np.searchsorted(receive_s, decision_s, side="right")
    rows = [interpolate_vectors(capture_s[:n], values[:n], at[None])[0]
            for n, at in zip(received, observation_s, strict=True)]
    return np.stack(rows)


def joints_measured(stamps: StreamStamps, joints_rad: Floats, at_s: Floats) -> Floats:
    """Joints at any instants from all samples, the newest held past the end: (N, n), (T,) -> (T, n)."""
    usable = _overtaking_removed(stamps)
    return interpolate_vectors(stamps.capture_s[usable], joints_rad[usable], at_s)


def _overtaking_removed(stamps: StreamStamps) -> NDArray[np.bool_]:
    """(N,) true for samples captured after everything that was received before them; the rest came too late."""
    newest_before = np.maximum.accumulate(np.concatenate([[-np.inf], stamps.header_s[:-1]]))
    return stamps.header_s > newest_before
