"""One stream's stamps while its recording is replayed: which are reckoned with, and which capture is the newest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.observation_time import StreamStamps, trusted_stamp_s, trusted_stamps
from ladle.sensor_config import CameraConfig, JointsConfig
from read_sensors_utils.clocks import FOREIGN_CLOCK_NS, ClockMap, clock_offset_ns

Stamps = NDArray[np.int64]

NS = 1e-9


class StreamClock:
    """Decides every sample at its receipt, as the robot has to.

    Attributes:
        trusted: whether the stamp of each sample so far is reckoned with; the others are as if never received, though
            their images are in the videos.
        newest: (header_ns, receive_ns) of the sample captured last so far; None before the first.
        first: the same of the first sample.
    """

    def __init__(self, config: CameraConfig | JointsConfig, start_ns: int, *, any_origin: bool) -> None:
        """start_ns: zero of the seconds; any_origin: stamps that are all far in the future are of another clock."""
        self._config, self._start_ns, self._any_origin = config, start_ns, any_origin
        self._known_ns, self._latency_ns = round(config.clock_offset_s / NS), round(config.latency_s / NS)
        self._fastest_ns: int | None = None
        self._newest_stamp_ns = 0
        self.trusted: list[bool] = []
        self.newest: tuple[int, int] | None = None
        self.first: tuple[int, int] | None = None

    def add(self, header_ns: int, receive_ns: int) -> bool:
        """Take in a sample, header_ns 0 where it bears no stamp; True if it is the newest capture now."""
        stamp_ns = self._trusted_ns(header_ns, receive_ns)
        self.trusted.append(stamp_ns is not None)
        if stamp_ns is None:
            return False
        delay_ns = receive_ns - header_ns - self._known_ns
        if header_ns:
            self._fastest_ns = delay_ns if self._fastest_ns is None else min(self._fastest_ns, delay_ns)
        # A receipt cannot be compared with a stamp of another origin: there any stamp counts as later.
        unlike = self.newest is not None and self.newest[0] == 0 != header_ns and delay_ns > FOREIGN_CLOCK_NS
        if self.newest is not None and stamp_ns <= self._newest_stamp_ns and not unlike:
            return False
        self.newest, self._newest_stamp_ns = (header_ns, receive_ns), stamp_ns
        self.first = self.first or self.newest
        return True

    def add_many(self, header_ns: Stamps, receive_ns: Stamps) -> None:
        """`add` (N,) samples at once."""
        newest = self.newest
        if self._any_origin or newest is None or newest[0] == 0 or not np.all(header_ns):
            for stamps_ns in zip(header_ns.tolist(), receive_ns.tolist(), strict=True):
                self.add(*stamps_ns)
            return
        are_trusted = trusted_stamps(_seconds(header_ns - self._start_ns), _seconds(receive_ns - self._start_ns),
                                     self._config.clock_offset_s)
        self.trusted += are_trusted.tolist()
        header_ns, receive_ns = header_ns[are_trusted], receive_ns[are_trusted]
        if not len(header_ns):
            return
        fastest_ns = int(np.min(receive_ns - header_ns)) - self._known_ns
        self._fastest_ns = fastest_ns if self._fastest_ns is None else min(self._fastest_ns, fastest_ns)
        last = int(np.argmax(header_ns))
        if header_ns[last] > self._newest_stamp_ns:
            self.newest, self._newest_stamp_ns = (int(header_ns[last]), int(receive_ns[last])), int(header_ns[last])

    def capture_ns(self, sample: tuple[int, int]) -> int:
        """When a sample (header_ns, receive_ns) was taken, on the receive clock as far as it is known by now."""
        header_ns, receive_ns = sample
        if header_ns == 0 or self._fastest_ns is None:
            return receive_ns - self._latency_ns
        shift_ns = clock_offset_ns(np.zeros(1, np.int64), np.array([self._fastest_ns], np.int64))
        return header_ns + self._known_ns + shift_ns - self._latency_ns

    def known(self, header_ns: Stamps, receive_ns: Stamps) -> tuple[Stamps, Stamps]:
        """Of (N,) stamps those that tell about the clock, with what the task file knows of it added."""
        telling = np.array(self.trusted, np.bool_) & (header_ns != 0)
        return header_ns[telling] + self._known_ns, receive_ns[telling]

    def stamps(self, header_ns: Stamps, receive_ns: Stamps, clock: ClockMap) -> StreamStamps:
        """Of (N,) stamps the trusted ones, in seconds on the receive clock."""
        trusted = np.array(self.trusted, np.bool_)
        receive_s = _seconds(receive_ns[trusted] - self._start_ns)
        header_s = np.where(header_ns[trusted] == 0, receive_s - self._config.clock_offset_s,
                            _seconds(clock.apply(header_ns[trusted]) - self._start_ns))
        return StreamStamps(header_s, receive_s, self._config.latency_s, self._config.rate_hz,
                            self._config.clock_offset_s)

    def _trusted_ns(self, header_ns: int, receive_ns: int) -> int | None:
        if header_ns == 0:
            return receive_ns - self._known_ns
        if self._any_origin and header_ns + self._known_ns - receive_ns > FOREIGN_CLOCK_NS:
            return header_ns
        if self._any_origin:
            self._go_by_this_origin()
        header_s, receive_s = float(header_ns - self._start_ns) * NS, float(receive_ns - self._start_ns) * NS
        return None if trusted_stamp_s(header_s, receive_s, self._config.clock_offset_s) is None else header_ns


    def _go_by_this_origin(self) -> None:
        """A stamp near its receipt: those far in the future, before and after it, are wrong ones."""
        self._any_origin = False
        if any(self.trusted) and self._fastest_ns is not None and self._fastest_ns < -FOREIGN_CLOCK_NS:
            self.trusted = [False] * len(self.trusted)
            self.newest = self.first = self._fastest_ns = None


def _seconds(nanoseconds: Stamps) -> NDArray[np.float64]:
    return nanoseconds.astype(np.float64) * NS
