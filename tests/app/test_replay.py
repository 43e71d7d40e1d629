"""Recorded runs, and what a replay of them finds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from app.inspection import inspect
from app.replay import compare, replay
from app.run_reading import measured_and_sent, run_events
from ladle.errors import BagError
from ladle.policy import ActionChunk, ContinuingPolicy, ObservationWindow, RunningChunk
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.policy_caller import SynchronousCaller
from real_world_deployment.policy_messages import to_chunk
from real_world_deployment.run_recorder import ASK, RecordedCaller, RecordedContinuingPolicy, RunRecorder

sys.path.insert(0, str(Path(__file__).parent))
from run_of_hold import RECIPE, START_NS, record, window


def test_the_same_policy_decides_the_same_bit_for_bit(tmp_path: Path) -> None:
    """Every decision of both scenes is found again, none differs, nothing is lost."""
    record(tmp_path / "run").close()
    found = replay(tmp_path / "run")
    assert [(d.scene, d.tick) for d in found.decisions] == [(s, t) for s in range(2) for t in (0, 2, 4, 6)]
    assert (found.different, found.lost) == ([], 0)
    assert json.loads(found.as_json())["different"] == 0


def test_a_policy_that_decided_otherwise_is_found_with_tick_and_distance(tmp_path: Path) -> None:
    """A millimetre from 0.4 s on, at one element of the horizon: these decisions and no others."""
    record(tmp_path / "run", scenes=1, shift_m=0.001, from_s=0.4).close()
    found = replay(tmp_path / "run")
    assert [d.tick for d in found.different] == [4, 6]
    assert [d.position_m for d in found.different] == pytest.approx([0.001] * 2)
    assert "2 of 4 decisions differ" in found.as_text()


def test_what_was_seen_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Windows with their frames, joints, and what was sent; and `ladle inspect` opens it."""
    record(tmp_path / "run", scenes=1).close()
    asked = [event for event in run_events(tmp_path / "run") if event.message.kind == ASK]
    for tick, event in zip((0, 2, 4, 6), asked, strict=True):
        np.testing.assert_array_equal(event.images["camera_1"], window(tick).streams["camera_1"])
        np.testing.assert_array_equal(event.message.arrays["eef"], window(tick).streams["eef"])
        assert event.message.values["decision_time_s"] == window(tick).decision_time_s
    times_s, q_rad, plans = measured_and_sent(tmp_path / "run")
    np.testing.assert_allclose(times_s - START_NS * 1e-9, 0.1 * np.arange(8) + 0.049, atol=1e-6)
    assert q_rad[3, 0] == pytest.approx(0.3)
    np.testing.assert_allclose(plans[1].times_s - START_NS * 1e-9, [0.3, 0.4], atol=1e-6)
    [report] = inspect(tmp_path / "run", decode_all=True)
    topics = {topic.topic: topic.count for topic in report.topics}  # type: ignore[union-attr]
    assert topics == {"/ladle/run/record": 15, "/ladle/run/frames/camera_1": 8, "/ladle/run/joints": 8,
                      "/ladle/run/sent": 4}


def test_a_run_that_was_killed_is_replayed_as_far_as_it_was_written(tmp_path: Path) -> None:
    """kill -9 before the recording was closed: what had reached the disk is whole and the same."""
    script = Path(__file__).with_name("run_of_hold.py")
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "run")], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "recorded\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    found = replay(tmp_path / "run")
    assert 5 <= len(found.decisions) <= 30
    assert found.different == []


class Continuing:
    """Answers with the chunk that is running, so that whoever forgets to hand it on is found out."""

    n_obs_steps, observation_keys = 1, ("eef", "camera_1")

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def predict(self, window: ObservationWindow) -> ActionChunk:
        raise AssertionError("asked without the running chunk")

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        return running.chunk


