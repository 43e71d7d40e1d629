"""A small made-up scooping data set: where the bright square is shows the stage, the arm moves down and up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import load_task, task_text

TINY = [
    "training.batch_size=8", "training.threads=1", "training.warmup_steps=2", "training.precision=float32",
    "encoder.channels=[16,16]", "encoder.strides=[4,2]", "encoder.keypoints=8",
]
TINY_POLICY = [*TINY, "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.val_ratio=0.25",
               "training.val_windows=8", "training.validate_every=4", "training.checkpoint_every=4"]

TINY_CLASSIFIER = [*TINY, "classifier.n_folds=2", "training.max_steps=80", "training.learning_rate=0.01",
                   "training.checkpoint_every=40"]


def scoop_episode(ticks: int, seed: int) -> dict[str, NDArray]:
    """One episode's streams, as real_data_conversion writes them."""
    rng = np.random.default_rng(seed)
    stage = np.repeat([0, 1, 2], [ticks // 3, ticks // 3, ticks - 2 * (ticks // 3)])
    images = 60 + rng.normal(0, 4, (ticks, 120, 240, 3))
    for image, now in zip(images, stage, strict=True):
        image[55:70, 100 + 11 * now:112 + 11 * now] += 120
    eef = np.zeros((ticks, 7), np.float32)
    eef[:, :3] = rng.normal(0, 0.02, 3) + np.array([0.45, 0.0, 0.3])
    eef[:, 2] += 0.1 * np.cos(np.linspace(0, 2 * np.pi, ticks))
    eef[:, 3] = 1.0
    return {"camera_1": images.astype(np.uint8), "eef": eef, "label": stage[:, None].astype(np.float32),
            "mass": np.full((ticks, 1), 3.0, np.float32), "action": np.concatenate([eef[1:], eef[-1:]])}


@pytest.fixture(scope="session")
def tiny_overrides() -> list[str]:
    """Overrides that make the policy small and its checkpoints frequent."""
    return TINY_POLICY


@pytest.fixture(scope="session")
def tiny_classifier_overrides() -> list[str]:
    """Overrides that make the classifier small but able to learn the made-up stages."""
    return TINY_CLASSIFIER


@pytest.fixture(scope="session")
def scoop_buffer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A replay buffer of four episodes of 24 to 30 ticks, numbered with a gap."""
    path = tmp_path_factory.mktemp("data") / "replay_buffer.zarr"
    meta = {"task": task_text(load_task("scoop")), "episodes": [0, 1, 3, 4]}
    with ReplayBufferWriter(path, meta) as writer:
        for number in range(4):
            writer.append_episode(scoop_episode(24 + 2 * number, number))
    return path


@pytest.fixture
def scoop_window() -> ObservationWindow:
    """Two observations from the middle of an episode that training does not hold."""
    episode = scoop_episode(30, 99)
    times_s = np.array([1.4, 1.5])
    return ObservationWindow(1.55, times_s, {key: episode[key][14:16] for key in ("camera_1", "eef")})


@pytest.fixture
def scoop_window_lifted() -> ObservationWindow:
    """Two observations of the last stage of the same episode."""
    episode = scoop_episode(30, 99)
    return ObservationWindow(2.65, np.array([2.5, 2.6]), {key: episode[key][25:27] for key in ("camera_1", "eef")})


@pytest.fixture(scope="session")
def tiny_classifier(scoop_buffer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a classifier trained on two folds."""
    from training.train_classifier import run

    folder = tmp_path_factory.mktemp("classifier")
    run([*TINY_CLASSIFIER, f"task.dataset_path={scoop_buffer}", f"training.output_dir={folder}"])
    return folder


@pytest.fixture(scope="session")
def tiny_policy(scoop_buffer: Path, tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folder of a policy trained for twelve steps."""
    from training.train import run

    folder = tmp_path_factory.mktemp("policy")
    return run([*TINY_POLICY, f"task.dataset_path={scoop_buffer}", f"training.output_dir={folder}",
                f"training.path_classifier_state_dict={tiny_classifier}", "training.max_steps=12"])
