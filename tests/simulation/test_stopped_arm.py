"""The simulated arm after a reflex, in a person's hand, and when its controller dies."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import SimulationError
from simulation import expert
from simulation.reflex_model import CONTROLLER_LOST, ReflexModel
from simulation.scene_sampling import SceneConfig, sample_scene
from simulation.served_arm import ServedArm
from simulation.served_link import ArmEnd, ControllerGoneError, SetpointRequest, answer_requests

SCENE: SceneConfig = sample_scene(0, "train")
SETPOINT, MEASURED, SPEED, STOPPED = slice(0, 7), slice(7, 14), slice(14, 21), 21


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    """The expert's set-points (n, 7)."""
    return expert.plan(SCENE)


@pytest.mark.parametrize("stopped_at", [700, 1500, 2600, 4100])
@pytest.mark.parametrize("how", ["trip", "take"])
def test_a_stopped_arm_brakes_within_its_limits_and_follows_nothing(motion: np.ndarray, stopped_at: int,
                                                                    how: str) -> None:
    """The arm's own braking is no violation, and what the controller goes on sending moves nothing."""
    arm = ServedArm()
    arm.reset(SCENE, keeps_motion=True)
    begun = arm.advance(motion[:stopped_at], []).motion
    stopped = arm.trip(CONTROLLER_LOST) if how == "trip" else arm.take("guiding")
    assert stopped.is_stopped
    braked = arm.advance(motion[stopped_at : stopped_at + 700], []).motion
    assert begun is not None
    assert braked is not None
    rows = np.vstack([begun, braked])
    assert ReflexModel(motion[0]).check(rows[:, SETPOINT]) == (len(rows), None)
    np.testing.assert_array_equal(rows[:, STOPPED], np.arange(len(rows)) >= stopped_at)
    assert np.abs(braked[-100:, SPEED]).max() < 1e-3
    np.testing.assert_allclose(braked[-100:, MEASURED], np.tile(braked[-1, SETPOINT], (100, 1)), atol=1e-4)


def test_a_recovered_arm_follows_from_where_it_stands(motion: np.ndarray) -> None:
    """While it moves it cannot be recovered; then it takes set-points that begin where it is."""
    arm = ServedArm()
    start = arm.reset(SCENE, keeps_motion=True)
    # The fastest stretch of the way.
    fastest = int(np.abs(np.diff(motion, axis=0)).max(axis=1).argmax())
    arm.advance(motion[:fastest], [])
    assert arm.trip(CONTROLLER_LOST).reflex == CONTROLLER_LOST
    with pytest.raises(SimulationError, match="the arm still moves"):
        arm.recover()
    arm.advance(np.tile(start.q_rad, (1000, 1)), [])
    state = arm.recover()
    assert not state.is_stopped
    held = arm.advance(np.tile(state.q_rad, (200, 1)), []).motion
    assert held is not None
    assert not held[:, STOPPED].any()
    np.testing.assert_array_equal(held[:, SETPOINT], np.tile(state.q_rad, (200, 1)))


def hold(request: SetpointRequest) -> np.ndarray:
    """A controller that holds."""
    return np.tile(request.measured_rad, (request.cycles, 1))


def test_a_killed_controller_is_told_from_a_slow_one_and_may_be_followed_by_another(tmp_path: Path) -> None:
    """Its death is an error of its own at the next question; the next controller connects at the same socket."""
    path = str(tmp_path / "arm.sock")
    arm = ArmEnd(path)
    request = SetpointRequest("setpoints", 0, 3, -1, (0.1, 0.2), (0.0, 0.0))
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        controller = context.Process(target=answer_requests, args=(path, hold))
        controller.start()
        arm.accept()
        np.testing.assert_array_equal(arm.ask(request), np.tile((0.1, 0.2), (3, 1)))
        controller.kill()
        controller.join()
        with pytest.raises(ControllerGoneError, match="the controller's process ended"):
            arm.ask(request)
        assert not arm.accept_waiting()
    arm.close()
