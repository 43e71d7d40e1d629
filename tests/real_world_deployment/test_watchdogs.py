"""Each watchdog speaks within its bound and not before, and leads to the state that the table says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import DeploymentError, ImplausibleJointsError, PolicyGoneError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import TaskConfig
from real_world_deployment.arm_condition import ArmCondition
from real_world_deployment.config import DeploymentConfig, WatchdogBounds
from real_world_deployment.controllers import AcknowledgedJtc, JtcMessage
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import LoopState
from real_world_deployment.policy_caller import SynchronousCaller
from real_world_deployment.safety.alarms import REACTIONS, Alarm, Trouble, detection_bound_s
from real_world_deployment.safety.classifier_watch import ClassifierWatch
from real_world_deployment.splice import Splice
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
TICK_MS = 10
SAFETY = Path(__file__).parents[2] / "docs" / "safety.md"


class Caller(SynchronousCaller):
    """May lose its policy, or keep its answers to itself."""

    is_gone = is_silent = False

    def check(self) -> None:
        if self.is_gone:
            raise PolicyGoneError("it was killed")

    def answer(self) -> ActionChunk | None:
        return None if self.is_silent else super().answer()


class Listened(AcknowledgedJtc):
    """The bench's arm behind a topic whose readers may go, which others may write, and which may lose what is sent.

    What is lost is sent again, the newest alone and as long as it lives, as a reliable writer does.
    """

    def __init__(self, arm: Any, config: DeploymentConfig) -> None:
        super().__init__((), self._carry, lambda: not self._lost, lambda: bool(self._lost), config.bounds)
        self.arm, self.is_lossy = arm, False
        self.wrong: Trouble | None = None
        self._lost: list[tuple[Splice, float]] = []
        self._lives_s = config.switch_lead_s
        self.carried = 0

    def problem(self) -> Trouble | None:
        return self.wrong

    def follow(self, splice: Splice, now_s: float) -> None:
        self._given = splice, now_s
        super().follow(splice, now_s)

    def _carry(self, message: JtcMessage) -> None:
        self._lost, self.carried = [self._given], self.carried + 1
        self.pass_on(self._given[1])

    def pass_on(self, now_s: float) -> None:
        """What is still alive, if anything gets through."""
        self._lost = [given for given in self._lost if now_s <= given[1] + self._lives_s]
        if not self.is_lossy and self._lost:
            self.arm.follow(*self._lost.pop())


class FreeBench:
    """A loop that ticks every 10 ms, on an arm that is on its plan, until something is broken."""

    def __init__(self, task: TaskConfig, chain: KinematicChain, loop_bench: Any, start_rad: Array,
                 config: DeploymentConfig | None = None) -> None:
        self.task, self.arm = task, loop_bench.PerfectArm(start_rad)
        policy = loop_bench.DownwardPolicy()
        self.policy, self.caller = policy, Caller(policy)
        self.config = config or DeploymentConfig(arm_condition_required=True, frozen_camera_check=True, latency_s=0.0)
        self.controller = Listened(self.arm, self.config)
        self.loop = DeploymentLoop(task, policy, self.controller, chain, self.config, caller=self.caller)
        self.has_camera = self.has_joints = self.has_arm = True
        self.mode, self.image = "move", None
        self.errors: tuple[str, ...] = ()
        self.measured: Callable[[Array], Array] | None = None

    @property
    def now_s(self) -> float:
        return self.arm.now_ms / 1000.0

    def step(self) -> LoopState:
        """One tick with what has come by then."""
        self.arm.advance(self.arm.now_ms + TICK_MS)
        self.controller.pass_on(self.now_s)
        at, observations = self.now_s, self.loop.observations
        if self.has_joints:
            q = self.arm.q_rad([at])[0]
            q = q if self.measured is None else self.measured(q)
            observations.add_joints(at, at, self.task.joints.names, q.tolist())  # type: ignore[union-attr]
        if self.has_camera and self.arm.now_ms % 30 == 0:
            noise = self.arm.now_ms % 251 if self.image is None else self.image
            observations.add_frame("camera_1", at - 0.02, at, np.full((120, 240, 3), noise, np.uint8))
            observations.add_frame("camera_0", at - 0.02, at, np.full((120, 240), noise, np.uint16))
        if self.has_arm and self.arm.now_ms % 20 == 0:
            self.loop.watchdogs.arm.see(ArmCondition(self.mode, self.errors, 1.0, at))
        return self.loop.tick(at)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000) // TICK_MS):
            self.step()

    def until_alarm(self, at_most_s: float) -> float:
        """Seconds until the state is no more RUNNING."""
        begun_s = self.now_s
        while self.now_s < begun_s + at_most_s:
            if self.step() is not LoopState.RUNNING:
                return self.now_s - begun_s
        raise AssertionError(f"nothing was seen for {at_most_s} s: {self.loop.detail}")


@pytest.fixture
def bench(task: TaskConfig, chain: KinematicChain, loop_bench: Any, home_rad: Array) -> FreeBench:
    """As `running`."""
    return running(task, chain, loop_bench, home_rad)


def running(task: TaskConfig, chain: KinematicChain, loop_bench: Any, home_rad: Array) -> FreeBench:
    """A bench whose policy has moved the arm for a second and a half."""
    bench = FreeBench(task, chain, loop_bench, home_rad)
    bench.run(0.2)
    bench.loop.start(0)
    bench.run(1.51)
    assert bench.loop.state is LoopState.RUNNING
    return bench


def _nan(bench: FreeBench) -> None:
    with pytest.raises(ImplausibleJointsError) as caught:
        bench.loop.observations.add_joints(bench.now_s + 0.001, bench.now_s + 0.001,
                                           bench.task.joints.names, [float("nan")] * 7)  # type: ignore[union-attr]
    bench.loop.watchdogs.report(Trouble(Alarm.JOINTS_NOT_FINITE, str(caught.value)))


def _stand(bench: FreeBench) -> None:
    stood = bench.arm.q_rad([bench.now_s])[0]
    bench.measured = lambda q: stood


def _drift(bench: FreeBench) -> None:
    begun_s = bench.now_s
    bench.measured = lambda q: q + np.array([4.0 * (bench.now_s - begun_s), *[0.0] * 6])


def _sway(bench: FreeBench) -> None:
    """From side to side, fast enough for an outage to matter."""
    home = bench.policy.predict(bench.loop.observations.window([bench.now_s], bench.policy.observation_keys))

    def predict(window: ObservationWindow) -> ActionChunk:
        times_s = window.time_s + 0.1 * np.arange(1, 16, dtype=np.float64)
        poses = np.tile(home.parts["pose"][0], (15, 1))
        poses[:, 1] += 0.08 * np.sin(np.pi * (times_s - begun_s))
        return ActionChunk(window.time_s, times_s, {"pose": poses})

    begun_s, bench.policy.predict = bench.now_s, predict


OTHER = Trouble(Alarm.OTHER_COMMANDER, "/rqt commands the arm too")
FAULTS: dict[Alarm, Callable[[FreeBench], None]] = {
    Alarm.CAMERA_STALE: lambda bench: setattr(bench, "has_camera", False),
    Alarm.CAMERA_FROZEN: lambda bench: setattr(bench, "image", 7),
    Alarm.JOINTS_STALE: lambda bench: setattr(bench, "has_joints", False),
    Alarm.JOINTS_NOT_FINITE: _nan,
    Alarm.CLOCK_JUMP: lambda bench: setattr(bench.arm, "now_ms", bench.arm.now_ms + 3000),
    Alarm.POLICY_GONE: lambda bench: setattr(bench.caller, "is_gone", True),
    Alarm.POLICY_SILENT: lambda bench: setattr(bench.caller, "is_silent", True),
    Alarm.CONTROLLER_DEAD: _stand,
    Alarm.TRAJECTORIES_LOST: lambda bench: setattr(bench.controller, "is_lossy", True),
    Alarm.OTHER_COMMANDER: lambda bench: setattr(bench.controller, "wrong", OTHER),
    Alarm.ARM_REFLEX: lambda bench: setattr(bench, "mode", "reflex"),
    Alarm.ARM_USER_STOPPED: lambda bench: setattr(bench, "mode", "user_stopped"),
    Alarm.ARM_GUIDING: lambda bench: setattr(bench, "mode", "guiding"),
    Alarm.ARM_UNKNOWN: lambda bench: setattr(bench, "has_arm", False),
}
# Before the alarm can be seen: the next report of the arm, the next question to the policy, the next frame.
NEXT_S = {Alarm.ARM_REFLEX: 0.02, Alarm.ARM_USER_STOPPED: 0.02, Alarm.ARM_GUIDING: 0.02, Alarm.POLICY_SILENT: 0.4,
          Alarm.CAMERA_FROZEN: 0.05, Alarm.CLOCK_JUMP: 3.0}
# At less than the bound, but for what is seen at once.
NOT_BEFORE_S = {Alarm.CAMERA_STALE: 0.10, Alarm.CAMERA_FROZEN: 0.10, Alarm.JOINTS_STALE: 0.08,
                Alarm.POLICY_SILENT: 0.2, Alarm.ARM_UNKNOWN: 0.12, Alarm.TRAJECTORIES_LOST: 0.06}


@pytest.mark.parametrize("alarm", FAULTS, ids=lambda alarm: alarm.value)
def test_a_watchdog_speaks_within_its_bound(bench: FreeBench, alarm: Alarm) -> None:
    """State, alarm, reason with remedy, and afterwards the plan in force has ended at rest."""
    FAULTS[alarm](bench)
    took_s = bench.until_alarm(3.5)
    assert bench.loop.run.alarm is alarm
    assert bench.loop.state.value == REACTIONS[alarm].state
    assert REACTIONS[alarm].remedy in bench.loop.detail
    assert NOT_BEFORE_S.get(alarm, 0.0) <= took_s <= bench.loop.bound_s(alarm) + NEXT_S.get(alarm, 0.0) + 1e-9
    messages = bench.controller.carried
    bench.run(0.5)
    if not REACTIONS[alarm].brakes:
        assert bench.controller.carried == messages, "an arm that does not follow is sent nothing"
    assert bench.loop.is_at_rest(bench.now_s)


def test_tracking_error_is_a_fault_at_the_allowed_distance(bench: FreeBench) -> None:
    """Not below it."""
    bench.measured = lambda q: q + np.array([0.04, *[0.0] * 6])
    bench.run(0.5)
    assert bench.loop.state is LoopState.RUNNING
    _drift(bench)
    assert bench.until_alarm(0.5) == pytest.approx(0.06, abs=0.011)
    assert bench.loop.run.alarm is Alarm.TRACKING_ERROR


@pytest.mark.parametrize("back", [1.0, 2.0], ids=["held up", "thrown back"])
def test_a_touch_that_one_joint_feels_is_no_dead_controller(bench: FreeBench, back: float) -> None:
    """The fastest joint of the plan loses its way for 0.2 s and catches up in as long; the others go on."""
    begun_s, running = bench.now_s, bench.loop.running
    assert running is not None
    speed_rad_s = running.sample(begun_s).dq_rad_s[0]
    fastest = int(np.argmax(np.abs(speed_rad_s)))

    def touched(q: Array) -> Array:
        since_s = bench.now_s - begun_s
        lost_s = max(0.0, min(since_s, 0.4 - since_s))
        return q - np.eye(7)[fastest] * back * lost_s * speed_rad_s[fastest]

    bench.measured = touched
    bench.run(0.6)
    assert bench.loop.state is LoopState.RUNNING, bench.loop.detail
    bench.measured = None
    _stand(bench)
    bench.until_alarm(0.2)
    assert bench.loop.run.alarm is Alarm.CONTROLLER_DEAD


def test_a_controller_whose_topic_nobody_reads_is_dead_at_once(bench: FreeBench) -> None:
    """Though the arm still holds."""
    bench.controller.wrong = Trouble(Alarm.CONTROLLER_DEAD, "nobody reads the topic")
    assert bench.until_alarm(0.5) <= 0.01 + 1e-9
    assert bench.loop.run.alarm is Alarm.CONTROLLER_DEAD


@pytest.mark.parametrize("mode", ["idle", "other"])
def test_an_arm_whose_controller_is_deactivated_is_a_fault(bench: FreeBench, mode: str) -> None:
    """Its mode says so, though nothing has moved yet and no error is reported; the gate then waits for a controller."""
    bench.mode = mode
    assert bench.until_alarm(0.5) <= bench.loop.bound_s(Alarm.CONTROLLER_DEAD)
    assert bench.loop.run.alarm is Alarm.CONTROLLER_DEAD
    assert f"its mode is {mode}" in bench.loop.detail
    bench.run(0.5)
    bench.loop.clear_fault(bench.now_s)
    bench.loop.start(0)
    bench.run(1.0)
    assert bench.loop.state is LoopState.IDLE
    bench.mode = "move"
    bench.run(0.1)
    assert bench.loop.state is LoopState.HOMING


@pytest.mark.parametrize("lost_ms", [20, 50, 80, 90, 100, 120, 150, 180, 200, 220, 250, 300, 400, 700])
def test_an_outage_of_the_trajectories_alone_is_never_a_step(bench: FreeBench, lost_ms: int) -> None:
    """Joints, frames and the arm's reports go on; whenever the trajectories come back, the arm's limits are kept.

    A short one is not even seen; a longer one holds the arm until it stands, and then the run goes on from there.
    """
    _sway(bench)
    bench.run(1.0)
    while np.abs(np.diff(bench.arm.q_rad([bench.now_s, bench.now_s + 0.001]), axis=0)).max() < 0.35e-3:
        assert bench.step() is LoopState.RUNNING
    bench.controller.is_lossy, carried = True, bench.controller.carried
    for _ in range(lost_ms // TICK_MS):
        bench.step()
    assert bench.controller.carried <= carried + 1  # what waits somewhere and is delivered later would be a step
    bench.controller.is_lossy = False
    bench.run(2.0)
    rows = np.concatenate(bench.arm.setpoints)
    assert ReflexModel(rows[0]).check(rows) == (len(rows), None)
    assert bench.loop.state is LoopState.RUNNING
    assert bench.loop.counts.holds == (lost_ms >= 100) or lost_ms in (80, 90)
    assert not bench.loop.is_at_rest(bench.now_s)


@pytest.mark.parametrize(("lost_ms", "state"), [(100, LoopState.RUNNING), (200, LoopState.RUNNING)])
def test_a_few_lost_frames_do_not_end_the_run(bench: FreeBench, lost_ms: int, state: LoopState) -> None:
    """Three frames: nothing is seen. Six: a hold that ends with the next frame."""
    bench.has_camera = False
    bench.run(lost_ms / 1000)
    bench.has_camera = True
    bench.run(0.05)
    assert bench.loop.state is state
    assert bench.loop.counts.holds == (lost_ms > 150)


def test_a_sensor_must_be_good_for_half_a_second(bench: FreeBench) -> None:
    """After a second without frames; then the policy moves on, and a chunk of before the pause does not count."""
    bench.has_camera = False
    bench.run(1.0)
    bench.has_camera = True
    bench.run(0.4)
    assert bench.loop.state is LoopState.HOLD
    with pytest.raises(DeploymentError, match="stop it before"):
        bench.loop.start(1)
    bench.run(0.2)
    assert bench.loop.state is LoopState.RUNNING
    bench.run(1.0)
    assert not bench.loop.is_at_rest(bench.now_s)


def test_after_an_outage_the_run_goes_on_from_where_the_arm_stands(bench: FreeBench) -> None:
    """Not from where its plan would have stopped it: to a controller that never heard of that it would be a step."""
    bench.has_joints = False
    bench.run(1.0)
    assert bench.loop.state is LoopState.HOLD
    bench.has_joints, bench.measured = True, lambda q: q + 0.02
    while bench.step() is LoopState.HOLD:
        pass
    assert bench.loop.running is not None
    np.testing.assert_allclose(bench.loop.running.q_rad[0], bench.arm.q_rad([bench.now_s])[0] + 0.02, atol=1e-9)
    assert bench.loop.running.start_s > bench.now_s


def test_a_silent_policy_goes_on_with_its_answer(bench: FreeBench) -> None:
    """And cannot be resumed before."""
    bench.caller.is_silent = True
    bench.until_alarm(1.0)
    with pytest.raises(DeploymentError, match="not answered"):
        bench.loop.resume(bench.now_s)
    bench.caller.is_silent = False
    bench.run(0.05)
    assert bench.loop.state is LoopState.RUNNING


def test_a_fault_is_cleared_by_an_operator_alone(bench: FreeBench) -> None:
    """Not while the arm reports it, not by stop, start or time; afterwards the run homes from the measured joints."""
    bench.mode, bench.errors = "reflex", ("cartesian_reflex",)
    bench.until_alarm(0.5)
    bench.run(2.0)
    bench.loop.stop(bench.now_s, "an operator")
    with pytest.raises(DeploymentError, match="a fault is latched"):
        bench.loop.start(0)
    with pytest.raises(DeploymentError, match="cartesian_reflex"):
        bench.loop.clear_fault(bench.now_s)
    assert bench.loop.state is LoopState.FAULT
    bench.mode, bench.errors = "move", ()
    bench.run(0.1)
    assert bench.loop.state is LoopState.FAULT
    bench.loop.clear_fault(bench.now_s)
    bench.run(0.1)
    assert bench.loop.state is LoopState.IDLE
    bench.loop.start(0)
    bench.step()
    assert bench.loop.state is LoopState.HOMING
    assert bench.loop.running is not None
    bench.run(bench.loop.running.end_s - bench.now_s + 0.5)
    assert bench.loop.state is LoopState.RUNNING


def test_home_alone_ends_at_home(bench: FreeBench) -> None:
    """The policy does not take over."""
    bench.loop.stop(bench.now_s, "an operator")
    bench.loop.home()
    bench.run(4.0)
    assert (bench.loop.state, bench.loop.detail) == (LoopState.IDLE, "the arm is at home")
    assert bench.loop.is_at_rest(bench.now_s)


def test_an_uncertain_classifier_is_seen_after_its_decisions() -> None:
    """Three in a row; at the border of two stages the likeliest is likely enough; no classifier is not uncertain."""

    def chunk(*probabilities: float) -> ActionChunk:
        return ActionChunk(0.0, np.array([0.1]), {}, 0, np.array(probabilities) if probabilities else None)

    watch = ClassifierWatch(WatchdogBounds())
    for given in [(0.36, 0.34, 0.3)] * 2 + [(0.05, 0.5, 0.45)] + [(0.36, 0.34, 0.3)] * 2 + [()]:
        watch.update(chunk(*given))
        assert not watch.is_uncertain
    watch.update(chunk(0.36, 0.34, 0.3))
    assert watch.is_uncertain
    for _ in range(3):
        assert watch.is_uncertain
        watch.update(chunk(0.0, 0.9, 0.1))
    assert not watch.is_uncertain


def test_an_uncertain_classifier_holds_until_overruled(task: TaskConfig, chain: KinematicChain, loop_bench: Any,
                                                       home_rad: Array) -> None:
    """The policy is asked on while the arm rests; an operator's resume starts the count anew."""
    bench = FreeBench(task, chain, loop_bench, home_rad)
    predict = bench.policy.predict

    def unsure(window: ObservationWindow) -> ActionChunk:
        return replace(predict(window), stage=0, stage_probabilities=np.array([0.36, 0.34, 0.3]))

    bench.policy.predict = unsure
    bench.run(0.2)
    bench.loop.start(0)
    bench.run(2.0)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.HOLD, Alarm.CLASSIFIER_UNCERTAIN)
    asked = len(bench.policy.questions)
    bench.run(1.0)
    assert len(bench.policy.questions) > asked
    bench.loop.resume(bench.now_s)
    bench.run(0.5)
    assert bench.loop.state is LoopState.RUNNING


def test_the_document_has_every_watchdog_with_its_bound(task: TaskConfig) -> None:
    """docs/safety.md: name, seconds, state."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*?) \| (\w+) \|", SAFETY.read_text(), re.MULTILINE)
    told = {name: (bound, state) for name, bound, state in rows}
    assert set(told) == {alarm.value for alarm in Alarm}
    config = DeploymentConfig(latency_s=0.0, hold_to_run_s=0.25)
    for alarm in Alarm:
        bound, state = told[alarm.value]
        assert state == REACTIONS[alarm].state
        assert float(bound.split()[0]) == pytest.approx(detection_bound_s(alarm, config, task.period_s, 0.0)), alarm
