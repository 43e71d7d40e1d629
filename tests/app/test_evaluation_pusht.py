"""`ladle eval` of a Push-T checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from app.eval_script import evaluate_by_task, evaluate_from_arguments
from app.evaluation_pusht import PushtSettings, evaluate_pusht
from app.pusht import PushtEpisode
from ladle.errors import CheckpointError
from training.train import run

pytest.importorskip("gym_pusht")


@pytest.fixture(scope="module")
def checkpoint(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of a tiny policy."""
    folder = tmp_path_factory.mktemp("pusht")
    return run(["unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.batch_size=8",
                "training.threads=1", "training.precision=float32", "training.max_steps=2", "training.val_ratio=0.0",
                "diffusion.sample_steps=2", f"task.dataset_path={shared_data / 'pusht_cchi_v7_replay.zarr'}",
                f"training.output_dir={folder}"], "pusht_lowdim")


def test_the_log_tells_scores_success_and_confidence(checkpoint: Path, tmp_path: Path):
    """One entry a seed with its maximum, a video where one was asked for, the same figures every time."""
    wanted = PushtSettings(episodes=3, max_steps=20, videos=1, workers=1, n_threads=1)
    rollouts = evaluate_pusht(checkpoint, tmp_path / "a", wanted)
    found = json.loads((tmp_path / "a" / "eval_log.json").read_text())
    assert [episode["seed"] for episode in found["episodes"]] == [100_000, 100_001, 100_002]
    assert found["mean_score"] == pytest.approx(np.mean(rollouts.scores))
    assert [episode["max_score"] for episode in found["episodes"]] == pytest.approx(rollouts.scores, abs=1e-4)
    low, high = found["mean_score_interval"]
    assert low <= found["mean_score"] <= high
    assert all(episode["steps"] == 20 for episode in found["episodes"])
    assert [episode["video"] is not None for episode in found["episodes"]] == [True, False, False]
    with av.open(found["episodes"][0]["video"]) as video:
        assert sum(1 for _ in video.decode(video=0)) == 21
    again = evaluate_pusht(checkpoint, tmp_path / "b", wanted)
    assert again.scores.tolist() == rollouts.scores.tolist()


def test_the_original_scripts_options_work(checkpoint: Path, tmp_path: Path):
    """python eval.py --checkpoint --output_dir --render: every episode is filmed."""
    evaluate_from_arguments(["--checkpoint", str(checkpoint), "--output_dir", str(tmp_path), "--episodes", "1",
                             "--inference_steps", "1", "--render"])
    assert [path.name for path in (tmp_path / "media").iterdir()] == ["100000.mp4"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    """Before any environment is made."""
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        evaluate_by_task(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_seed_has_the_same_score_however_its_objects_lie_in_memory():
    """The environment's own figure for this scene differs in its last bit between episodes of one process."""
    actions = np.random.default_rng(0).uniform(100, 400, (18, 60, 2))[17]
    found: set[float] = set()
    kept: list[PushtEpisode] = []
    for _ in range(12):
        episode = PushtEpisode(100_017, ("state",), 2, 60)
        episode.act(actions)
        found.add(episode.score)
        kept.append(episode)
    assert len(found) == 1
