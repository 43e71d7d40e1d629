"""The control loop with policies that work, err, fall silent or are never asked."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import DeploymentError, ObservationError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import TaskConfig, load_task
from real_world_deployment.config import DeploymentConfig, in_lockstep
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import LoopState
from real_world_deployment.policy_caller import ThreadedCaller
from real_world_deployment.process_caller import ProcessCaller
from real_world_deployment.safety.alarms import Alarm
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]


class DownwardPolicy:
    """Goes down at 2.5 cm/s from where the tip is; may raise from a certain question on, or wait for leave."""

    n_obs_steps = 2
    observation_keys = ("eef", "camera_1")

    def __init__(self, fail_from: int = 10**6, may_answer: threading.Event | None = None) -> None:
        self.questions: list[float] = []
        self.watched: list[float] = []
        self.seeds: list[int] = []
        self._fail_from, self._may_answer = fail_from, may_answer

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)

    def observe(self, window: ObservationWindow) -> None:
        self.watched.append(window.decision_time_s)

    def predict(self, window: ObservationWindow) -> ActionChunk:
        self.questions.append(window.decision_time_s)
        if len(self.questions) > self._fail_from:
            raise RuntimeError("the network is gone")
        if self._may_answer is not None:
            self._may_answer.wait(60.0)
        target = np.tile(window.streams["eef"][-1], (15, 1))
        target[:, 2] -= 0.0025 * np.arange(1, 16)
        return ActionChunk(window.time_s, window.time_s + 0.1 * np.arange(1, 16), {"pose": target})


class PerfectArm:
    """A controller that keeps the newest message, and an arm that is always on it; takes every set-point down.

    `sent` are the instants of new plans, `messages` all that came, refreshes too.
    """

    def __init__(self, q_rad: Array) -> None:
        self.plan: JointTrajectory | None = None
        self.sent: list[float] = []
        self.messages: list[tuple[float, JointTrajectory]] = []
        self._switch_s: float | None = None
        self.setpoints: list[Array] = []
        self._start_rad, self.now_ms = q_rad, 0

    def follow(self, splice: Splice, now_s: float) -> None:
        self.plan = splice.trajectory
        self.messages.append((now_s, splice.trajectory))
        if splice.switch_s != self._switch_s:
            self._switch_s = splice.switch_s
            self.sent.append(now_s)

    def q_rad(self, at_s: Sequence[float] | Array) -> Array:
        """(m, 7) at m instants."""
        return np.tile(self._start_rad, (len(at_s), 1)) if self.plan is None else self.plan.sample(at_s).q_rad

    def advance(self, until_ms: int) -> None:
        self.setpoints.append(self.q_rad(np.arange(self.now_ms + 1, until_ms + 1) / 1000.0))
        self.now_ms = until_ms


class Bench:
    """Loop, arm and sensors in lockstep; a tick is 100 ms."""

    def __init__(self, task: TaskConfig, chain: KinematicChain, policy: DownwardPolicy, start_rad: Array,
                 config: DeploymentConfig | None = None, threaded: bool = False,
                 process: ProcessCaller | None = None) -> None:
        self.task, self.start_rad, self.arm = task, start_rad, PerfectArm(start_rad)
        caller = ThreadedCaller(policy) if threaded else process
        self.loop = DeploymentLoop(task, process or policy, self.arm, chain, in_lockstep(config or DeploymentConfig()),
                                   caller=caller)
        self.has_camera = True

    def run(self, seconds: float) -> None:
        """Tick for so long; sensors are sampled every 10 ms."""
        assert self.task.joints is not None
        for _ in range(round(seconds * 10)):
            for ms in range(self.arm.now_ms + 10, self.arm.now_ms + 101, 10):
                self.arm.advance(ms)
                at = ms / 1000.0
                q = self.arm.q_rad([at])[0]
                self.loop.observations.add_joints(at, at, self.task.joints.names, q.tolist())
                if self.has_camera and ms % 30 == 0:
                    for key in ("camera_1", "camera_0"):
                        kind = (np.zeros((120, 240, 3), np.uint8) if key == "camera_1"
                                else np.zeros((120, 240), np.uint16))
                        self.loop.observations.add_frame(key, at - 0.02, at, kind)
            self.loop.tick(self.arm.now_ms / 1000.0)

    def assert_no_reflex(self) -> None:
        """All set-points so far keep the manufacturer's limits."""
        rows = np.concatenate(self.arm.setpoints)
        assert ReflexModel(self.start_rad).check(rows) == (len(rows), None)


