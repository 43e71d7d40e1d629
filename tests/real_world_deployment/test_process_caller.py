"""A policy in a process of its own: asked, watched, failing, silent, killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import DeploymentError, PolicyGoneError
from ladle.policy import ActionChunk, ObservationWindow, RunningChunk, starts_of
from ladle.task import load_task
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.chunking import ChunkJoiner
from real_world_deployment.policy_caller import ThreadedCaller
from real_world_deployment.process_caller import PolicyError, ProcessCaller
from real_world_deployment.ring_segment import FOLDER

PATIENCE_S = 60.0


@contextmanager
def caller_of(text: str, **more: float | Callable[[], float]) -> Iterator[ProcessCaller]:
    """A policy of process_policies.py."""
    sys.path.append(str(Path(__file__).parent))
    try:
        caller = ProcessCaller("process_policies:make", text, **more)  # type: ignore[arg-type]
    finally:
        sys.path.remove(str(Path(__file__).parent))
    try:
        yield caller
    finally:
        caller.close()


def window(time_s: float = 1.0, grey: int = 7, size: tuple[int, int] = (12, 24)) -> ObservationWindow:
    """Two observations whose frames tell their order."""
    frames = np.stack([np.full((*size, 3), grey + i, np.uint8) for i in range(2)])
    return ObservationWindow(time_s + 0.05, np.array([time_s - 0.1, time_s]),
                             {"eef": np.arange(14, dtype=np.float64).reshape(2, 7), "camera_1": frames})


def until(attempt: Callable[[], ActionChunk | None]) -> ActionChunk:
    """Poll as the loop does."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        if (found := attempt()) is not None:
            return found
        time.sleep(0.002)
    raise AssertionError("no answer")


def test_frames_and_answers_cross_bit_for_bit() -> None:
    """Seeds, watched ticks, frames of changing size and the chunk's every part arrive as they were."""
    with caller_of("echo") as caller:
        assert (caller.n_obs_steps, caller.n_action_steps, caller.observation_keys) == (2, 8, ("eef", "camera_1"))
        assert starts_of(caller).tolist() == [[0.45, 0.0, 1 / 3, 1.0, 0.0, 0.0, 0.0]]
        caller.reset(42)
        for question, size in enumerate([(12, 24), (12, 24), (48, 64)]):
            caller.observe(window(size=size))
            asked = window(1 / 3 + question, 7 + question, size)
            caller.ask(asked)
            chunk = until(caller.answer)
            assert caller.answer() is None
            assert chunk.observation_time_s == asked.time_s
            np.testing.assert_array_equal(chunk.parts["pose"][0], asked.streams["eef"][-1])
            assert chunk.parts["seen"][0].tolist() == [7 + question, 8 + question]
            assert chunk.parts["told"][0].tolist() == [42, question + 1]
            assert (chunk.stage, chunk.stage_confidence) == (1, 0.9)
        assert len(caller.latency) == 3
        assert caller.latency.p95_s >= caller.inference_s
        ring = f"ladle-{os.getuid()}-policy-{os.getpid()}-"
        assert len(list(FOLDER.glob(f"{ring}*"))) == 2
    assert not list(FOLDER.glob(f"{ring}*"))


def test_a_running_chunk_reaches_the_policy_bit_for_bit() -> None:
    """Real-time chunking across the processes: the question carries what is executed; without it none is told."""
    task = load_task("scoop")
    with caller_of("continue") as caller:
        ChunkJoiner("real_time", caller, task, 0.1, 0.075)
        first = caller.predict(window())
        assert "frozen" not in first.parts
        caller.ask(window(1.4), RunningChunk(first, 1 / 3))
        chunk = until(caller.answer)
        np.testing.assert_array_equal(chunk.parts["frozen"], np.full((15, 1), 1 / 3))
        np.testing.assert_array_equal(chunk.times_s, first.times_s)
        assert (chunk.observation_time_s, chunk.stage, chunk.stage_confidence) == (1.4, 1, 0.9)
        for name, part in first.parts.items():
            np.testing.assert_array_equal(chunk.parts[name], part)


def test_a_policy_elsewhere_that_cannot_continue_is_refused_for_real_time_chunking() -> None:
    """The caller offers predict_next; whether it may be used is what the policy's process said."""
    with caller_of("echo") as caller, pytest.raises(DeploymentError, match="real_time needs a policy that can"):
        ChunkJoiner("real_time", caller, load_task("scoop"), 0.1, 0.075)


def test_the_loop_never_waits_for_a_slow_policy() -> None:
    """While the policy thinks, asking, watching and polling return without it; the latency is what it took."""
    with caller_of("slow 0.5") as caller:
        begun_s = time.monotonic()
        caller.ask(window())
        for _ in range(5):
            caller.observe(window())
            assert caller.answer() is None
        assert time.monotonic() - begun_s < 0.5
        until(caller.answer)
        assert caller.latency.p50_s >= 0.5


