"""The time of a stream of set-points: it runs evenly, whatever is done to the system's clock."""

from __future__ import annotations

import time
from collections.abc import Callable

NS = 1e-9
# Two readings of clocks that take longer than this have been interrupted, and say nothing of their difference.
READING_NS = 200_000
STEP_NS = 2_000_000


class StreamClock:
    """Seconds since it was made: of this machine's monotonic clock, or of the simulator's.

    Plans are stamped on the ROS clock, which may be set. Those that come afterwards are read by the clock as it is
    then; those that are being carried out go on evenly.

    Attributes:
        start_ns: second 0 on the ROS clock, as it is set now.
    """

    def __init__(self, ros_ns: Callable[[], int], is_simulated: bool,
                 monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._ros_ns, self._is_simulated, self._monotonic_ns = ros_ns, is_simulated, monotonic_ns
        self._begin_ns = monotonic_ns()
        self.start_ns = ros_ns()  # small numbers from here on: a float holds the ROS clock only to 0.2 us

    def at_s(self, monotonic_s: float) -> float:
        """The stream's time at an instant of the monotonic clock; the present one where time is simulated."""
        if self._is_simulated:
            return (self._ros_ns() - self.start_ns) * NS
        return monotonic_s - self._begin_ns * NS

    def was_set(self) -> bool:
        """Whether the ROS clock has been set since the last call; follows it."""
        if self._is_simulated:
            return False
        before_ns = self._monotonic_ns()
        start_ns = self._ros_ns() - (before_ns - self._begin_ns)
        if self._monotonic_ns() - before_ns > READING_NS or abs(start_ns - self.start_ns) <= STEP_NS:
            return False
        self.start_ns = start_ns
        return True
