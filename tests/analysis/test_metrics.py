"""Errors of predicted actions, with policies whose errors are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from analysis.episode_predictions import EpisodeRecord, predict_episode, split_action, window_at
from analysis.metrics import episode_metrics, part_errors, stage_metrics, summary
from ladle.errors import CheckpointError
from ladle.policy import ActionChunk, ObservationWindow
from ladle.pose import quaternion_from_rotation_vector, quaternion_multiply
from ladle.task import TaskConfig, load_task

TASK = load_task("scoop")
N_TICKS, HORIZON, TA, TO = 20, 7, 4, 2


def recorded_episode() -> EpisodeRecord:
    """A curved path with turning hand; the observation shows the tick's own number in x."""
    ticks = np.arange(N_TICKS)
    pose = np.zeros((N_TICKS, 7))
    pose[:, :3] = np.stack([0.01 * ticks, np.sin(0.2 * ticks), 0.001 * ticks**2], axis=1)
    pose[:, 3:] = quaternion_from_rotation_vector(np.stack([0.05 * ticks, 0 * ticks, 0.02 * ticks], axis=1))
    eef = np.tile([0, 0, 0, 0, 0, 0, 1.0], (N_TICKS, 1))
    eef[:, 0] = ticks
    return EpisodeRecord(streams={"eef": eef}, action={"pose": pose}, labels=np.repeat([0, 1, 2], [8, 6, 6]))


class Replaying:
    """Answers with the recorded actions that follow the tick it sees, changed by a function."""

    task: TaskConfig = TASK
    n_obs_steps, n_action_steps, observation_keys = TO, TA, ("eef",)

    def __init__(self, change: Callable[[np.ndarray], np.ndarray] = lambda pose: pose, shift: int = 0,
                 period_s: float = 0.1) -> None:
        self._record, self._change, self._shift, self._period_s = recorded_episode(), change, shift, period_s

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """The next HORIZON actions; the stage is the label."""
        tick = round(float(window.streams["eef"][-1, 0]))
        rows = np.clip(tick + self._shift + np.arange(HORIZON), 0, N_TICKS - 1)
        assert self._record.labels is not None
        stage = int(self._record.labels[tick])
        times_s = window.time_s + self._period_s * np.arange(1, HORIZON + 1)
        return ActionChunk(window.time_s, times_s, {"pose": self._change(self._record.action["pose"][rows])},
                           stage, np.eye(3)[stage])


def analysed(policy: Replaying) -> dict:
    """Metrics of the policy on the recorded episode."""
    record = recorded_episode()
    return episode_metrics(record, predict_episode(policy, record, seed=0), TASK, TA)


def test_a_policy_that_repeats_the_recording_has_no_error() -> None:
    """Every tick and every element of the horizon is compared with its own recorded action."""
    metrics = analysed(Replaying())
    for numbers in metrics["action_parts"]["pose"].values():
        assert max(numbers["by_horizon_step"]) < 1e-5
        assert numbers["p95"] < 1e-5
    assert metrics["n_ticks"] == N_TICKS
    assert metrics["stage"] == {"accuracy": 1.0, "first_tick_delay": {"0": 0, "1": 0, "2": 0}}


@pytest.mark.parametrize("shift", [-1, 1])
def test_being_one_tick_off_is_seen(shift: int) -> None:
    """Chunks that are a tick early or late are errors: the comparison does not slide."""
    assert analysed(Replaying(shift=shift))["action_parts"]["pose"]["position_error_mm"]["mean"] > 50


