"""Whether the stage classifier knows where in the task the robot is."""

from __future__ import annotations

from ladle.policy import ActionChunk
from real_world_deployment.config import WatchdogBounds


class ClassifierWatch:
    """Counts decisions at which no stage is likely.

    At the border of two stages the one that holds is unlikely for a while (the hysteresis waits), so what counts is
    how likely the likeliest is, whichever that is.
    """

    def __init__(self, bounds: WatchdogBounds) -> None:
        self._bounds = bounds
        self.reset()

    def reset(self) -> None:
        """Forget the run, or what an operator overrules."""
        self.is_uncertain, self._uncertain, self._certain = False, 0, 0

    def update(self, chunk: ActionChunk) -> None:
        """Take in a decision; one without a classifier changes nothing."""
        if chunk.stage_probabilities is None:
            return
        if float(chunk.stage_probabilities.max()) < self._bounds.uncertain_below:
            self._uncertain, self._certain = self._uncertain + 1, 0
        else:
            self._uncertain, self._certain = 0, self._certain + 1
        if self._uncertain >= self._bounds.uncertain_decisions:
            self.is_uncertain = True
        elif self._certain >= self._bounds.uncertain_decisions:
            self.is_uncertain = False

    @property
    def reason(self) -> str:
        """What is seen while it is uncertain."""
        return f"no stage is likelier than {self._bounds.uncertain_below:g}"