@pytest.fixture(scope="module")
def start_rad(home_rad: Array) -> Array:
    """Away from home."""
    return home_rad + np.array([0.1, -0.05, 0.05, -0.1, 0.02, 0.05, 0.1])


def test_a_run_homes_then_follows_the_policy(task: TaskConfig, chain: KinematicChain, start_rad: Array) -> None:
    """IDLE, HOMING, RUNNING; the policy is reset once, asked every fourth tick, watches the others; no reflex."""
    policy = DownwardPolicy()
    bench = Bench(task, chain, policy, start_rad)
    bench.run(0.3)
    assert bench.loop.state is LoopState.IDLE
    assert bench.arm.sent == []
    bench.loop.start(seed=7)
    bench.run(0.2)
    assert bench.loop.state is LoopState.HOMING
    bench.run(4.5)
    assert bench.loop.state is LoopState.RUNNING
    assert policy.seeds == [7]
    height_m = chain.forward(bench.arm.q_rad([bench.arm.now_ms / 1000]))[0, 2]
    bench.run(2.0)
    gaps = np.diff(policy.questions)
    np.testing.assert_allclose(gaps, 0.4, atol=1e-9)
    assert len(policy.watched) >= 3 * len(gaps)
    sunk_m = height_m - chain.forward(bench.arm.q_rad([bench.arm.now_ms / 1000]))[0, 2]
    assert sunk_m > 0.03
    assert bench.loop.counts.refused == 0
    # The chunk asked for at d is used at d + latency, exactly.
    used = bench.arm.sent[1:]
    np.testing.assert_allclose(used, np.array(policy.questions[:len(used)]) + 0.1, atol=1e-9)
    bench.assert_no_reflex()


def test_nothing_is_sent_without_a_camera(task: TaskConfig, chain: KinematicChain, start_rad: Array) -> None:
    """Deny by default: the loop waits and says for what."""
    bench = Bench(task, chain, DownwardPolicy(), start_rad)
    bench.has_camera = False
    bench.loop.start(0)
    bench.run(1.0)
    assert bench.loop.state is LoopState.IDLE
    assert "camera_1" in bench.loop.detail
    assert bench.arm.sent == []
    bench.has_camera = True
    bench.run(0.2)
    assert bench.loop.state is LoopState.HOMING


