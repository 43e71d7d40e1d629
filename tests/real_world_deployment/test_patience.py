"""Beside a real robot nothing begins or goes on by itself once somebody may have stepped up to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.loop_state import MOVING, LoopState, Wish
from real_world_deployment.safety.alarms import Alarm

Make = Callable[..., Any]
START_S, HOLD_S = 1.0, 0.8  # shorter than in a run, so that the tests are


@pytest.fixture
def make(task: TaskConfig, chain: KinematicChain, loop_bench: Any, watchdog_bench: Any,
         home_rad: NDArray[Any]) -> Make:
    """A bench whose sensors have been seen."""

    def made(*, real_robot: bool = True, **more: Any) -> Any:
        config = DeploymentConfig(real_robot=real_robot, latency_s=0.0, arm_condition_required=True,
                                  start_patience_s=START_S, hold_patience_s=HOLD_S, **more)
        bench = watchdog_bench.FreeBench(task, chain, loop_bench, home_rad, config)
        bench.run(0.2)
        return bench

    return made


def running(bench: Any) -> Any:
    """The same, with a run under way."""
    bench.loop.start(0)
    bench.run(0.5)
    assert bench.loop.state is LoopState.RUNNING
    return bench


def test_the_patience_of_a_run() -> None:
    """Five seconds for a start, two for a hold."""
    assert (DeploymentConfig().start_patience_s, DeploymentConfig().hold_patience_s) == (5.0, 2.0)


def test_a_start_that_waited_is_withdrawn(make: Make) -> None:
    """A stop button is released, a camera plugged in long after: nothing moves before another start."""
    bench = make()
    bench.mode = "user_stopped"
    bench.run(0.1)
    bench.loop.start(0)
    bench.run(0.95)
    assert bench.loop.run.wish is Wish.RUN
    bench.run(0.1)
    assert (bench.loop.state, bench.loop.run.wish) == (LoopState.IDLE, Wish.NONE)
    assert "not begun within 1 s: arm: the arm is stopped by its user" in bench.loop.detail
    assert bench.loop.detail.endswith("then start again")
    bench.mode = "move"
    bench.run(1.0)
    assert (bench.loop.state, bench.arm.messages) == (LoopState.IDLE, [])
    running(bench)


def test_a_start_that_was_withdrawn_has_as_much_time_again(make: Make) -> None:
    """And what is mended in time begins."""
    bench = make()
    bench.has_camera = False
    bench.run(1.0)
    for _ in range(2):
        bench.loop.start(0)
        bench.run(0.95)
        assert bench.loop.run.wish is Wish.RUN
        bench.run(0.2)
        assert bench.loop.run.wish is Wish.NONE
    bench.loop.start(0)
    bench.run(0.8)
    bench.has_camera = True
    bench.run(0.1)
    assert bench.loop.state is LoopState.RUNNING


def test_in_simulation_a_start_waits_for_ever(make: Make) -> None:
    """Nobody stands beside it."""
    bench = make(real_robot=False)
    bench.has_camera = False
    bench.run(1.0)
    bench.loop.start(0)
    bench.run(2.0)
    bench.has_camera = True
    bench.run(0.2)
    assert bench.loop.state is LoopState.RUNNING


@pytest.mark.parametrize(("real_robot", "gone_s", "goes_on"), [(True, 0.3, True), (True, 0.9, False),
                                                               (False, 0.9, True)])
def test_a_long_hold_of_a_real_robot_waits_for_an_operator(make: Make, real_robot: bool, gone_s: float,
                                                           goes_on: bool) -> None:
    """A camera's cable is put right: after a while somebody may be bent over the arm."""
    bench = running(make(real_robot=real_robot))
    bench.has_camera = False
    bench.run(gone_s)
    bench.has_camera = True
    bench.run(0.8)
    assert bench.loop.state is (LoopState.RUNNING if goes_on else LoopState.HOLD)
    assert ("/ladle/resume or /ladle/start" in bench.loop.detail) == (not goes_on)


def test_an_operator_leads_out_of_a_long_hold(make: Make) -> None:
    """By resume or by another start; while its cause is there it is told, and a resume refused."""
    bench = running(make())
    for way in (lambda: bench.loop.resume(bench.now_s), lambda: bench.loop.start(0)):
        bench.has_camera = False
        bench.run(1.0)
        bench.has_camera = True
        bench.run(0.6)
        assert "its cause is over" in bench.loop.detail
        bench.has_camera = False
        bench.run(0.2)
        assert "nothing comes" in bench.loop.detail
        bench.has_camera = True
        bench.run(0.6)
        assert bench.loop.state is LoopState.HOLD
        way()
        bench.run(0.2)
        assert bench.loop.state in MOVING


def test_a_silent_policy_that_has_answered_at_last_is_resumed(make: Make) -> None:
    """By an operator, after a long hold."""
    bench = running(make())
    bench.caller.is_silent = True
    bench.run(2.0)
    bench.caller.is_silent = False
    bench.run(0.5)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.HOLD, Alarm.POLICY_SILENT)
    bench.loop.resume(bench.now_s)
    bench.run(0.5)
    assert bench.loop.state is LoopState.RUNNING


def test_who_holds_the_button_is_the_operator(make: Make) -> None:
    """Let go for long and pressed again, the arm goes on."""
    bench = make(hold_to_run_s=0.25)
    is_pressed, step = True, bench.step

    def pressing() -> LoopState:
        bench.loop.button.see(is_pressed, bench.now_s)
        return step()

    bench.step = pressing
    running(bench)
    is_pressed = False
    bench.run(1.5)
    assert (bench.loop.state, bench.loop.run.alarm) == (LoopState.HOLD, Alarm.HOLD_TO_RUN)
    is_pressed = True
    bench.run(0.5)
    assert bench.loop.state is LoopState.RUNNING


def test_a_clock_that_jumps_between_two_runs_does_not_block_the_next(make: Make) -> None:
    """The plan of the run before ended at an instant of the other clock."""
    bench = make()
    for step_ms in (5000, -3000):
        bench.arm.now_ms += step_ms
        bench.loop.tick(bench.now_s)
        bench.loop.observations.reset()
        bench.run(1.1)
        bench.loop.start(0)
        bench.run(0.5)
        assert bench.loop.state in MOVING
        bench.loop.stop(bench.now_s, "an operator")
        bench.run(0.5)