def test_an_answer_that_nobody_fetches_is_told_once() -> None:
    """A run that ends while the policy thinks never asks for it: whoever waits for answers goes on to other work."""
    with caller_of("slow 0.3") as caller:
        caller.ask(window())
        give_up_s = time.monotonic() + PATIENCE_S
        while not caller.is_answered(0.05):
            assert time.monotonic() < give_up_s
        assert not any(caller.is_answered(0.001) for _ in range(5))
        caller.reset(1)
        caller.ask(window())
        assert until(caller.answer).parts["told"][0].tolist() == [1, 0]


@pytest.mark.parametrize("open_question", [True, False])
def test_a_killed_policy_is_noticed_at_the_next_tick(open_question: bool) -> None:
    """kill -9, with a question open or between two: an event, not a wait; and it stays gone."""
    with caller_of("slow 100") as caller:
        if open_question:
            caller.ask(window())
        os.kill(caller.pid, signal.SIGKILL)
        os.waitid(os.P_PID, caller.pid, os.WEXITED | os.WNOWAIT)
        notice = caller.answer if open_question else lambda: caller.observe(window())
        for _ in range(2):
            with pytest.raises(PolicyGoneError, match="was killed by signal 9"):
                notice()


def test_a_frozen_policy_is_given_up() -> None:
    """SIGSTOP: after silence_s the policy is gone for the loop, though its process lives."""
    now = [0.0]
    with caller_of("echo", silence_s=3.0, clock_s=lambda: now[0]) as caller:  # type: ignore[arg-type]
        os.kill(caller.pid, signal.SIGSTOP)
        caller.ask(window())
        now[0] = 2.9
        assert caller.answer() is None
        now[0] = 3.1
        with pytest.raises(PolicyGoneError, match="has not answered for 3 s"):
            caller.answer()
        os.kill(caller.pid, signal.SIGCONT)


def test_what_the_policy_raises_arrives_where_the_answer_is_fetched() -> None:
    """A failure answers its own question only; a failure while watching comes at the next tick; the process lives."""
    with caller_of("fail") as caller:
        for _ in range(2):
            caller.ask(window())
            with pytest.raises(PolicyError, match="ZeroDivisionError: the network is gone"):
                until(caller.answer)
    with caller_of("blink") as caller:
        caller.observe(window())
        caller.predict(window())  # in order: the failure was told before
        with pytest.raises(PolicyError, match="cannot watch"):
            caller.observe(window())


def test_a_policy_that_cannot_be_made_is_said_at_the_start() -> None:
    """A user's error keeps its one line."""
    with pytest.raises(DeploymentError, match=r"^checkpoint nowhere is damaged; copy it again$"), caller_of("refuse"):
        pass
    with pytest.raises(DeploymentError, match="making the policy failed: a bug"), caller_of("broken"):
        pass


def test_a_thread_loses_no_failure_of_a_watching_policy() -> None:
    """What observe() raised in the other thread is raised at the next tick that is shown."""
    class Blinking:
        n_obs_steps, observation_keys = 2, ("eef", "camera_1")

        def reset(self, seed: int) -> None: ...

        def observe(self, window: ObservationWindow) -> None:
            raise ValueError("cannot watch")

        def predict(self, window: ObservationWindow) -> ActionChunk:
            return ActionChunk(0.0, np.array([1.0]), {})

    caller = ThreadedCaller(Blinking())
    caller.observe(window())
    caller.ask(window())
    until(caller.answer)
    with pytest.raises(ValueError, match="cannot watch"):
        caller.observe(window())
    caller.close()


def test_messages_are_whole_or_refused() -> None:
    """Cut-off bytes and arrays of objects are errors, not arrays."""
    message = ArrayMessage("ask", {"t": 1 / 3}, {"a": np.arange(6, dtype=np.float32).reshape(2, 3)})
    back = ArrayMessage.from_bytes(message.to_bytes())
    assert back.values == {"t": 1 / 3}
    np.testing.assert_array_equal(back.arrays["a"], message.arrays["a"])
    for cut in (0, 3, 10, len(message.to_bytes()) - 1):
        with pytest.raises(DeploymentError, match="not whole"):
            ArrayMessage.from_bytes(message.to_bytes()[:cut])
    with pytest.raises(DeploymentError, match="object"):
        ArrayMessage.from_bytes(message.to_bytes().replace(b"<f4", b"|O8"))


def test_an_answer_to_an_earlier_question_is_not_taken_for_the_newest() -> None:
    """Asked again, or after a reset, the late chunk of before is dropped."""
    with caller_of("slow 0.1") as caller:
        caller.ask(window(1.0))
        caller.ask(window(2.0))
        assert until(caller.answer).observation_time_s == 2.0
        caller.ask(window(3.0))
        caller.reset(1)
        caller.ask(window(4.0))
        chunk = until(caller.answer)
        assert (chunk.observation_time_s, chunk.parts["told"][0, 0]) == (4.0, 1)


def test_the_latency_is_from_the_question_to_the_answer_being_here() -> None:
    """Not what the policy took alone: the next chunk is planned for by it."""
    now_s = [1.0]
    with caller_of("echo", clock_s=lambda: now_s[0]) as caller:
        caller.ask(window())
        now_s[0] = 1.7
        until(caller.answer)
        assert caller.latency.p50_s == pytest.approx(0.7)
        assert caller.inference_s < 0.7