def test_a_failing_policy_ends_in_rest(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """After three errors in a row the run is STOPPED, the arm at rest, no limit broken."""
    bench = Bench(task, chain, DownwardPolicy(fail_from=3), home_rad)
    bench.loop.start(0)
    bench.run(4.5)
    assert bench.loop.state is LoopState.STOPPED
    assert "the network is gone" in bench.loop.detail
    assert bench.loop.counts.policy_errors == 3
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.assert_no_reflex()


def test_a_silent_policy_ends_in_rest_without_waiting(task: TaskConfig, chain: KinematicChain,
                                                      home_rad: Array) -> None:
    """A policy that thinks on in its own thread does not hold the loop up; the plan runs out into rest."""
    may_answer = threading.Event()
    bench = Bench(task, chain, DownwardPolicy(may_answer=may_answer), home_rad, threaded=True)
    bench.loop.start(0)
    ticking = threading.Thread(target=bench.run, args=(2.0,))
    ticking.start()
    ticking.join(30.0)  # half of what the policy would wait
    held_up = ticking.is_alive()
    may_answer.set()
    ticking.join()
    assert not held_up
    assert bench.loop.counts.decisions == 1
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.assert_no_reflex()


def test_a_camera_that_stops_stops_the_questions(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Without fresh frames nothing new is asked and the arm comes to rest; with them it goes on."""
    policy = DownwardPolicy()
    bench = Bench(task, chain, policy, home_rad)
    bench.loop.start(0)
    bench.run(1.5)
    asked = len(policy.questions)
    bench.has_camera = False
    bench.run(3.0)
    assert len(policy.questions) <= asked + 2
    assert bench.loop.state is LoopState.HOLD
    assert bench.loop.run.alarm is Alarm.CAMERA_STALE
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.has_camera = True
    bench.run(0.5)
    assert bench.loop.state is LoopState.HOLD, "half a second of frames first"
    bench.run(0.9)
    assert bench.loop.state is LoopState.RUNNING
    assert len(policy.questions) > asked + 2
    bench.assert_no_reflex()


def test_a_refused_chunk_leaves_the_plan_in_force(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Chunks out of reach are counted with their reason; the arm comes to rest; nothing is sent for them."""

    class FarPolicy(DownwardPolicy):
        def predict(self, window: ObservationWindow) -> ActionChunk:
            chunk = super().predict(window)
            if len(self.questions) > 2:
                chunk.parts["pose"][:, 0] += 3.0
            return chunk

    bench = Bench(task, chain, FarPolicy(), home_rad)
    bench.loop.start(0)
    bench.run(4.0)
    assert bench.loop.counts.refused >= 3
    assert bench.loop.counts.sent == 2
    assert "cannot reach" in bench.loop.detail
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.assert_no_reflex()


def test_stop_brings_the_arm_to_rest(task: TaskConfig, chain: KinematicChain, start_rad: Array) -> None:
    """During homing and while running; a new run may start afterwards."""
    bench = Bench(task, chain, DownwardPolicy(), start_rad)
    bench.run(0.2)
    bench.loop.start(0)
    bench.run(1.0)
    assert bench.loop.state is LoopState.HOMING
    with pytest.raises(DeploymentError, match="HOMING"):
        bench.loop.start(1)
    bench.loop.stop(bench.arm.now_ms / 1000, "asked to")
    bench.run(1.2)
    assert bench.loop.state is LoopState.STOPPED
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.loop.start(1)
    bench.run(6.0)
    assert bench.loop.state is LoopState.RUNNING
    bench.loop.stop(bench.arm.now_ms / 1000, "asked to")
    bench.run(1.2)
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    bench.assert_no_reflex()


def test_an_arm_that_does_not_move_stops_the_run(task: TaskConfig, chain: KinematicChain, start_rad: Array) -> None:
    """It is a fault as soon as the plan moves."""
    bench = Bench(task, chain, DownwardPolicy(), start_rad)
    bench.arm.q_rad = lambda at_s: np.tile(start_rad, (len(at_s), 1))  # type: ignore[method-assign]
    bench.loop.start(0)
    bench.run(3.0)
    assert bench.loop.state is LoopState.FAULT
    assert bench.loop.run.alarm is Alarm.CONTROLLER_DEAD
    assert "the arm stands while its plan moves" in bench.loop.detail


def test_an_arm_that_does_not_arrive_stops_the_run(task: TaskConfig, chain: KinematicChain, start_rad: Array) -> None:
    """When homing ends elsewhere, the run ends with the distance."""
    bench = Bench(task, chain, DownwardPolicy(), start_rad)
    on_plan = bench.arm.q_rad
    bench.arm.q_rad = lambda at_s: start_rad + 0.6 * (on_plan(at_s) - start_rad)  # type: ignore[method-assign]
    bench.loop.start(0)
    bench.run(9.0)
    assert bench.loop.state is LoopState.STOPPED
    assert "from home" in bench.loop.detail


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.25])
def test_other_latencies_keep_the_limits(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                         latency_s: float) -> None:
    """The answer is used at the first tick from decision + latency on."""
    policy = DownwardPolicy()
    bench = Bench(task, chain, policy, home_rad, DeploymentConfig(latency_s=latency_s, replan_ticks=4))
    bench.loop.start(0)
    bench.run(3.0)
    assert bench.loop.counts.refused == 0
    waits = np.array(bench.arm.sent) - np.array(policy.questions[:len(bench.arm.sent)])
    np.testing.assert_allclose(waits, np.ceil(latency_s * 10 - 1e-9) / 10, atol=1e-9)
    bench.assert_no_reflex()


