"""How smoothly the arm was driven: jerk of the set-points, as the robot's own controller would differentiate them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulation.reflex_model import CYCLE_S


class JerkMeter:
    """Root mean square of the joints' jerk over the cycles in which the arm was moved.

    Cycles at rest are left out: else a scheme that stands half of the time would pass for a smooth one.
    """

    def __init__(self) -> None:
        self._last_rad: NDArray[np.float64] | None = None
        self._squares, self._n = 0.0, 0

    def add(self, setpoints_rad: NDArray[np.float64]) -> None:
        """Set-points (n, J) of the next n cycles."""
        known = setpoints_rad if self._last_rad is None else np.concatenate([self._last_rad, setpoints_rad])
        self._last_rad = known[-3:]
        if len(known) < 4:
            return
        moved: NDArray[np.bool_] = np.any(np.diff(known, axis=0) != 0.0, axis=1)
        counts = np.logical_or.reduce([moved[2:], moved[1:-1], moved[:-2]])
        third: NDArray[np.float64] = np.diff(known, 3, axis=0)
        jerk = third[counts] / CYCLE_S**3
        self._squares += float(np.sum(jerk**2))
        self._n += jerk.size

    @property
    def rms_rad_s3(self) -> float:
        """Over joints and cycles; 0 for an arm that never moved."""
        return float(np.sqrt(self._squares / self._n)) if self._n else 0.0
