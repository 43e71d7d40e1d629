"""Baselines give what ours gives, and the benchmarks print what they promise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.benchmarks import load, train
from app.benchmarks.baselines_training import EagerTraining, PerSampleSampler, plain_layers
from app.benchmarks.proof import PROOFS, curve_of, one_line, prove, write_curve
from ladle.errors import ConfigError
from ladle.task import load_task
from training.compose import compose_config
from training.loop import Pace, step_generator, threads
from training.models import cpu_layers
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more, and lose much where other processes run."""
    with threads(1):
        yield


TINY = ("unet.down_dims=[16,256]", "unet.groups=4", "training.batch_size=4", "horizon=8", "n_action_steps=4")


def test_the_per_sample_sampler_gives_our_frames():
    """The observed frames, states and actions of any windows, padded ones too."""
    config = compose_config(PolicyConfig, load.CONFIG, ["training.batch_size=6"]).config
    batches = load._made_up(config, 2)
    frames = batches.steps.images["img"]
    assert isinstance(frames, np.ndarray)
    assert batches.steps.action is not None
    vectors = {**batches.steps.low_dim, "action": batches.steps.action}
    sampler = PerSampleSampler(frames, vectors, batches.index, batches.horizon)
    windows = np.array([0, 1, 60, len(batches.index) // 2, len(batches.index) - 1])
    theirs, ours = sampler.batch(windows), batches.gather(windows)
    torch.testing.assert_close(theirs["img"][:, :2], load.converted(ours.images["img"]))
    assert torch.equal(theirs["state"][:, :2], ours.low_dim["state"])
    assert ours.action is not None
    assert torch.equal(theirs["action"], ours.action)


def test_eager_takes_the_same_steps():
    """Same losses step by step from the same weights; and it has none of our layers."""
    config = compose_config(PolicyConfig, "pusht_lowdim", TINY).config
    config = replace(config, training=replace(config.training, betas=(0.9, 0.999), weight_decay=0.0))
    torch.manual_seed(0)
    policy, batch = DiffusionPolicy(config, load_task("pusht")), train.made_up_batch(config)
    assert any(isinstance(module, cpu_layers.Conv1d) for module in policy.modules())
    eager = EagerTraining(policy, config.training.learning_rate, 0.0)
    assert not any(isinstance(module, (cpu_layers.Conv1d, cpu_layers.Mish)) for module in eager.policy.modules())
    ours = train.LadleTraining(policy, config, Pace("float32", 1))
    losses = [(ours.step(batch, number), eager.step(batch, number)) for number in range(4)]
    for mine, theirs in losses:
        assert mine == pytest.approx(theirs, rel=1e-3)
    assert losses[0][0] != losses[-1][0]


def test_a_plain_copy_has_the_same_loss():
    """Not a step apart, but in one forward pass to rounding."""
    config = compose_config(PolicyConfig, "pusht_lowdim", TINY).config
    policy, batch = DiffusionPolicy(config, load_task("pusht")), train.made_up_batch(config)
    mine = policy.compute_loss(batch, step_generator(0, 0, "cpu"))
    theirs = plain_layers(policy).compute_loss(batch, step_generator(0, 0, "cpu"))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_bench_train_gives_the_ratio_of_each_preset():
    """One object, one entry a preset, as JSON can hold it."""
    found = json.loads(json.dumps(train.measure_train({"tiny": ("pusht_lowdim", (*TINY, "training.threads=1"))})))
    assert found["tiny"]["ratio_vs_eager"] > 0
    assert "tiny" in train.table(found)


def test_bench_load_gives_its_figures(monkeypatch: pytest.MonkeyPatch):
    """On a tenth of the data."""
    monkeypatch.setattr(load, "BATCH_SIZE", 4)
    monkeypatch.setattr(load, "TRAIN_STEPS", 2)
    found = load.measure_load(n_episodes=6, store_episodes=4)
    assert {"ratio_vs_per_sample", "share_of_gather", "larger_than_ram_share"} <= set(found)
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    assert "share_of_gather" in load.table(found)


def test_a_curve_says_what_the_run_has_reached(tmp_path: Path):
    """Maximum over all, mean over the last ten, and whether that is enough."""
    rows = [{"step": 10 * n + 9, "train_loss": 1.0, "wall_s": 60.0 * n, "cpu_s": 100.0 * n,
             **({"rollout_score": 0.8 + 0.01 * n, "rollout_success": 0.5} if n % 2 else {})} for n in range(24)]
    few = curve_of("pusht_state", rows[:6])
    assert (few.mean_score, few.reached, few.max_score) == (None, None, pytest.approx(0.85))
    assert "no evaluation" in one_line(curve_of("pusht_state", []))
    whole = curve_of("pusht_state", rows)
    assert whole.max_score == pytest.approx(1.03)
    assert whole.mean_score == pytest.approx(np.mean([0.8 + 0.01 * n for n in range(5, 24, 2)]))
    assert whole.reached is True
    assert whole.steps[-1] == 240
    write_curve(whole, tmp_path)
    assert json.loads((tmp_path / "curve.json").read_text())["reached"] is True
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_every_proof_has_a_configuration_with_ten_rollouts():
    """Composed, with enough evaluations for the mean of the last ten."""
    for proof in PROOFS.values():
        config = compose_config(PolicyConfig, proof.config, []).config
        due = [step for step in range(1, config.training.max_steps + 1) if config.rollout.due(step, 1, 1)]
        assert len(due) >= 10
        assert due[-1] == config.training.max_steps


def test_a_proof_that_was_stopped_goes_on(shared_data: Path, tmp_path: Path):
    """A folder with a run is refused without --resume; with it the rest is done and the time of both parts counts."""
    tiny = [*TINY, "training.threads=1", "rollout.n_envs=2", "rollout.max_steps=8", "rollout.every=4",
            "rollout.start=0", "rollout.workers=1", "diffusion.sample_steps=2", "training.val_windows=4",
            "training.validate_every=4", "training.checkpoint_every=4", "training.warmup_steps=2"]
    dataset = shared_data / "pusht_cchi_v7_replay.zarr"
    with pytest.raises(ConfigError, match="no proof named 'pusht_stat'; there are pusht_state"):
        prove("pusht_stat", tmp_path)
    first = prove("pusht_state", tmp_path, dataset=dataset, overrides=[*tiny, "training.max_steps=4"])
    assert first.steps == (4,)
    with pytest.raises(ConfigError, match="by --resume"):
        prove("pusht_state", tmp_path, dataset=dataset, overrides=[*tiny, "training.max_steps=4"])
    again = prove("pusht_state", tmp_path, resume=True, dataset=dataset, overrides=[*tiny, "training.max_steps=4"])
    assert again == first
    names = [path.name for path in (tmp_path / "checkpoints").glob("epoch=*")]
    assert len(names) == 1
    assert "rollout_score=" in names[0]
