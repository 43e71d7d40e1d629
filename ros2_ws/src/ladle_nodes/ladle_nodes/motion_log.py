"""A raw file of what the simulated arm did in every cycle, for whoever judges it afterwards.

Rows of 23 float64: the time on the simulated clock in seconds, then seven each of the servo's set-points (rad), of the
measured positions (rad) and of the measured velocities (rad/s), then 1 while the arm is stopped (it follows nothing).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulation.reflex_model import CYCLE_S

Floats = NDArray[np.float64]

COLUMNS = 23
ROW_BYTES = COLUMNS * 8


class MotionLog:
    """Appends; what was added is in the file at once, whoever dies."""

    def __init__(self, path: str) -> None:
        """Begin the file; without a path nothing is written."""
        self._path = Path(path) if path else None
        if self._path is not None:
            self._path.write_bytes(b"")

    def add(self, motion: Floats | None, first_ns: int) -> None:
        """Rows (n, 22) of cycles that begin at `first_ns`; a row's time is the end of its cycle."""
        if self._path is not None and motion is not None:
            times_s = first_ns * 1e-9 + CYCLE_S * np.arange(1, len(motion) + 1)
            with self._path.open("ab") as file:
                file.write(np.column_stack([times_s, motion]).tobytes())


def read_motion(path: Path, first_row: int = 0) -> Floats:
    """(n, 23) the whole rows that are there, from one on."""
    values = np.fromfile(path, np.float64, offset=first_row * ROW_BYTES)
    return values[: len(values) // COLUMNS * COLUMNS].reshape(-1, COLUMNS)


def newest_motion(path: Path, count: int) -> Floats:
    """(n, 23) the last whole rows, at most so many; none before the file begins."""
    rows = path.stat().st_size // ROW_BYTES if path.is_file() else 0
    return read_motion(path, max(rows - count, 0)) if rows else np.zeros((0, COLUMNS))
