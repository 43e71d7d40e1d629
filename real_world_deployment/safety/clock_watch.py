"""Whether the run's clock runs on evenly."""

from __future__ import annotations

SETTLE_S = 1.0


class ClockWatch:
    """Notes every tick; a clock that went back or leapt is not trusted until it has run evenly for SETTLE_S.

    Args:
        leap_s: nobody ticks a loop so seldom: the clock was set, or the process stood still.
    """

    def __init__(self, leap_s: float) -> None:
        self._leap_s = leap_s
        self._last_s: float | None = None
        self._jump: tuple[float, float] | None = None  # when it was seen, and how far

    def note(self, now_s: float) -> None:
        """A tick at now_s."""
        if self._last_s is not None and not 0.0 <= now_s - self._last_s <= self._leap_s:
            self._jump = now_s, now_s - self._last_s
        self._last_s = now_s

    def problem(self, now_s: float) -> str | None:
        """What is wrong with the clock, None if nothing is."""
        if self._jump is None or now_s >= self._jump[0] + SETTLE_S:
            return None
        return f"jumped by {self._jump[1]:+.3f} s at {self._jump[0]:.3f} s"
