"""Joint positions found by name: the same rule for a bag and for the robot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def joints_by_name(
    wanted: Sequence[str], names: Sequence[str], positions: Sequence[float]
) -> NDArray[np.float64] | None:
    """(n,) positions [rad] in the order of `wanted`, or None where `why_unusable` says why not."""
    if len(names) != len(positions):
        return None
    places = _places(tuple(wanted), tuple(names))
    if places is None:
        return None
    found = np.asarray(positions, dtype=np.float64)[places]
    return found if bool(np.isfinite(found).all()) else None


@lru_cache(maxsize=64)  # a publisher sends the same names a thousand times a second
def _places(wanted: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.intp] | None:
    places = {name: place for place, name in enumerate(names)}
    return None if any(name not in places for name in wanted) else np.array([places[name] for name in wanted], np.intp)


def why_unusable(wanted: Sequence[str], names: Sequence[str], positions: Sequence[float]) -> str:
    """What keeps a joint state from telling the wanted joints, for people."""
    if not names:
        return f"holds {len(positions)} positions and no names"
    if len(names) != len(positions):
        return f"holds {len(names)} names but {len(positions)} positions"
    missing = [name for name in wanted if name not in names]
    if missing:
        return f"lacks {', '.join(missing)}; it holds {', '.join(names)}"
    places = {name: place for place, name in enumerate(names)}
    values = {name: float(positions[places[name]]) for name in wanted}
    return "holds positions that are not finite: " + ", ".join(
        f"{name} {value}" for name, value in values.items() if not np.isfinite(value))
