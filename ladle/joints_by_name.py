"""Joint positions found by name: the same rule for a bag and for the robot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.arm_config import LimitsConfig

# A joint a little beyond its limit was pushed there or is not calibrated; so far beyond, the number is wrong.
BEYOND_LIMIT_RAD = 0.5


class Believable(NamedTuple):
    """Positions [rad] that an arm can have: (n,) least, (n,) most, in the order of the task's joints."""

    least_rad: tuple[float, ...]
    most_rad: tuple[float, ...]

    def holds(self, positions_rad: Sequence[float]) -> bool:
        """Whether all of the (n,) positions are within."""
        for position, least, most in zip(positions_rad, self.least_rad, self.most_rad, strict=True):
            if not least <= position <= most:
                return False
        return True

    def each_holds(self, positions_rad: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`holds` of each of (N, n) positions."""
        within = (positions_rad >= np.array(self.least_rad)) & (positions_rad <= np.array(self.most_rad))
        return np.all(within, axis=1)


def believable_positions(limits: LimitsConfig | None) -> Believable | None:
    """What the task's limits allow to believe; None where it has none."""
    if limits is None:
        return None
    return Believable(tuple(low - BEYOND_LIMIT_RAD for low in limits.position_lower_rad),
                      tuple(high + BEYOND_LIMIT_RAD for high in limits.position_upper_rad))


def joints_by_name(
    wanted: Sequence[str], names: Sequence[str], positions: Sequence[float], believable: Believable | None = None,
) -> NDArray[np.float64] | None:
    """(n,) positions [rad] in the order of `wanted`, or None where `why_unusable` says why not."""
    if len(names) != len(positions):
        return None
    places = _places(tuple(wanted), tuple(names))
    if places is None:
        return None
    found = np.asarray(positions, dtype=np.float64)[places]
    if not np.isfinite(found).all() or (believable is not None and not believable.holds(found.tolist())):
        return None
    return found


@lru_cache(maxsize=64)  # a publisher sends the same names a thousand times a second
def _places(wanted: tuple[str, ...], names: tuple[str, ...]) -> NDArray[np.intp] | None:
    """Where each wanted name is; None where one is missing or there twice."""
    if any(names.count(name) != 1 for name in wanted):
        return None
    return np.array([names.index(name) for name in wanted], np.intp)


def speaks_of(wanted: Sequence[str], names: Sequence[str], positions: Sequence[float]) -> bool:
    """Whether a joint state is about the wanted joints: it names them all, or nothing and holds as many positions.

    Others, as those of a gripper on the same topic, are to be passed over.
    """
    return set(wanted).issubset(names) if any(names) else len(positions) == len(wanted)


def why_unusable(wanted: Sequence[str], names: Sequence[str], positions: Sequence[float],
                 believable: Believable | None = None) -> str:
    """What keeps a joint state from telling the wanted joints, for people."""
    if not any(names):
        return f"holds {len(positions)} positions and no names"
    if len(names) != len(positions):
        return f"holds {len(names)} names but {len(positions)} positions"
    missing = [name for name in wanted if name not in names]
    if missing:
        return f"lacks {', '.join(missing)}; it holds {', '.join(names)}"
    places = {name: place for place, name in enumerate(names)}
    repeated = [name for name in wanted if list(names).count(name) > 1]
    if repeated:
        return f"names {', '.join(repeated)} more than once, so nobody knows which position is meant"
    values = [float(positions[places[name]]) for name in wanted]
    infinite = [f"{name} {value}" for name, value in zip(wanted, values, strict=True) if not np.isfinite(value)]
    if infinite or believable is None:
        return f"holds positions that are not finite: {', '.join(infinite)}"
    return f"holds positions more than {BEYOND_LIMIT_RAD} rad beyond the task's limits: " + ", ".join(
        f"{name} {value:.3f} rad" for name, value, least, most in zip(wanted, values, *believable, strict=True)
        if not least <= value <= most)
