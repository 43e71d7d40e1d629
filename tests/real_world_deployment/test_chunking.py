"""How the loop hands the running chunk to the policy, and what it makes of the answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, ObservationWindow, RunningChunk
from ladle.task import TaskConfig, load_task
from real_world_deployment.chunking import Chunking, ChunkJoiner, chunking_from_text
from real_world_deployment.config import DeploymentConfig, in_lockstep
from real_world_deployment.loop_state import LoopState

Array = NDArray[np.float64]


class SwayingPolicy:
    """Goes down at 4 cm/s and to the left or right in turn at 6 cm/s; continues a running chunk if handed one."""

    n_obs_steps = 2
    observation_keys = ("eef", "camera_1")

    def __init__(self) -> None:
        self.questions: list[float] = []
        self.handed: list[RunningChunk] = []

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def predict(self, window: ObservationWindow) -> ActionChunk:
        self.questions.append(window.decision_time_s)
        side = 1.0 if len(self.questions) % 2 else -1.0
        target = np.tile(window.streams["eef"][-1], (15, 1))
        target[:, 1] += side * 0.006 * np.arange(1, 16)
        target[:, 2] -= 0.004 * np.arange(1, 16)
        return ActionChunk(window.time_s, window.time_s + 0.1 * np.arange(1, 16), {"pose": target})

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        self.handed.append(running)
        self.questions.append(window.decision_time_s)
        times = window.time_s + 0.1 * np.arange(1, 16)
        last = running.chunk.parts["pose"]
        ahead = np.interp(times, running.chunk.times_s, last[:, 1])
        pose = np.tile(last[-1], (15, 1))
        pose[:, 1], pose[:, 2] = ahead, np.interp(times, running.chunk.times_s, last[:, 2])
        return ActionChunk(window.time_s, times, {"pose": pose})


class PlainPolicy:
    """Knows nothing of running chunks."""

    n_obs_steps = 1
    observation_keys = ("eef",)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def predict(self, window: ObservationWindow) -> ActionChunk:
        return chunk(window.time_s)


def chunk(time_s: float) -> ActionChunk:
    """Fifteen targets from one period later on."""
    return ActionChunk(time_s, time_s + 0.1 * np.arange(1, 16), {"pose": np.tile([0.5, 0, 0.3, 1, 0, 0, 0], (15, 1))})


def test_the_running_chunk_is_handed_with_the_delay_that_is_expected(task: TaskConfig, chain: KinematicChain,
                                                                     home_rad: Array, loop_bench) -> None:
    """From the second question on: the chunk in force, frozen up to the first instant that an answer can change."""
    policy = SwayingPolicy()
    config = DeploymentConfig(chunking="real_time", latency_s=0.3)
    bench = loop_bench.Bench(task, chain, policy, home_rad, config)
    bench.loop.start(0)
    bench.run(3.0)
    assert len(policy.handed) == len(policy.questions) - 1 >= 5
    for running, asked_s in zip(policy.handed, policy.questions[1:], strict=True):
        assert running.frozen_until_s == pytest.approx(asked_s + 0.3 + in_lockstep(config).switch_lead_s)
        assert asked_s - 0.5 < running.chunk.observation_time_s < asked_s - 0.3
    assert bench.loop.counts.refused == 0
    bench.assert_no_reflex()


@pytest.mark.parametrize("chunking", ["replace", "ensemble"])
def test_other_ways_hand_nothing(task: TaskConfig, chain: KinematicChain, home_rad: Array, chunking: Chunking,
                                loop_bench) -> None:
    """A policy that could continue is asked plainly."""
    policy = SwayingPolicy()
    bench = loop_bench.Bench(task, chain, policy, home_rad, DeploymentConfig(chunking=chunking))
    bench.loop.start(0)
    bench.run(1.5)
    assert policy.handed == []
    assert bench.loop.counts.decisions >= 3
    bench.assert_no_reflex()


class SinkingPolicy(SwayingPolicy):
    """Goes down by a millimetre a target, and tells how many targets are to be executed."""

    def __init__(self, n_action_steps: int | None) -> None:
        super().__init__()
        self.n_action_steps = n_action_steps

    def predict(self, window: ObservationWindow) -> ActionChunk:
        self.questions.append(window.decision_time_s)
        target = np.tile(window.streams["eef"][-1], (15, 1))
        target[:, 2] -= 0.001 * np.arange(1, 16)
        return ActionChunk(window.time_s, window.time_s + 0.1 * np.arange(1, 16), {"pose": target})


@pytest.mark.parametrize(("told", "executed", "speed"), [(8, 8, 1.0), (None, 15, 1.0), (8, 8, 0.5)])
def test_stop_and_go_rests_between_two_chunks(task: TaskConfig, chain: KinematicChain, home_rad: Array, loop_bench,
                                              told: int | None, executed: int, speed: float) -> None:
    """Asked only at rest; the first target 0.5 s after the sending, the others as far apart as they are at that speed,
    and the whole of what is meant to be executed is carried out."""
    policy = SinkingPolicy(told)
    config = DeploymentConfig(chunking="stop_and_go", latency_s=0.1, speed=speed)
    bench = loop_bench.Bench(task, chain, policy, home_rad, config)
    bench.loop.start(0)
    bench.run(10.0)
    asked_s = np.array(policy.questions)
    assert len(asked_s) >= 3
    rows = np.concatenate(bench.arm.setpoints)  # every millisecond from 0.001 s on
    for at_ms in np.rint(1000 * asked_s).astype(int):
        assert np.ptp(rows[at_ms - 2:at_ms + 2], axis=0).max() < 1e-9, "asked while the arm moves"
    cycle_s = 0.1 + 0.5 + 0.1 * (executed - 1) / speed + config.tail_s  # latency, lead-in, targets, tail; then a tick
    gaps_s = np.diff(asked_s)
    assert np.all((gaps_s > cycle_s - 0.01) & (gaps_s < cycle_s + 0.15 / speed))
    heights = chain.forward(rows[np.rint(1000 * asked_s).astype(int) - 1])[:, 2]
    np.testing.assert_allclose(np.diff(heights), -0.001 * executed, atol=0.0005)
    assert bench.loop.counts.refused == 0
    bench.assert_no_reflex()


def test_an_average_sways_less_than_a_replacement(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                  loop_bench) -> None:
    """The chunks pull to the left and to the right in turn; their average goes nearly straight."""
    swing = {}
    for chunking in ("replace", "ensemble"):
        bench = loop_bench.Bench(task, chain, SwayingPolicy(), home_rad, DeploymentConfig(chunking=chunking))
        bench.loop.start(0)
        bench.run(4.0)
        q = np.concatenate(bench.arm.setpoints)[2000:]
        swing[chunking] = np.abs(np.diff(chain.forward(q[::100])[:, 1])).sum()
        bench.assert_no_reflex()
    assert swing["ensemble"] < 0.7 * swing["replace"]


@settings(max_examples=50, deadline=None)
@given(delays=st.lists(st.floats(0.0, 0.6), max_size=30), latency_s=st.floats(0.0, 0.3))
def test_the_longest_recent_delay_is_expected(delays: list[float], latency_s: float) -> None:
    """Of the last ten; never less than what is configured."""
    joiner = ChunkJoiner("real_time", SwayingPolicy(), load_task("scoop"), latency_s, 0.04)
    for delay in delays:
        joiner.joined(chunk(0.0), delay, delay)
    assert joiner.expected_delay_s == pytest.approx(max([latency_s, *delays[-10:]]) + 0.04)


def test_a_chunk_that_has_run_out_is_not_handed() -> None:
    """Nor one of the run before."""
    joiner = ChunkJoiner("real_time", SwayingPolicy(), load_task("scoop"), 0.1, 0.04)
    assert joiner.running(0.0) is None
    joiner.keep(chunk(0.0))
    assert joiner.running(1.4) is not None
    assert joiner.running(1.6) is None
    joiner.reset()
    assert joiner.running(1.0) is None


def test_a_policy_that_cannot_continue_is_refused() -> None:
    """Before anything moves, with the alternatives; and so is a word that is no way."""
    with pytest.raises(DeploymentError, match="this one cannot; choose replace or ensemble"):
        ChunkJoiner("real_time", PlainPolicy(), load_task("scoop"), 0.1, 0.0)
    assert chunking_from_text("ensemble") == "ensemble"
    with pytest.raises(DeploymentError, match="'rtc' is not one of replace, ensemble, real_time, stop_and_go"):
        chunking_from_text("rtc")


def test_chunks_are_not_joined_across_two_times(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                loop_bench) -> None:
    """At a tenth of the speed the policy's time is not the machine's; others need to know nothing of that."""
    for how in ("ensemble", "real_time"):
        with pytest.raises(DeploymentError, match=r"speed 0\.1"):
            loop_bench.Bench(task, chain, SwayingPolicy(), home_rad, DeploymentConfig(chunking=how, speed=0.1))


def test_after_a_hold_the_policy_is_told_of_no_chunk_before_it(task: TaskConfig, chain: KinematicChain,
                                                               home_rad: Array, loop_bench) -> None:
    """The arm has rested: what was under way would be continued from where the arm is not."""
    policy = SwayingPolicy()
    bench = loop_bench.Bench(task, chain, policy, home_rad, DeploymentConfig(chunking="real_time", hold_to_run_s=0.25))
    bench.loop.start(0)
    before = 0
    for tick in range(40):
        if not 20 <= tick < 24:
            bench.loop.button.see(True, bench.arm.now_ms / 1000.0 + 0.1)
        bench.run(0.1)
        if tick == 23:
            assert bench.loop.state is LoopState.HOLD
            before = len(policy.handed)
    assert len(policy.handed) > before > 0
    assert all(running.chunk.observation_time_s > 2.4 for running in policy.handed[before:])
