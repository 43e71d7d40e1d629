"""A stage changes only after several equal decisions in a row; the same filter in training and on the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError


class StageFilter:
    """Holds a stage until another one was decided `ticks` times in a row. The first decision is taken as it is."""

    def __init__(self, ticks: int) -> None:
        if ticks < 1:
            raise ConfigError(f"hysteresis of {ticks} ticks; it must be at least 1 (1 switches at once)")
        self._ticks = ticks
        self._stage: int | None = None
        self._candidate: int | None = None
        self._count = 0

    @property
    def stage(self) -> int | None:
        """The stage held now; None before the first decision."""
        return self._stage

    def reset(self) -> None:
        """Forget the episode."""
        self._stage, self._candidate, self._count = None, None, 0

    def update(self, decision: int) -> int:
        """Take the decision of one tick and return the stage that holds after it."""
        if self._stage is None or decision == self._stage:
            self._stage = decision
            self._candidate, self._count = None, 0
            return self._stage
        self._count = self._count + 1 if decision == self._candidate else 1
        self._candidate = decision
        if self._count >= self._ticks:
            self._stage = decision
            self._candidate, self._count = None, 0
        return self._stage


def filter_stages(decisions: NDArray[np.integer], ticks: int) -> NDArray[np.int64]:
    """Run the filter over one episode: (T,) decisions, one a tick -> (T,) stages."""
    stage_filter = StageFilter(ticks)
    return np.array([stage_filter.update(int(decision)) for decision in decisions], dtype=np.int64)
