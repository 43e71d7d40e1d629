"""Whether plans arrive at the controller, by their acknowledgements."""

from __future__ import annotations

from collections.abc import Callable

ROUNDING_S = 1e-6


class Arrivals:
    """Watches what was sent last: once it has been missing for too long, it stays missing until a motion begins anew.

    A controller that has heard nothing for so long leaves, soon after, what it holds. A plan that comes to it then
    speaks of a motion that it does not make any more: a step.

    Args:
        all_acknowledged: whether every reader has all that was sent and is still of use.
        allowed_s: for so long an acknowledgement may be under way.
        longest_look_s: a look counts for so long at the most: a process that stood still has not heard what came.
    """

    def __init__(self, all_acknowledged: Callable[[], bool], allowed_s: float, longest_look_s: float) -> None:
        self._all_acknowledged = all_acknowledged
        self._allowed_s, self._longest_look_s = allowed_s, longest_look_s
        self.begin_anew()

    def begin_anew(self) -> None:
        """What was sent so far does not matter any more."""
        self._are_missing = self._is_open = False
        self._looked_s = self._open_s = 0.0

    def note_sent(self, now_s: float) -> None:
        """A plan has been sent."""
        if not self._is_open:
            self._is_open, self._looked_s, self._open_s = True, now_s, 0.0

    def are_missing(self, now_s: float) -> bool:
        """Whether plans have been missing for too long since a motion began; to be asked at every tick."""
        if not self._is_open or self._are_missing:
            return self._are_missing
        if self._all_acknowledged():
            self._is_open = False
            return False
        self._open_s += min(max(now_s - self._looked_s, 0.0), self._longest_look_s)
        self._looked_s = now_s
        self._are_missing = self._open_s >= self._allowed_s - ROUNDING_S
        return self._are_missing
