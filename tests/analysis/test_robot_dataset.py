"""From a checkpoint and a replay buffer to a figure and numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.predictions.robot_dataset import FIGURE_NAME, METRICS_NAME, analyse_episode
from ladle.errors import CheckpointError, ReplayBufferError
from ladle.replay_buffer import ReplayBufferWriter, zip_replay_buffer
from ladle.task import load_task, task_text
from training.train import run as train_policy
from training.train_classifier import run as train_classifier

SCRIPT = Path(__file__).parents[2] / "analysis" / "predictions" / "robot_dataset.py"
LENGTHS = (12, 15, 13)
SMALL = ["training.batch_size=4", "training.threads=1", "training.warmup_steps=1", "training.precision=float32",
         "encoder.channels=[8,8]", "encoder.strides=[4,2]", "encoder.keypoints=4", "training.max_steps=2"]
SMALL_POLICY = [*SMALL, "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.val_ratio=0"]


def write_buffer(path: Path, meta: dict[str, object], **left_out: object) -> Path:
    """Three episodes that a hand moves through, numbered 0, 4, 5."""
    rng = np.random.default_rng(0)
    with ReplayBufferWriter(path, meta) as writer:
        for steps in LENGTHS:
            eef = np.zeros((steps, 7), np.float32)
            eef[:, 0], eef[:, 3] = np.linspace(0.4, 0.5, steps), 1.0
            streams = {"camera_1": rng.integers(0, 255, (steps, 120, 240, 3), np.uint8), "eef": eef,
                       "label": (np.arange(steps) * 3 // steps)[:, None].astype(np.float32), "action": eef}
            writer.append_episode({key: value for key, value in streams.items() if key not in left_out})
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small scooping buffer."""
    meta = {"task": task_text(load_task("scoop")), "episodes": [0, 4, 5]}
    return write_buffer(tmp_path_factory.mktemp("dataset") / "replay_buffer.zarr", meta)


@pytest.fixture(scope="module")
def checkpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy with its classifier, hardly trained."""
    root = tmp_path_factory.mktemp("results")
    train_classifier([*SMALL, "classifier.n_folds=2", f"task.dataset_path={dataset}",
                      f"training.output_dir={root / 'classifier'}"])
    return train_policy([*SMALL_POLICY, f"task.dataset_path={dataset}", f"training.output_dir={root / 'policy'}",
                         f"training.path_classifier_state_dict={root / 'classifier'}"])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_episode_can_be_analysed(dataset: Path, checkpoint: Path, tmp_path: Path, index: int) -> None:
    """Index 0 is the first and N-1 the last, each with its own length and recording's number."""
    metrics = analyse_episode(checkpoint, dataset, index, tmp_path)
    assert metrics["n_ticks"] == LENGTHS[index]
    assert metrics["episode_number"] == (0, 4, 5)[index]
    assert 0.0 <= metrics["stage"]["accuracy"] <= 1.0
    assert metrics["action_parts"]["pose"]["position_error_mm"]["mean"] > 0
    assert json.loads((tmp_path / METRICS_NAME).read_text()) == metrics
    assert (tmp_path / FIGURE_NAME).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_names_the_range(dataset: Path, checkpoint: Path, tmp_path: Path, index: int) -> None:
    """Neither a wrap-around nor an empty figure."""
    with pytest.raises(ReplayBufferError, match=rf"episodes 0\.\.2, there is no {index}"):
        analyse_episode(checkpoint, dataset, index, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_seed_gives_the_same_numbers(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Repeatable from folder and .zip alike; another seed differs."""
    archive = zip_replay_buffer(dataset)
    first, second, other = (analyse_episode(checkpoint, source, 1, tmp_path, seed=seed)["action_parts"]
                            for source, seed in ((dataset, 3), (archive, 3), (dataset, 4)))
    assert first == second
    assert first != other


def test_a_checkpoint_of_another_task_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """The buffer says its task, and the checkpoint was trained for another."""
    other = task_text(load_task("scoop")).replace("rate_hz: 10.0", "rate_hz: 20.0", 1)
    dataset = write_buffer(tmp_path / "other.zarr", {"task": other})
    with pytest.raises(CheckpointError, match=r"another task: its rate_hz"):
        analyse_episode(checkpoint, dataset, 0, tmp_path / "out")


def test_a_foreign_buffer_that_lacks_a_stream_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A buffer that does not say its task is judged by what is in it."""
    dataset = write_buffer(tmp_path / "foreign.zarr", {}, camera_1=None)
    with pytest.raises(CheckpointError, match=r"needs camera_1, but .* has action, eef, label"):
        analyse_episode(checkpoint, dataset, 0, tmp_path / "out")


def test_the_script_runs_from_anywhere(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A good call writes both files; a wrong index or checkpoint is one line and exit code 2."""
    def call(index: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--checkpoint", str(folder), "--dataset", str(dataset),
                   "--index-episode", index, "--output", str(tmp_path / "out")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    for index, folder, text in (("7", checkpoint, "episodes 0..2"), ("0", tmp_path / "nothing", "nothing")):
        done = call(index, folder)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert text in done.stderr
    done = call("0", checkpoint)
    assert done.returncode == 0, done.stderr
    assert "position error mm mean" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {FIGURE_NAME, METRICS_NAME}