def test_known_errors_come_out_in_mm_and_degrees() -> None:
    """3 and 4 mm sideways and a turn of 5 degrees are 5 mm and 5 degrees, whatever the quaternion's sign."""
    turn = quaternion_from_rotation_vector(np.radians([0, 5.0, 0]))

    def changed(pose: np.ndarray) -> np.ndarray:
        return np.concatenate([pose[:, :3] + [0.003, 0, 0.004], -quaternion_multiply(pose[:, 3:], turn)], axis=1)

    pose = analysed(Replaying(changed))["action_parts"]["pose"]
    np.testing.assert_allclose(pose["position_error_mm"]["by_horizon_step"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(pose["rotation_error_deg"]["by_horizon_step"], 5.0, rtol=1e-4)
    assert pose["position_error_mm"]["mean_executed"] == pytest.approx(5.0)


def test_an_error_that_grows_with_the_horizon_is_told_by_step() -> None:
    """by_horizon_step holds each step's own error, and *_executed only what would be executed."""
    growing = np.zeros((HORIZON, 7))
    growing[:, 0] = 0.001 * np.arange(HORIZON)
    numbers = analysed(Replaying(lambda pose: pose + growing))["action_parts"]["pose"]["position_error_mm"]
    np.testing.assert_allclose(numbers["by_horizon_step"], np.arange(HORIZON), atol=1e-9)
    executed = [h for tick in range(N_TICKS) for h in range(TA) if tick + h < N_TICKS]
    assert numbers["mean_executed"] == pytest.approx(np.mean(executed))
    assert numbers["mean"] > numbers["mean_executed"]


def test_nothing_behind_the_episodes_end_is_compared() -> None:
    """A prediction for a tick that was not recorded is no error: only its recorded elements count."""
    record = recorded_episode()
    policy = Replaying()
    predictions = predict_episode(policy, record, seed=0)
    predictions.parts["pose"][-1, 1:, :3] += 100.0
    metrics = episode_metrics(record, predictions, TASK, TA)
    assert metrics["action_parts"]["pose"]["position_error_mm"]["mean"] < 1e-5


def test_a_stage_that_is_late_or_missing_is_told() -> None:
    """Accuracy counts ticks; the delay is in ticks, None for a stage that is never found."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    told = stage_metrics(np.array([0, 0, 0, 1, 1, 1]), labels)
    assert told == {"accuracy": pytest.approx(0.5), "first_tick_delay": {"0": 0, "1": 1, "2": None}}


def test_a_window_before_the_start_repeats_the_first_tick() -> None:
    """At tick 0 the window holds the first observation To times, at increasing times, as in training."""
    window = window_at(recorded_episode(), 0, 3, 0.1)
    assert window.streams["eef"][:, 0].tolist() == [0, 0, 0]
    assert window.time_s == 0.0
    np.testing.assert_allclose(np.diff(window.observation_times_s), 0.1)


def test_actions_at_another_rate_are_refused() -> None:
    """A chunk whose elements are not one task period apart cannot be compared tick by tick."""
    with pytest.raises(CheckpointError, match=r"another rate"):
        predict_episode(Replaying(period_s=0.05), recorded_episode(), seed=0)


def test_other_kinds_of_parts_have_their_own_units() -> None:
    """Joints: the worst joint in degrees; xy: distance in the data's unit."""
    degrees = part_errors("joints", np.radians([[1.0, -3.0]]), np.zeros((1, 2)))
    np.testing.assert_allclose(degrees["largest_joint_error_deg"], 3.0)
    np.testing.assert_allclose(part_errors("xy", np.array([[3.0, 4.0]]), np.zeros((1, 2)))["error"], 5.0)


def test_columns_of_the_action_go_to_their_parts() -> None:
    """The task's order of parts cuts the columns."""
    parts = split_action(np.arange(12.0).reshape(2, 6), load_task("ur3_joints"))
    assert {name: values.shape for name, values in parts.items()} == {"joints": (2, 6)}


def test_the_summary_is_of_the_elements_that_it_names() -> None:
    """All, or the executed ones at the chunk's beginning; 95 of 100 errors lie below p95; what is not there is not."""
    errors = np.tile(np.arange(1.0, 102.0)[:, None], (1, 3)) * np.array([1.0, 10.0, 100.0])
    exists = np.ones(errors.shape, bool)
    found = summary(errors, exists, 1)
    assert (found["mean_executed"], found["p95_executed"]) == (51.0, 96.0)
    assert found["mean"] == pytest.approx(51.0 * 37)
    assert found["p95"] == pytest.approx(np.quantile(errors, 0.95))
    assert found["by_horizon_step"] == [51.0, 510.0, 5100.0]
    exists[1:, 1], exists[:, 2] = False, False
    found = summary(errors, exists, 2)
    assert found["by_horizon_step"] == [51.0, 10.0, None]
    assert found["mean"] == pytest.approx((51.0 * 101 + 10.0) / 102)
