"""How long the policy takes, measured all the time, and whether its horizon can cover that."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk
from real_world_deployment.chunking import waits_for_rest
from real_world_deployment.config import DeploymentConfig

log = logging.getLogger(__name__)

WINDOW = 200


class LatencyMonitor:
    """The last latencies, from the question to its answer being there to be used.

    Args:
        window: how many are kept.
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._seconds: deque[float] = deque(maxlen=window)

    def add(self, latency_s: float) -> None:
        """One more. Raises ValueError for one that cannot be."""
        if not (np.isfinite(latency_s) and latency_s >= 0):
            raise ValueError(f"a latency of {latency_s} s cannot be")
        self._seconds.append(latency_s)

    def clear(self) -> None:
        """Forget all: what comes is of another kind."""
        self._seconds.clear()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._seconds)

    @property
    def p50_s(self) -> float:
        """Median; not a number before the first."""
        return self._percentile(50)

    @property
    def p95_s(self) -> float:
        """Nineteen of twenty are at most this; not a number before the first."""
        return self._percentile(95)

    def _percentile(self, percent: float) -> float:
        return float(np.percentile(self._seconds, percent)) if self._seconds else float("nan")


def refuse_short_horizon(latency: LatencyMonitor, chunk: ActionChunk, decided_s: float, config: DeploymentConfig,
                         period_s: float, n_action_steps: int | None) -> None:
    """A chunk must last until the next one has been thought of and has reached the controller.

    Asked at d with latency L, a chunk is used until the switch to its successor, at d + max(replan, L) + L + lead.
    Where chunks wait for rest there is no such switch, and any horizon will do.

    Args:
        chunk: an answer of this policy, to a window decided at decided_s.
        period_s: of the task, at full speed.
        n_action_steps: how many of its targets the policy means to be used; beyond them is only warned of.

    Raises:
        DeploymentError: the chunk ends before; the arm would come to rest between any two chunks.
    """
    if waits_for_rest(config.chunking):
        return
    slow_s, dt = latency.p95_s, period_s / config.speed
    needed_s = max(config.replan_ticks * dt, slow_s) + slow_s + config.switch_lead_s + config.tracking_delay_s
    # At a lower speed the chunk is carried out over a longer time.
    covered_s = float(chunk.times_s[-1] - chunk.observation_time_s) / config.speed - (
        decided_s - chunk.observation_time_s)
    what = (f"the policy answers within {slow_s:.3f} s (95 % of {len(latency)} questions), so a chunk is used for up "
            f"to {needed_s:.3f} s after its decision")
    if needed_s > covered_s:
        raise DeploymentError(f"{what}, but its horizon of {len(chunk.times_s)} targets ends after {covered_s:.3f} s "
                              f"(n_action_steps {n_action_steps or len(chunk.times_s)} x {dt:g} s); use fewer "
                              "denoising steps, a faster machine, or train with a longer horizon and n_action_steps")
    if n_action_steps is not None and needed_s > covered_s - (len(chunk.times_s) - n_action_steps) * dt:
        log.warning("%s, which is beyond its n_action_steps %d x %g s", what, n_action_steps, dt)
