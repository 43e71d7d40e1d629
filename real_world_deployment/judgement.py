"""Whether what the policy says of its own decision lets the arm move."""

from __future__ import annotations

from ladle.policy import ActionChunk
from real_world_deployment.config import WatchdogBounds
from real_world_deployment.out_of_distribution import Caution, OutOfDistribution
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.classifier_watch import ClassifierWatch


class Judgement:
    """The monitor of what is unlike the demonstrations, and the classifier's certainty.

    Attributes:
        monitor: its verdict has the share of the speed that is left.
    """

    def __init__(self, bounds: WatchdogBounds) -> None:
        self.monitor = OutOfDistribution()
        self._classifier = ClassifierWatch(bounds)

    def reset(self) -> None:
        """Another run, or an operator overrules."""
        self.monitor.reset()
        self._classifier.reset()

    def update(self, chunk: ActionChunk) -> Trouble | None:
        """Take in a decision; why the arm had better rest, None if it may go on."""
        verdict = self.monitor.update(chunk.monitor)
        self._classifier.update(chunk)
        if verdict.caution is Caution.HOLD:
            return Trouble(Alarm.OUT_OF_DISTRIBUTION, verdict.reason)
        if self._classifier.is_uncertain:
            return Trouble(Alarm.CLASSIFIER_UNCERTAIN, self._classifier.reason)
        return None
