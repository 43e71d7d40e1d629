"""What the table of watchdogs does not say: each sensor, each direction, each end of a wait by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.approach import MAX_HOMINGS
from real_world_deployment.arm_condition import ArmCondition, ArmWatch
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.loop_state import LoopState
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import REACTIONS, Alarm
from real_world_deployment.safety.arrivals import Arrivals
from real_world_deployment.safety.frozen_cameras import FrozenCameras
from real_world_deployment.safety.watchdogs import Watchdogs
from real_world_deployment.trajectory import at_rest

Array = NDArray[np.float64]


@pytest.fixture
def bench(task: TaskConfig, chain: KinematicChain, loop_bench: Any, watchdog_bench: Any, home_rad: Array) -> Any:
    """A run of a second and a half, whose parts can be broken."""
    return watchdog_bench.running(task, chain, loop_bench, home_rad)


def test_an_arm_that_does_not_follow_is_sent_no_stop() -> None:
    """To it any message would be a step; nor is one sent by a clock that leapt. All others brake."""
    assert {alarm for alarm in Alarm if not REACTIONS[alarm].brakes} == {
        Alarm.CLOCK_JUMP, Alarm.TRACKING_ERROR, Alarm.CONTROLLER_DEAD, Alarm.TRAJECTORIES_LOST, Alarm.OTHER_COMMANDER,
        Alarm.ARM_REFLEX, Alarm.ARM_USER_STOPPED, Alarm.ARM_GUIDING}


@pytest.mark.parametrize("frozen", ["camera_0", "camera_1"])
def test_one_camera_that_is_frozen_is_seen(frozen: str, task: TaskConfig) -> None:
    """While the other one is not, whichever it is."""
    observations = ObservationBuffer(task, None)
    watch = FrozenCameras(observations, 0.15, dict.fromkeys(observations.camera_keys, 0.03))
    for n in range(8):
        for key, shape, kind in (("camera_1", (120, 240, 3), np.uint8), ("camera_0", (120, 240), np.uint16)):
            observations.add_frame(key, 0.03 * n, 0.03 * n, np.full(shape, 0 if key == frozen else n, kind))
        assert watch.frozen() == (frozen if n >= 5 else None)


@pytest.mark.parametrize(("mode", "errors", "rate", "alarm"), [
    ("move", (), 1.0, None), ("move", (), 0.81, None), ("move", (), 0.79, Alarm.ARM_UNKNOWN), ("idle", (), 0.0, None),
    ("move", ("joint_reflex",), 1.0, Alarm.ARM_REFLEX), ("reflex", (), 1.0, Alarm.ARM_REFLEX),
    ("automatic_error_recovery", (), 1.0, Alarm.ARM_REFLEX),
])
def test_what_the_arm_reports_is_trouble(mode: str, errors: tuple[str, ...], rate: float, alarm: Alarm | None) -> None:
    """An error without a mode of its own, a recovery under way, commands of which too few arrive."""
    watch = ArmWatch(DeploymentConfig())
    watch.see(ArmCondition(mode, errors, rate, 1.0))
    trouble = watch.trouble(1.0)
    assert (None if trouble is None else trouble.alarm) is alarm


def test_an_arms_report_of_the_future_is_none() -> None:
    """After the clock was set back the arm could fall silent, and its last report would be fresh for long."""
    watch = ArmWatch(DeploymentConfig(arm_condition_required=True))
    watch.see(ArmCondition("move", (), 1.0, 10.0))
    for now_s, alarm in ((10.0, None), (10.14, None), (10.16, Alarm.ARM_UNKNOWN), (9.9, Alarm.ARM_UNKNOWN)):
        trouble = watch.trouble(now_s)
        assert (None if trouble is None else trouble.alarm) is alarm


def test_lost_trajectories_matter_until_the_arm_has_settled(task: TaskConfig, home_rad: Array) -> None:
    """Half a second after the plan's end: only then is it known where the arm is."""

    class Lossy:
        is_begun_anew = False

        def unheard(self, now_s: float) -> str | None:
            return "lost"

        def begin_anew(self) -> None:
            self.is_begun_anew = True

    controller = Lossy()
    watchdogs = Watchdogs(DeploymentConfig(), ObservationBuffer(task, None), controller, {})
    trouble = watchdogs.look(1.45, at_rest(home_rad, 1.0))
    assert trouble is not None
    assert trouble.alarm is Alarm.TRAJECTORIES_LOST
    assert not controller.is_begun_anew
    watchdogs.look(1.55, at_rest(home_rad, 1.0))
    assert controller.is_begun_anew


def test_in_another_scene_the_arm_has_not_reported_yet(bench: Any) -> None:
    """What it reported in the one before is forgotten, whatever the clock says."""
    assert bench.loop.watchdogs.arm.trouble(bench.now_s) is None
    bench.loop.forget()
    trouble = bench.loop.watchdogs.arm.trouble(bench.now_s)
    assert trouble is not None
    assert trouble.alarm is Alarm.ARM_UNKNOWN


@pytest.mark.parametrize(("what", "alarm"), [("add_frame", Alarm.CAMERA_STALE), ("add_joints", Alarm.JOINTS_STALE)])
def test_what_comes_ever_later_holds_the_arm(bench: Any, monkeypatch: pytest.MonkeyPatch, what: str,
                                             alarm: Alarm) -> None:
    """A queue that fills: nothing is silent, and yet nobody sees the present."""
    observations, begun_s = bench.loop.observations, bench.now_s
    add, at = getattr(observations, what), int(what == "add_frame")

    def late(*given: Any) -> None:
        header_s = given[at] - 0.5 * (bench.now_s - begun_s)
        add(*given[:at], header_s, *given[at + 1:])

    monkeypatch.setattr(observations, what, late)
    bench.until_alarm(1.5)
    assert bench.loop.run.alarm is alarm
    assert "what comes is old" in bench.loop.detail


