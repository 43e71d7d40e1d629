"""A key held down, as a terminal tells of it."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

# Consoles repeat a held key eleven times a second, most desktops 25 to 33 times.
REPEAT_S = 0.12
STROKES = 3


class HeldKey:
    """A terminal does not tell of a release: a key that is held comes again and again, from half a second on.

    So a key counts as held while its last three strokes came within REPEAT_S of one another and of now. A stroke by
    hand, or two, hold nothing.
    """

    def __init__(self) -> None:
        self._strokes_s: deque[float] = deque(maxlen=STROKES)

    def strike(self, at_s: float) -> None:
        """It came once more."""
        self._strokes_s.append(at_s)

    def is_held(self, now_s: float) -> bool:
        """Whether somebody holds it."""
        strokes_s = [*self._strokes_s, now_s]
        return len(strokes_s) > STROKES and all(0.0 <= after_s - before_s <= REPEAT_S
                                                for before_s, after_s in pairwise(strokes_s))
