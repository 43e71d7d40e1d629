"""Rollouts while training: when, with which weights, and what becomes of their score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import TaskConfig
from training.distributed import Processes
from training.env_runner import Rollouts, WindowPolicy
from training.run_log import read_log, time_taken_s
from training.schema import PolicyConfig
from training.train import run

TINY = ["unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.batch_size=8",
        "training.threads=1", "training.precision=float32", "training.warmup_steps=2", "training.max_steps=12",
        "training.val_ratio=0.25", "training.val_windows=4", "training.validate_every=6",
        "training.checkpoint_every=3", "rollout.every=3", "diffusion.sample_steps=2"]


class Runner:
    """Asks the policy about one window of zeros; its score is what the list says next."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.answers = scores, list[float]()

    def __call__(self, config: PolicyConfig, task: TaskConfig) -> Runner:
        """Is its own factory."""
        return self

    def run(self, policy: WindowPolicy) -> Rollouts:
        """Two environments."""
        windows = {"keypoint": np.zeros((2, 2, 9, 2), np.float32), "state": np.zeros((2, 2, 5), np.float32)}
        actions = policy(windows)["xy"]
        assert actions.shape == (2, 8, 2)
        self.answers.append(float(actions[0, 0, 0]))
        score = self.scores.pop(0)
        return Rollouts(np.array([1, 2]), np.array([score, score]), np.array([True, False]))


@pytest.fixture(scope="module")
def pusht_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A buffer with Push-T's arrays: four episodes of walks."""
    path = tmp_path_factory.mktemp("pusht") / "b.zarr"
    rng = np.random.default_rng(0)
    with ReplayBufferWriter(path, {}) as writer:
        for _ in range(4):
            walk = 250 + np.cumsum(rng.normal(0, 5, (30, 23)), axis=0).astype(np.float32)
            writer.append_episode({"keypoint": walk[:, :18].reshape(30, 9, 2), "state": walk[:, 18:],
                                   "action": walk[:, 18:20]})
    return path


def start(buffer: Path, output: Path, runner: Runner | None, *more: str) -> Path:
    """Train as the command line does."""
    return run([*TINY, f"task.dataset_path={buffer}", f"training.output_dir={output}", *more], "pusht_lowdim",
               make_runner=runner)


def test_the_best_score_is_kept_beside_the_last(pusht_like: Path, tmp_path: Path):
    """Highest is best; each rollout's score is in the run log and in its checkpoint's name."""
    start(pusht_like, tmp_path, Runner([0.2, 0.9, 0.4, 0.3]))
    rows = read_log(tmp_path)
    found = [(row["step"] + 1, row["rollout_score"], row["rollout_success"]) for row in rows if "rollout_score" in row]
    assert found == [(3, 0.2, 0.5), (6, 0.9, 0.5), (9, 0.4, 0.5), (12, 0.3, 0.5)]
    assert [row["step"] + 1 for row in rows if "val_action_error" in row] == [6, 12]
    metas = [json.loads((folder / "meta.json").read_text()) for folder in (tmp_path / "checkpoints").glob("epoch=*")]
    assert sorted((meta["step"], meta["monitor_value"]) for meta in metas) == [(6, 0.9), (12, 0.3)]
    assert (tmp_path / "checkpoints" / "latest").resolve().name.endswith("rollout_score=0.3")


def test_rollouts_change_nothing_that_is_learnt(pusht_like: Path, tmp_path: Path):
    """The losses are those of a run without them."""
    start(pusht_like, tmp_path / "with", Runner([0.1] * 4))
    start(pusht_like, tmp_path / "without", None, "rollout.every=0")
    losses = [[row["train_loss"] for row in read_log(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == losses[1]


def test_a_stopped_run_repeats_its_rollouts_exactly(pusht_like: Path, tmp_path: Path):
    """Stopped in the third rollout: the policy answers as in an uninterrupted run, and time goes on counting."""
    whole = Runner([0.1, 0.2, 0.3, 0.4])
    start(pusht_like, tmp_path / "whole", whole)
    stopped = Runner([0.1, 0.2])
    with pytest.raises(IndexError):
        start(pusht_like, tmp_path / "parts", stopped)
    spent = time_taken_s(tmp_path / "parts")
    rest = Runner([0.3, 0.4])
    start(pusht_like, tmp_path / "parts", rest)
    assert stopped.answers[:2] + rest.answers == whole.answers
    rows = read_log(tmp_path / "parts")
    assert [row["step"] for row in rows] == list(range(12))
    assert rows[6]["wall_s"] >= spent[0] > 0
    assert rows[6]["cpu_s"] >= spent[1] > 0


def test_rollouts_start_when_they_are_wanted(pusht_like: Path, tmp_path: Path):
    """Not before rollout.start; the last step always has one."""
    start(pusht_like, tmp_path, Runner([0.1, 0.2]), "rollout.start=7", "training.max_steps=10",
          "training.checkpoint_every=5")
    assert [row["step"] + 1 for row in read_log(tmp_path) if "rollout_score" in row] == [9, 10]


def test_rollouts_may_change_on_the_way_but_neither_begin_nor_end(pusht_like: Path, tmp_path: Path):
    """Checkpoints of one run are ranked by one measure."""
    start(pusht_like, tmp_path, Runner([0.1] * 2), "training.max_steps=4", "training.schedule=constant")
    with pytest.raises(ConfigError, match="ranked by rollout_score, those of this run would be ranked by "
                                          "val_action_error; leave rollouts on or off"):
        start(pusht_like, tmp_path, None, "training.schedule=constant", "rollout.every=0")
    start(pusht_like, tmp_path, Runner([0.2] * 2), "training.schedule=constant", "rollout.every=10",
          "rollout.max_steps=9")
    assert [row["step"] + 1 for row in read_log(tmp_path) if "rollout_score" in row] == [3, 4, 10, 12]


def test_training_alone_knows_no_environment(pusht_like: Path, tmp_path: Path):
    """The error says which command has them."""
    with pytest.raises(ConfigError, match=r"rollout\.every needs the task's environment: start with `ladle train`"):
        start(pusht_like, tmp_path, None)


def test_rollouts_may_be_counted_in_epochs(pusht_like: Path, tmp_path: Path):
    """Three episodes for training have 69 windows: in batches of 8 the ninth step ends the first epoch."""
    start(pusht_like, tmp_path, Runner([0.1, 0.2]), "rollout.every=0", "rollout.every_epochs=1")
    assert [row["step"] + 1 for row in read_log(tmp_path) if "rollout_score" in row] == [9, 12]
    with pytest.raises(ConfigError, match=r"every=3 counts optimiser steps and every_epochs=1 .*set one of them to 0"):
        start(pusht_like, tmp_path / "both", None, "rollout.every_epochs=1")


def test_every_process_ranks_checkpoints_alike(pusht_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only the first has environments; the others too must know what a run that goes on is ranked by."""
    ranked: list[tuple[str | None, bool]] = []
    monkeypatch.setattr("training.train.fit", lambda *given: ranked.append((given[3].monitor, given[3].highest_best)))
    for rank in (0, 1):
        monkeypatch.setattr("training.train.join", lambda _, rank=rank: Processes(rank, 2))
        start(pusht_like, tmp_path, Runner([]))
    assert ranked == [("rollout_score", True)] * 2
