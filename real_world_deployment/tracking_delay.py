"""How late the arm follows what it is commanded: commanded against measured joints.

The delay is the shift of the command that leaves the smallest squared distance to what was measured, over all joints
(the peak of their cross-correlation, told from a constant offset and where neither repeats itself), refined between
the steps of the search by a parabola through the three best (e.g. Jacovitti and Scarano 1993, "Discrete time
techniques for time delay estimation", eq. 12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError

Array = NDArray[np.float64]

STEP_S = 0.001
LONGEST_S = 0.3
LEAST_TRAVEL_RAD = 0.02  # less than this is noise and friction
LEAST_SAMPLES = 50


@dataclass(frozen=True)
class TrackingDelay:
    """The delay, and how well the shifted command explains what was measured.

    Attributes:
        delay_s: from the command's time to the arm being there.
        residual_rad: root mean square distance that is left, over all joints.
        travel_rad: how far the joint that moved most has moved.
    """

    delay_s: float
    residual_rad: float
    travel_rad: float


def tracking_delay(commanded_s: Array, commanded_rad: Array, measured_s: Array, measured_rad: Array,
                   longest_s: float = LONGEST_S) -> TrackingDelay:
    """Compare a command with what was measured on the same clock.

    Args:
        commanded_s, measured_s: (n,) and (m,) increasing times.
        commanded_rad, measured_rad: (n, J) and (m, J) joints.
        longest_s: delays from 0 to this are considered.

    Raises:
        MotionError: too few samples in common, too little motion, or no delay in the range fits.
    """
    inside = (measured_s >= commanded_s[0] + longest_s) & (measured_s <= commanded_s[-1])
    times_s, rows = measured_s[inside], measured_rad[inside]
    if len(times_s) < LEAST_SAMPLES:
        raise MotionError(f"{len(times_s)} measured joints lie within the command, {LEAST_SAMPLES} are needed; is the "
                          "recording longer than a moment, and on the command's clock?")
    travel_rad = float(np.ptp(rows, axis=0).max())
    if travel_rad < LEAST_TRAVEL_RAD:
        raise MotionError(f"no joint moved by more than {travel_rad:.4f} rad, {LEAST_TRAVEL_RAD} are needed to see a "
                          "delay; record a run with motion in it, homing is enough")

    def distance(delay_s: float) -> float:
        shifted = np.column_stack([np.interp(times_s - delay_s, commanded_s, q) for q in commanded_rad.T])
        error = rows - shifted
        return float(np.mean((error - error.mean(axis=0)) ** 2))  # a constant offset is not a delay

    delays_s = np.arange(0.0, longest_s + STEP_S / 2, STEP_S)
    distances = np.array([distance(delay_s) for delay_s in delays_s])
    best = int(np.argmin(distances))
    if best == len(delays_s) - 1:
        raise MotionError(f"the arm follows later than {longest_s} s, or not this command; are both on one clock?")
    delay_s = float(delays_s[best])
    if best > 0:
        before, here, after = distances[best - 1 : best + 2]
        bend = before - 2 * here + after
        if bend > 0:
            delay_s += 0.5 * STEP_S * float((before - after) / bend)
    return TrackingDelay(delay_s, float(np.sqrt(distance(delay_s))), travel_rad)