def test_tasks_that_cannot_move_an_arm_are_refused(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Push-T has no arm."""
    with pytest.raises((DeploymentError, ObservationError), match="pusht"):
        DeploymentLoop(load_task("pusht"), DownwardPolicy(), PerfectArm(home_rad), chain, DeploymentConfig())


@pytest.mark.parametrize("lead_in_s", [0.3, 1.5])
def test_an_arm_that_leaves_its_plan_stops_the_run(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                   lead_in_s: float) -> None:
    """Also before the plan's start; a latched fault, and nothing more is sent, though a question is open."""
    bench = Bench(task, chain, DownwardPolicy(), home_rad, DeploymentConfig(lead_in_s=lead_in_s, latency_s=0.25))
    bench.loop.start(0)
    bench.run(1.0)
    assert bench.loop.state is LoopState.RUNNING
    on_plan, messages = bench.arm.q_rad, len(bench.arm.messages)
    bench.arm.q_rad = lambda at_s: on_plan(at_s) + np.clip(2.5 * (np.array(at_s) - 1.0), 0, 0.25)[:, None]  # type: ignore
    bench.run(0.1)
    assert bench.loop.state is LoopState.FAULT
    assert bench.loop.run.alarm is Alarm.TRACKING_ERROR
    assert bench.loop.detail.startswith("the arm is 0.250 rad from its plan; has the controller stopped?")
    bench.run(1.0)
    assert len(bench.arm.messages) <= messages + 1, "a refresh that came before the tick looked"


def test_a_policy_that_fails_to_watch_is_counted(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """An error while watching does not come through tick and leaves the open question; three in a row stop the run."""

    class BlindPolicy(DownwardPolicy):
        def observe(self, window: ObservationWindow) -> None:
            raise RuntimeError("cannot watch")

    bench = Bench(task, chain, BlindPolicy(), home_rad, DeploymentConfig(latency_s=0.25))
    bench.run(0.2)
    bench.loop.start(0)
    bench.run(0.3)
    assert bench.loop.counts.policy_errors == 2
    bench.run(0.1)
    assert bench.loop.counts.sent == 1
    bench.run(1.0)
    assert bench.loop.state is LoopState.STOPPED
    assert "cannot watch" in bench.loop.detail


@pytest.mark.parametrize("speed", [0.5, 0.2])
def test_the_speed_override_slows_the_whole_run(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                speed: float) -> None:
    """Questions, observed frames and motion are stretched alike: after as many decisions the tip is as far down."""

    def descent(at: float) -> tuple[Array, Array, float]:
        policy = DownwardPolicy()
        spans: list[float] = []
        bench = Bench(task, chain, policy, home_rad, DeploymentConfig(speed=at, latency_s=0.0))
        ask = policy.predict
        policy.predict = lambda window: (spans.append(float(np.ptp(window.observation_times_s))),  # type: ignore
                                         ask(window))[1]
        bench.run(1.5 / at)
        bench.loop.start(0)
        bench.run(2.0 / at)
        bench.assert_no_reflex()
        assert bench.loop.counts.refused == 0
        tip = chain.forward(bench.arm.q_rad([bench.arm.now_ms / 1000]))[0]
        return np.array(policy.questions), np.array(spans), float(chain.forward(home_rad)[2] - tip[2])

    full_at, full_spans, full_m = descent(1.0)
    slow_at, slow_spans, slow_m = descent(speed)
    assert len(slow_at) == len(full_at)
    np.testing.assert_allclose(np.diff(slow_at), 0.4 / speed, atol=1e-6)
    np.testing.assert_allclose(full_spans, 0.1, atol=0.031)
    np.testing.assert_allclose(slow_spans, 0.1 / speed, atol=0.031)
    # Lead-in and the age of what is observed do not stretch, so a slow run is a little farther along.
    assert slow_m == pytest.approx(full_m, rel=0.3)
    assert full_m > 0.02


def test_a_speed_that_the_memory_cannot_span_is_refused(task: TaskConfig, chain: KinematicChain,
                                                        home_rad: Array) -> None:
    """Two observations 2.5 s apart, kept for three seconds."""
    with pytest.raises(DeploymentError, match="at this speed"):
        DeploymentLoop(task, DownwardPolicy(), PerfectArm(home_rad), chain, DeploymentConfig(speed=0.04))


def test_the_arm_moves_only_while_the_button_is_held(task: TaskConfig, chain: KinematicChain,
                                                     start_rad: Array) -> None:
    """Not pressed: nothing is sent. Let go in homing and in the run: rest, and on from there when pressed again."""
    bench = Bench(task, chain, DownwardPolicy(), start_rad, DeploymentConfig(hold_to_run_s=0.25))
    button = bench.loop.button
    assert button is not None

    def run(seconds: float, is_held: bool) -> None:
        for _ in range(round(seconds * 10)):
            if is_held:
                button.see(True, bench.arm.now_ms / 1000.0 + 0.1)
            bench.run(0.1)

    bench.loop.start(0)
    run(1.0, is_held=False)
    assert bench.arm.sent == []
    assert "hold the button" in bench.loop.detail
    run(1.0, is_held=True)
    assert bench.loop.state is LoopState.HOMING
    run(1.5, is_held=False)
    assert bench.loop.state is LoopState.HOLD
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    run(6.0, is_held=True)
    assert bench.loop.state is LoopState.RUNNING
    assert bench.loop.counts.decisions > 2
    run(1.5, is_held=False)
    sent = len(bench.arm.sent)
    assert bench.loop.state is LoopState.HOLD
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000)
    run(0.5, is_held=False)
    assert len(bench.arm.sent) == sent
    run(1.0, is_held=True)
    assert len(bench.arm.sent) > sent
    bench.assert_no_reflex()


@pytest.fixture
def echo_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessCaller]:
    """A policy in a process of its own."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    process = ProcessCaller("process_policies:make", "echo")
    yield process
    process.close()


def kill(process: ProcessCaller) -> None:
    """kill -9, and only then go on."""
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_killed_policy_process_brings_the_loop_to_rest(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                                         echo_process: ProcessCaller) -> None:
    """kill -9 in mid-run: stopped at the next tick, not after three errors; it comes to rest without a reflex."""
    bench = Bench(task, chain, DownwardPolicy(), home_rad, DeploymentConfig(latency_s=0.0), process=echo_process)
    bench.loop.start(0)
    give_up_s = time.monotonic() + 60.0
    while not bench.arm.sent and time.monotonic() < give_up_s:
        bench.run(0.1)
    assert bench.loop.state is LoopState.RUNNING
    kill(echo_process)
    bench.run(0.1)
    assert bench.loop.state is LoopState.STOPPED
    assert "killed by signal 9" in bench.loop.detail
    bench.run(3.0)
    assert bench.loop.is_at_rest(bench.arm.now_ms / 1000.0)
    bench.assert_no_reflex()
    with pytest.raises(DeploymentError, match=r"not started: the policy is gone: .* killed by signal 9; restart"):
        bench.loop.start(0)
    assert bench.loop.state is LoopState.STOPPED
    bench.loop.home()
    bench.run(8.0)
    assert (bench.loop.state, bench.loop.detail) == (LoopState.IDLE, "the arm is at home")


def test_a_run_that_waits_ends_with_its_policy(task: TaskConfig, chain: KinematicChain, home_rad: Array,
                                               echo_process: ProcessCaller) -> None:
    """Started, and waiting for a camera, when the process is killed: STOPPED with the reason, and not IDLE for ever."""
    bench = Bench(task, chain, DownwardPolicy(), home_rad, process=echo_process)
    bench.has_camera = False
    bench.loop.start(0)
    bench.run(0.3)
    assert bench.loop.state is LoopState.IDLE
    kill(echo_process)
    bench.run(0.1)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.STOPPED, Alarm.POLICY_GONE)
    assert bench.arm.messages == []
