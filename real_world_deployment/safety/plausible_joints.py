"""Whether an arm can be where its joint states say, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ladle.arm_config import LimitsConfig
from ladle.errors import ImplausibleJointsError

Array = NDArray[np.float64]

# A reflex or a push is faster than the limits of commands, but no arm jumps.
TOO_FAST = 3.0
NOISE_RAD = 0.05


class PlausibleJoints:
    """Looks at every joint state against the one before.

    Args:
        limits: of the task; without any, steps are not judged.
    """

    def __init__(self, limits: LimitsConfig | None) -> None:
        self._fastest_rad_s = None if limits is None else TOO_FAST * np.array(limits.velocity_rad_s)
        self._last: tuple[float, Array] | None = None

    def check(self, stamp_s: float, q_rad: Array, velocity: Sequence[float]) -> None:
        """Take in positions (J,) with a stamp, and the velocities as they came.

        Raises:
            ImplausibleJointsError: a velocity is not finite, or the step since the last sample is absurd. That sample
                does not count.
        """
        if not all(map(math.isfinite, velocity)):
            raise ImplausibleJointsError(f"a joint state has velocities that are not finite: {list(velocity)}")
        if self._last is not None and self._fastest_rad_s is not None:
            last_s, last_rad = self._last
            step_rad, apart_s = np.abs(q_rad - last_rad), abs(stamp_s - last_s)
            if (step_rad > NOISE_RAD + self._fastest_rad_s * apart_s).any():
                joint = int(np.argmax(step_rad))
                raise ImplausibleJointsError(f"joint {joint + 1} of a joint state is {step_rad[joint]:.3f} rad from "
                                             f"where it was {stamp_s - last_s:.3f} s before")
            if stamp_s <= last_s:
                return  # overtaken on its way
        self._last = stamp_s, q_rad
