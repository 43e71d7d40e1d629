"""What the measured latency allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.latency import LatencyMonitor, refuse_short_horizon

CHUNK = ActionChunk(0.0, 0.1 * np.arange(1, 16), {})  # 15 targets up to 1.5 s; decided at 0.05 s


def monitor(*latencies_s: float, window: int = 200) -> LatencyMonitor:
    """Having seen these."""
    made = LatencyMonitor(window)
    for latency_s in latencies_s:
        made.add(latency_s)
    return made


def test_percentiles_are_of_the_newest() -> None:
    """What has left the window does not count; nothing gives not-a-number; nonsense is refused."""
    assert np.isnan(monitor().p95_s)
    seen = monitor(9.0, 0.1, 0.2, 0.3, window=3)
    assert (len(seen), seen.p50_s) == (3, 0.2)
    assert seen.p95_s == pytest.approx(0.29)
    with pytest.raises(ValueError, match="nan"):
        seen.add(float("nan"))


def test_a_policy_slower_than_its_horizon_is_refused_by_both_numbers() -> None:
    """0.68 s fit into a horizon of 1.5 s, 0.75 s do not: the answer must come, and last until the next one has."""
    refuse_short_horizon(monitor(0.68), CHUNK, 0.05, DeploymentConfig(), 0.1, 8)
    with pytest.raises(DeploymentError, match=r"within 0\.750 s .* 15 targets ends after 1\.450 s .*_steps 8"):
        refuse_short_horizon(monitor(0.75), CHUNK, 0.05, DeploymentConfig(), 0.1, 8)


def test_a_slower_run_has_longer_chunks() -> None:
    """At a tenth of the speed the same chunk lasts ten times as long, and a policy of 0.75 s is fast enough."""
    refuse_short_horizon(monitor(0.75), CHUNK, 0.05, DeploymentConfig(speed=0.1), 0.1, 15)


@given(st.floats(0.0, 3.0), st.integers(1, 30), st.floats(0.0, 0.2))
def test_what_is_allowed_covers_every_switch(latency_s: float, replan_ticks: int, lead_s: float) -> None:
    """Played through: asked whenever the answer before is there and the pause is over, a chunk never ends too early."""
    config = DeploymentConfig(replan_ticks=replan_ticks, switch_lead_s=lead_s)
    try:
        refuse_short_horizon(monitor(latency_s), CHUNK, 0.05, config, 0.1, None)
    except DeploymentError:
        return
    asked_s = 0.0
    for _ in range(3):
        ends_s = asked_s + float(CHUNK.times_s[-1]) - 0.05
        asked_s = max(asked_s + replan_ticks * 0.1, asked_s + latency_s)
        assert asked_s + latency_s + lead_s <= ends_s + 1e-9


def test_the_tracking_delay_counts_against_the_horizon() -> None:
    """What just fits without one does not with 50 ms."""
    refuse_short_horizon(monitor(0.68), CHUNK, 0.05, DeploymentConfig(), 0.1, 8)
    with pytest.raises(DeploymentError, match="its horizon of 15 targets ends"):
        refuse_short_horizon(monitor(0.68), CHUNK, 0.05, DeploymentConfig(tracking_delay_s=0.05), 0.1, 8)


def test_a_few_slow_answers_count() -> None:
    """One of ten takes 1.4 s; nine of 0.1 s do not make up for it."""
    with pytest.raises(DeploymentError, match="its horizon of 15 targets ends"):
        refuse_short_horizon(monitor(*[0.1] * 9, 1.4), CHUNK, 0.05, DeploymentConfig(), 0.1, 8)
