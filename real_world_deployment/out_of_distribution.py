"""What to do about an observation that is unlike the demonstrations: go on, slow down, or hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from ladle.policy import MonitorScore

SLOW_SPEED = 0.5        # share of the speed while slowed down
WORSE_AFTER = 2         # decisions in a row: a single one may be the noise of a few samples
BETTER_AFTER = 3        # decisions in a row that must be well below a limit before its level is left
WELL_BELOW = 0.9        # share of the limit


class Caution(IntEnum):
    """How the robot may move."""

    NONE = 0
    SLOW = 1
    HOLD = 2


@dataclass(frozen=True)
class Verdict:
    """What holds after a decision.

    Attributes:
        caution: the level, hysteresis included.
        reason: the score that is farthest beyond its limit and its numbers; empty without caution.
    """

    caution: Caution = Caution.NONE
    reason: str = ""

    @property
    def speed_factor(self) -> float:
        """Share of the speed that is left: 1, SLOW_SPEED or 0."""
        return (1.0, SLOW_SPEED, 0.0)[self.caution]


class OutOfDistribution:
    """Scores, decision by decision, to a verdict: worse and better only after several decisions in a row.

    From no caution to hold it takes WORSE_AFTER decisions beyond the upper limit. Better is one level at a time.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the run."""
        self.verdict = Verdict()
        self._worse: list[Caution] = []
        self._better = 0

    def update(self, scores: Mapping[str, MonitorScore] | None) -> Verdict:
        """Take in one decision's scores; without scores everything stays as it is."""
        if not scores:
            return self.verdict
        worst = max(scores.items(), key=lambda item: _share(item[1]))
        held = self.verdict.caution
        self._worse = [*self._worse, _level(scores, 1.0)][-WORSE_AFTER:]
        self._better = self._better + 1 if _level(scores, WELL_BELOW) < held else 0
        agreed = min(self._worse) if len(self._worse) == WORSE_AFTER else Caution.NONE
        if agreed > held:
            self._better = 0
            self.verdict = Verdict(agreed, _told(*worst))
        elif self._better >= BETTER_AFTER:
            self._better = 0
            lower = Caution(held - 1)
            self.verdict = Verdict(lower, self.verdict.reason if lower else "")
        return self.verdict


def _level(scores: Mapping[str, MonitorScore], share: float) -> Caution:
    """The highest level whose limit, times the share, is exceeded; what is no number exceeds all."""
    levels = [Caution.NONE]
    for score in scores.values():
        if not score.value <= share * score.hold_above:
            levels.append(Caution.HOLD)
        elif not score.value <= share * score.slow_above:
            levels.append(Caution.SLOW)
    return max(levels)


def _share(score: MonitorScore) -> float:
    """Of the limit for slow; what is no number counts most."""
    share = score.value / score.slow_above if score.slow_above > 0 else float("inf")
    return share if share == share else float("inf")


def _told(name: str, score: MonitorScore) -> str:
    return (f"unlike the demonstrations: {name} {score.value:.3g}, slow above {score.slow_above:.3g}, hold above "
            f"{score.hold_above:.3g}")
