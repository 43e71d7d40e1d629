"""Two simulated arms as a data set of the ALOHA kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ladle.errors import SimulationError
from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBuffer
from ladle.task import task_from_text
from simulation import expert
from simulation.record import RETRY_STRIDE
from simulation.scene_sampling import sample_scene
from simulation.two_arm_export import JOINT_NAMES, export_two_arms
from training.inference import load_policy
from training.train import run

# 138 million parameters made few; the cameras keep their size.
NARROW = ["training.device=cpu", "training.batch_size=4", "training.max_steps=3", "training.warmup_steps=1",
          "training.precision=float32", "training.threads=1", "training.val_ratio=0", "training.checkpoint_every=3",
          "training.validate_every=3", "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16",
          "encoder.backbone=small_cnn", "encoder.keypoints=4", "encoder.channels=[16,16]", "encoder.strides=[4,4]",
          "diffusion.train_steps=8", "diffusion.sample_steps=2"]


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of their first 1.3 seconds."""
    output = tmp_path_factory.mktemp("two_arms") / "two_arms.zarr"
    return export_two_arms(output, 2, seconds=1.3, camera_rate_hz=5.0, backend="rays")


def test_the_configuration_for_two_arms_trains_on_it_and_predicts(two_arms: Path, tmp_path: Path):
    """As it comes, but with a narrow network."""
    policy = load_policy(run([*NARROW, f"task.dataset_path={two_arms}", f"training.output_dir={tmp_path}"],
                             config_name="aloha"))
    buffer = ReplayBuffer.open(two_arms)
    streams = {key: np.asarray(buffer[key][10:12]) for key in policy.observation_keys}
    chunk = policy.predict(ObservationWindow(0.24, np.array([0.20, 0.22]), streams))
    assert chunk.parts["joints"].shape == (policy.horizon - 1, 14)
    assert np.isfinite(chunk.parts["joints"]).all()


def test_the_arms_are_two_and_labelled(two_arms: Path):
    """Each follows its own commands, left before right, under names that say what they are."""
    buffer = ReplayBuffer.open(two_arms)
    task = task_from_text(buffer.meta["task"])
    assert task.joints is not None
    assert task.joints.names == JOINT_NAMES
    assert "simulated" in buffer.meta["simulated"]
    assert np.array_equal(buffer.episode_ends, [64, 128])
    joints, action = (np.asarray(buffer[key][:64]) for key in ("joints", "action"))
    for arm in (slice(0, 7), slice(7, 14)):
        assert np.abs(joints[1:, arm] - action[:-1, arm]).max() < 0.02, "what was commanded is reached a tick later"
        assert np.ptp(joints[:, arm], axis=0).max() > 0.02, "it moves"
    assert np.abs(joints[:, :7] - joints[:, 7:]).max() > 0.05


def test_commands_are_those_of_the_tick_that_follows(two_arms: Path):
    """20 ms after the observation, from the expert's plan for the episode's scene."""
    action = np.asarray(ReplayBuffer.open(two_arms)["action"][:64, 7:])
    plan = expert.plan(sample_scene(1, "train"))
    assert np.allclose(action, plan[19:20 * 64:20], atol=1e-6), "scene 1 is one in which the expert succeeds"


def test_three_cameras_see_different_things_at_their_own_pace(two_arms: Path):
    """At 5 Hz a picture holds for ten ticks; the high camera has the left scene on its left half."""
    buffer = ReplayBuffer.open(two_arms)
    views = {key: np.asarray(buffer[key][:21]) for key in ("cam_high", "cam_left_wrist", "cam_right_wrist")}
    for frames in views.values():
        assert frames.shape == (21, 240, 320, 3)
        assert frames.dtype == np.uint8
        assert np.array_equal(frames[0], frames[9])
        assert not np.array_equal(frames[9], frames[10])
    assert np.abs(views["cam_left_wrist"].astype(int) - views["cam_right_wrist"]).mean() > 5
    left, right = np.split(views["cam_high"][0].astype(int), 2, axis=1)
    assert np.abs(left - right).mean() > 2


@pytest.mark.parametrize(("given", "message"), [
    ({"camera_rate_hz": 15.0}, "camera rate of 15 Hz must divide the task's 50 Hz"),
    ({"camera_rate_hz": 0.0}, "camera rate of 0 Hz"),
    ({"seconds": 0.02}, "less than two ticks"),
])
def test_what_does_not_fit_is_refused(given: dict[str, float], message: str, tmp_path: Path):
    """Nothing is written."""
    with pytest.raises(SimulationError, match=message):
        export_two_arms(tmp_path / "x.zarr", 1, **given)  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_data_that_exist_are_kept(two_arms: Path):
    """The user removes them."""
    with pytest.raises(SimulationError, match="exists already"):
        export_two_arms(two_arms, 1)


def test_a_scene_that_defeats_the_expert_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """By one that many seeds away, as when bags are recorded."""
    asked: list[int] = []
    plan = expert.plan

    def failing(scene):
        asked.append(scene.seed)
        if scene.seed == 0:
            raise SimulationError("out of reach")
        return plan(scene)

    monkeypatch.setattr(expert, "plan", failing)
    export_two_arms(tmp_path / "x.zarr", 1, seconds=0.1, backend="rays")
    assert asked == [0, RETRY_STRIDE, 1]