def test_what_was_running_is_recorded_before_its_question(tmp_path: Path) -> None:
    """With the instant up to which it is frozen; the policy behind the recording is handed it too."""
    chunk = ActionChunk(0.1, np.array([0.2, 0.3]), {"pose": np.ones((2, 7))})
    recorder = RunRecorder(tmp_path / "run", {"policy": {**RECIPE.__dict__}}, wait=True)
    recorder.begin(START_NS)
    policy = RecordedContinuingPolicy(Continuing(), recorder)
    assert isinstance(policy, ContinuingPolicy)
    caller = RecordedCaller(SynchronousCaller(policy), recorder)
    caller.ask(window(1), RunningChunk(chunk, 0.25))
    answer = caller.answer()
    assert answer is not None
    np.testing.assert_array_equal(answer.times_s, chunk.times_s)
    recorder.close(0.3)
    messages = [event.message for event in run_events(tmp_path / "run")]
    assert [message.kind for message in messages][1:4] == ["running", "ask", "chunk"]
    np.testing.assert_array_equal(to_chunk(messages[1]).parts["pose"], chunk.parts["pose"])
    assert messages[1].values["frozen_until_s"] == 0.25


def test_a_slow_disk_costs_events_and_never_time(tmp_path: Path) -> None:
    """With the writer held up, putting returns at once; what did not fit is counted and seen in the replay."""
    recorder = RunRecorder(tmp_path / "run", {"policy": {**RECIPE.__dict__}}, wait=False, capacity=4)
    held, reached = threading.Event(), threading.Event()

    def hold(_file: object) -> None:
        reached.set()
        held.wait()

    recorder.begin(START_NS)
    recorder._put(hold)
    assert reached.wait(30)
    for tick in range(10):
        recorder.note(0.1 * tick, ArrayMessage("state", {"tick": tick}))
    assert recorder.lost == 6
    held.set()
    recorder.close(1.0)
    assert replay(tmp_path / "run").lost == 6


def test_a_full_disk_does_not_stop_the_run(tmp_path: Path) -> None:
    """An error of the writer ends the recording, not the caller."""
    recorder = RunRecorder(tmp_path / "run", {"policy": {**RECIPE.__dict__}}, wait=True)

    def fail(_file: object) -> None:
        raise OSError(28, "No space left on device")

    recorder._put(fail)
    recorder._thread.join(30)
    recorder.note(0.0, ArrayMessage("state"))
    recorder.close()
    assert recorder.lost >= 2


def test_a_bag_of_something_else_is_refused(tmp_path: Path) -> None:
    """In one line that says what is there."""
    with pytest.raises(BagError, match="holds 0 recordings"):
        replay(tmp_path / "nothing")


def test_differences_are_measured_over_the_whole_horizon() -> None:
    """The opposite quaternion is the same rotation; a small angle keeps its digits; a last bit is a difference."""
    times = np.array([0.1, 0.2])
    a = np.array([[0.0, 0, 0, 0, 0, 0, 1], [0.0, 0, 0, 0, 0, 0, 1]])
    b = a.copy()
    b[1, :3] = [0.003, 0.004, 0.0]
    half_rad = 0.5e-6
    b[0, 3:] = [-np.sin(half_rad), 0, 0, -np.cos(half_rad)]
    found = compare(0, 0, 0.0, ActionChunk(0, times, {"pose": a}), ActionChunk(0, times, {"pose": b}))
    assert found.position_m == pytest.approx(0.005)
    assert found.rotation_rad == pytest.approx(1e-6)
    assert not found.identical
    last_bit = {"joints": np.nextafter(a, 1)}
    assert not compare(0, 0, 0.0, ActionChunk(0, times, {"joints": a}), ActionChunk(0, times, last_bit)).identical


def test_a_frame_that_is_shown_again_is_the_one_that_comes_back(tmp_path: Path) -> None:
    """Written once, however often it is seen, and never taken for the newest."""
    recorder = RunRecorder(tmp_path / "run", {"policy": {**RECIPE.__dict__}}, wait=True)
    recorder.begin(START_NS)
    shown = (0, 1, 0, 2, 1)
    for tick in shown:
        recorder.window(ASK, window(tick))
    recorder.close(1.0)
    asked = [event for event in run_events(tmp_path / "run") if event.message.kind == ASK]
    for tick, event in zip(shown, asked, strict=True):
        np.testing.assert_array_equal(event.images["camera_1"], window(tick).streams["camera_1"])
    [report] = inspect(tmp_path / "run")
    topics = {topic.topic: topic.count for topic in report.topics}  # type: ignore[union-attr]
    assert topics["/ladle/run/frames/camera_1"] == 3
