"""Hold-to-run: the arm moves only while a person holds a button or key."""

from __future__ import annotations

from real_world_deployment.safety.freshness import is_fresh


class HoldToRun:
    """Remembers when the button was last seen, and how.

    Args:
        within_s: so long after it was last seen pressed it counts as held; a joystick must report more often. One
            that falls silent counts as let go.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._pressed_s: float | None = None

    def see(self, is_pressed: bool, at_s: float) -> None:
        """A report of the button."""
        self._pressed_s = at_s if is_pressed else None

    def is_held(self, now_s: float) -> bool:
        """Whether the arm may move. A report from the future, of a clock that was set, does not count."""
        return self._pressed_s is not None and is_fresh(self._pressed_s, now_s, self._within_s)