def test_a_run_on_an_earlier_clock_is_watched_like_any(bench: Any) -> None:
    """Whether the arm follows is looked at again at once, and not when the time of the run before is reached."""
    bench.run(5.0)
    bench.loop.stop(bench.now_s, "an operator")
    bench.run(1.0)
    bench.arm.plan, bench.arm._start_rad = None, bench.arm.q_rad([bench.now_s])[0]
    bench.arm.now_ms -= 6500
    bench.loop.tick(bench.now_s)
    bench.loop.observations.reset()
    bench.run(1.1)
    bench.loop.start(0)
    bench.run(0.8)
    assert bench.loop.state is LoopState.HOMING
    stood_rad = bench.arm.q_rad([bench.now_s])[0]
    bench.measured = lambda _: stood_rad
    bench.run(0.2)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.FAULT, Alarm.CONTROLLER_DEAD)


def test_what_is_sent_anew_does_not_begin_the_wait_anew() -> None:
    """The first that is missing counts."""
    arrivals = Arrivals(lambda: False, allowed_s=0.05, longest_look_s=0.02)
    arrivals.note_sent(0.0)
    for now_s in (0.01, 0.02, 0.03, 0.04):
        assert not arrivals.are_missing(now_s)
        arrivals.note_sent(now_s)
    assert arrivals.are_missing(0.05)


@pytest.mark.parametrize(("name", "off", "on", "alarm"), [
    ("has_arm", False, True, Alarm.ARM_UNKNOWN), ("has_joints", False, True, Alarm.JOINTS_STALE),
    ("image", 7, None, Alarm.CAMERA_FROZEN)])
def test_each_sensor_must_be_good_for_half_a_second(bench: Any, name: str, off: Any, on: Any,
                                                    alarm: Alarm) -> None:
    """However long the arm has rested; one report, one frame that differs is not enough."""
    setattr(bench, name, off)
    bench.run(1.5)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.HOLD, alarm)
    setattr(bench, name, on)
    bench.run(0.4)
    assert bench.loop.state is LoopState.HOLD
    bench.run(0.25)
    assert bench.loop.state is LoopState.RUNNING


def test_a_camera_that_froze_briefly_must_be_good_for_half_a_second_too(bench: Any) -> None:
    """Only frames that are lost come back at once."""
    bench.image = 7
    bench.until_alarm(0.3)
    assert bench.loop.run.alarm is Alarm.CAMERA_FROZEN
    bench.image = None
    bench.run(0.3)
    assert bench.loop.state is LoopState.HOLD


def test_a_camera_that_comes_and_goes_has_not_been_good(bench: Any) -> None:
    """Half a second without a gap, not half a second since the first frame."""
    bench.has_camera = False
    bench.run(1.0)
    for has_camera in [True, False] * 4:
        bench.has_camera = has_camera
        bench.run(0.25)
        assert bench.loop.state is LoopState.HOLD


def test_nobody_resumes_what_is_still_wrong(bench: Any) -> None:
    """The reason is told, and the arm stays."""
    bench.has_camera = False
    bench.run(1.0)
    with pytest.raises(DeploymentError, match=r"not resumed: .*nothing comes"):
        bench.loop.resume(bench.now_s)
    assert bench.loop.state is LoopState.HOLD


def test_a_silent_policy_is_seen_within_its_bound_of_the_question(bench: Any) -> None:
    """Counted from the question itself."""
    bench.caller.is_silent = True
    while not bench.loop.questions.is_open:
        bench.step()
    assert bench.until_alarm(1.0) <= bench.loop.bound_s(Alarm.POLICY_SILENT) + 0.0101
    assert bench.loop.run.alarm is Alarm.POLICY_SILENT


def test_a_run_begins_when_the_arm_has_settled(bench: Any) -> None:
    """Half a second after the end of the stop: before, the measured joints are not where its controller is."""
    bench.loop.stop(bench.now_s, "an operator")
    bench.loop.start(0)
    stopped = bench.loop.running
    assert stopped is not None
    bench.step()
    assert "the arm is not at rest yet" in bench.loop.detail
    while bench.step() is LoopState.IDLE:
        assert bench.now_s < stopped.end_s + 1.0
    assert bench.now_s >= stopped.end_s + 0.5


def test_homing_that_is_interrupted_again_and_again_ends(task: TaskConfig, chain: KinematicChain, loop_bench: Any,
                                                         watchdog_bench: Any, home_rad: Array) -> None:
    """A loop that stands still three times a second never gets there; it is not tried for ever."""
    far_rad = home_rad + np.array([0.4, 0, 0, 0, 0, 0, 0])
    bench = watchdog_bench.FreeBench(task, chain, loop_bench, far_rad)
    bench.run(0.2)
    bench.loop.start(0)
    begun_s = bench.now_s
    while bench.loop.state in (LoopState.IDLE, LoopState.HOMING):
        assert bench.now_s < begun_s + 60.0
        bench.run(0.3)
        if bench.loop.state is LoopState.HOMING:
            bench.arm.advance(bench.arm.now_ms + 90)
    assert bench.loop.state is LoopState.STOPPED
    assert bench.loop.run.homings == MAX_HOMINGS
    assert "from home after the homing motion" in bench.loop.detail
