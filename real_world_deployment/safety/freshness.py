"""How old something is that was stamped when it came."""

from __future__ import annotations

ROUNDING_S = 1e-3


def is_fresh(stamp_s: float, now_s: float, within_s: float) -> bool:
    """Whether it is no older than within_s. What is of the future, of a clock that was set, would be fresh for long."""
    return -ROUNDING_S <= now_s - stamp_s <= within_s
