"""Scores to caution, and the arm's rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, MonitorScore, ObservationWindow
from ladle.task import TaskConfig
from real_world_deployment.loop_state import LoopState
from real_world_deployment.out_of_distribution import Caution, OutOfDistribution
from real_world_deployment.safety.alarms import Alarm

NONE, SLOW, HOLD = Caution.NONE, Caution.SLOW, Caution.HOLD


def scores(*values: float) -> dict[str, MonitorScore]:
    """Slow above 1, hold above 2."""
    return {name: MonitorScore(value, 1.0, 2.0)
            for name, value in zip(("spread", "distance", "disagreement"), values, strict=False)}


@pytest.mark.parametrize(("values", "expected"), [
    ([0.5, 1.5, 0.5, 1.5], [NONE] * 4),                                     # single ones do nothing
    ([1.5, 1.5, 1.5], [NONE, SLOW, SLOW]),
    ([2.5, 2.5], [NONE, HOLD]),
    ([1.5, 2.5, 2.5], [NONE, SLOW, HOLD]),
    ([2.5, 2.5, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5], [NONE, HOLD, HOLD, HOLD, SLOW, SLOW, SLOW, NONE]),
    ([1.5, 1.5, 0.95, 0.95, 0.95, 0.95], [NONE] + [SLOW] * 5),              # just below is not well below
    ([1.5, 1.5, 0.5, 0.5, 1.5, 0.5, 0.5], [NONE] + [SLOW] * 6),
    ([float("nan"), float("nan")], [NONE, HOLD]),
])
def test_caution_waits_for_several_decisions(values: list[float], expected: list[Caution]) -> None:
    """Worse after two in a row, better after three well below, one level at a time."""
    monitor = OutOfDistribution()
    assert [monitor.update(scores(0.1, value)).caution for value in values] == expected


def test_the_verdict_names_the_worst_score() -> None:
    """With its value and limits, and the share of the speed that is left."""
    monitor = OutOfDistribution()
    assert monitor.update(None).speed_factor == 1.0
    monitor.update(scores(1.2, 1.8, 0.3))
    verdict = monitor.update(scores(1.2, 1.8, 0.3))
    assert verdict.reason == "unlike the demonstrations: distance 1.8, slow above 1, hold above 2"
    assert verdict.speed_factor == 0.5
    assert monitor.update(None) == verdict, "a decision that was not looked at changes nothing"
    monitor.reset()
    assert monitor.update(scores(0.1)).caution is NONE


@given(st.lists(st.floats(0, 4), max_size=40))
def test_caution_never_jumps_down(values: list[float]) -> None:
    """And at hold there were two values above its limit in a row."""
    monitor, before = OutOfDistribution(), NONE
    for number, value in enumerate(values):
        now = monitor.update(scores(value)).caution
        assert now >= before - 1
        if now is HOLD and before is not HOLD:
            assert min(values[number - 1:number + 1]) > 2
        before = now


def test_the_arm_rests_while_it_must_hold(task: TaskConfig, chain: KinematicChain, home_rad: NDArray[np.float64],
                                          loop_bench) -> None:
    """Strange observations for a second bring it to rest with the reason; it goes on when they are over."""

    class WatchedPolicy(loop_bench.DownwardPolicy):
        def predict(self, window: ObservationWindow) -> ActionChunk:
            strange = 2.0 <= window.decision_time_s < 4.0
            return replace(super().predict(window), monitor=scores(0.1, 3.0 if strange else 0.2))

    bench = loop_bench.Bench(task, chain, WatchedPolicy(), home_rad)
    bench.loop.start(0)
    bench.run(2.0)
    assert not bench.loop.is_at_rest(2.0)
    assert bench.loop.monitor.verdict.caution is NONE
    bench.run(1.8)
    assert bench.loop.state is LoopState.HOLD
    assert bench.loop.run.alarm is Alarm.OUT_OF_DISTRIBUTION
    assert bench.loop.detail.startswith("unlike the demonstrations: distance 3, slow above 1, hold above 2; make ")
    assert bench.loop.is_at_rest(3.8)
    at_rest = bench.arm.q_rad([3.8])
    sent = bench.loop.counts.sent
    bench.run(0.4)
    assert np.array_equal(bench.arm.q_rad([4.2]), at_rest)
    assert bench.loop.counts.sent == sent, "nothing but the stop is sent while it holds"
    bench.run(2.5)
    assert bench.loop.monitor.verdict.caution is NONE
    assert bench.loop.detail == "the policy moves the arm"
    assert np.abs(bench.arm.q_rad([6.7]) - at_rest).max() > 0.01
    bench.assert_no_reflex()
