"""Push-T while the network thinks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from app.delayed_policy import DelayedPolicy
from app.eval_script import evaluate_by_task
from app.evaluation_pusht import PushtSettings, evaluate_pusht
from ladle.errors import ConfigError, DeploymentError
from ladle.replay_buffer import ReplayBufferWriter
from training.checkpoint import open_checkpoint
from training.env_runner import window_batch
from training.inference import load_network
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig
from training.train import run

pytest.importorskip("gym_pusht")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of a tiny policy, on walks."""
    folder, rng = tmp_path_factory.mktemp("pusht"), np.random.default_rng(0)
    with ReplayBufferWriter(folder / "b.zarr", {}) as writer:
        for _ in range(4):
            walk = 250 + np.cumsum(rng.normal(0, 5, (30, 23)), axis=0).astype(np.float32)
            writer.append_episode({"keypoint": walk[:, :18].reshape(30, 9, 2), "state": walk[:, 18:],
                                   "action": walk[:, 18:20]})
    return run(["unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.batch_size=8",
                "training.threads=1", "training.precision=float32", "training.max_steps=2", "training.val_ratio=0.0",
                "diffusion.sample_steps=2", f"task.dataset_path={folder / 'b.zarr'}",
                f"training.output_dir={folder / 'run'}"], "pusht_lowdim")


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> tuple[DiffusionPolicy, PolicyConfig]:
    """Ready to sample."""
    opened = open_checkpoint(checkpoint, "policy")
    config = opened.config(PolicyConfig)
    return load_network(opened, config, "cpu"), config


def windows(n: int, seed: int) -> dict[str, np.ndarray]:
    """Some observations of n episodes."""
    rng = np.random.default_rng(seed)
    return {"keypoint": rng.uniform(0, 512, (n, 2, 9, 2)).astype(np.float32),
            "state": rng.uniform(0, 512, (n, 2, 5)).astype(np.float32)}


def test_an_answer_is_executed_when_it_is_there(network: tuple[DiffusionPolicy, PolicyConfig], checkpoint: Path):
    """Element j of the chunk asked for at step t is executed at t + j, from t + 3 until t + 7; an episode may end."""
    task = open_checkpoint(checkpoint, "policy").task
    policy = DelayedPolicy(*network, task, "cpu", "replace", delay=3, replan=4)
    policy.reset(0)
    done, chunks, kept = [], [], ((5, 6), (5, 6), (6,))
    generator = torch.Generator().manual_seed(0)
    for step, seeds in enumerate(kept):
        seen = windows(len(seeds), step)
        policy.episodes(seeds)
        done.append(dict(zip(seeds, policy(seen)["xy"], strict=True)))
        sampled = network[0].sample(window_batch(seen, network[1]), generator)[:, 1:].numpy()
        chunks.append(dict(zip(seeds, sampled, strict=True)))
    np.testing.assert_allclose(done[0][6], chunks[0][6][:4])
    np.testing.assert_allclose(done[1][6], np.concatenate([chunks[0][6][4:7], chunks[1][6][3:4]]))
    np.testing.assert_allclose(done[2][6], np.concatenate([chunks[1][6][4:7], chunks[2][6][3:4]]))


def test_a_continued_chunk_begins_with_what_runs_meanwhile(network: tuple[DiffusionPolicy, PolicyConfig],
                                                           checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """What is executed during the inference is what the sampler was told, and comes back from it."""
    task = open_checkpoint(checkpoint, "policy").task
    policy = DelayedPolicy(*network, task, "cpu", "real_time", delay=3, replan=4)
    policy.reset(0)
    answers: list[np.ndarray] = []
    sample = network[0].sample

    def spy(*args, **kwargs):
        answers.append(sample(*args, **kwargs)[:, 1:].numpy())
        return torch.from_numpy(np.concatenate([answers[-1][:, :1], answers[-1]], axis=1))

    monkeypatch.setattr(network[0], "sample", spy)
    for step in range(3):
        policy.episodes((1, 2))
        executed = policy(windows(2, step))["xy"]
        np.testing.assert_allclose(executed, answers[-1][:, :4], atol=1e-3)  # of 512 pixels
        if step:
            np.testing.assert_allclose(answers[-1][:, :3], answers[-2][:, 4:7], atol=1e-3)


@pytest.mark.parametrize("chunking", ["replace", "ensemble", "real_time"])
def test_every_way_runs_in_the_environment(checkpoint: Path, tmp_path: Path, chunking):
    """The log tells it; the same figures every time."""
    wanted = PushtSettings(episodes=2, max_steps=12, videos=0, workers=1, n_threads=1, chunking=chunking, delay=2)
    found = [evaluate_pusht(checkpoint, tmp_path / name, wanted).scores.tolist() for name in "ab"]
    assert found[0] == found[1]
    told = json.loads((tmp_path / "a" / "eval_log.json").read_text())["settings"]
    assert (told["chunking"], told["delay"]) == (chunking, 2)


def test_a_latency_beyond_the_horizon_is_refused(checkpoint: Path, tmp_path: Path):
    """15 future actions do not hold 9 steps of delay and 9 more until the next answer."""
    with pytest.raises(ConfigError, match="a horizon of 16 gives 15; take a shorter latency"):
        evaluate_by_task(checkpoint, tmp_path, chunking="real_time", latency_s=0.9)


def test_an_arms_own_baseline_is_refused_for_push_t(checkpoint: Path, tmp_path: Path):
    """Nothing there could rest."""
    with pytest.raises(DeploymentError, match="Push-T has no arm; take replace, ensemble or real_time"):
        evaluate_by_task(checkpoint, tmp_path, chunking="stop_and_go")


def test_a_delay_that_the_horizon_just_covers_is_taken(network: tuple[DiffusionPolicy, PolicyConfig],
                                                       checkpoint: Path):
    """7 and 8 of 15 future actions are; one more is not, nor is an answer that comes after the next question."""
    task = open_checkpoint(checkpoint, "policy").task
    DelayedPolicy(*network, task, "cpu", "replace", delay=7, replan=8)
    for delay, replan in ((8, 8), (7, 9), (5, 4)):
        with pytest.raises(ConfigError, match=f"a delay of {delay} steps with a question every {replan} steps"):
            DelayedPolicy(*network, task, "cpu", "replace", delay=delay, replan=replan)


@pytest.mark.parametrize("chunking", ["replace", "ensemble", "real_time"])
def test_nothing_of_an_evaluation_runs_on_in_the_next(network: tuple[DiffusionPolicy, PolicyConfig], checkpoint: Path,
                                                      chunking):
    """A reset forgets the running chunks: the same seed and windows give the same actions."""
    policy = DelayedPolicy(*network, open_checkpoint(checkpoint, "policy").task, "cpu", chunking, delay=3, replan=4)
    executed: list[np.ndarray] = []
    for _ in range(2):
        policy.reset(0)
        policy.episodes((1,))
        executed.append(np.stack([policy(windows(1, step))["xy"] for step in range(2)]))
    np.testing.assert_array_equal(*executed)


def test_an_ensemble_averages_the_answers_themselves(network: tuple[DiffusionPolicy, PolicyConfig], checkpoint: Path):
    """Each once with its own weight, the oldest most: no average is averaged again."""
    policy = DelayedPolicy(*network, open_checkpoint(checkpoint, "policy").task, "cpu", "ensemble", delay=0, replan=4)
    policy.reset(0)
    policy.episodes((1,))
    generator, answers, executed = torch.Generator().manual_seed(0), [], np.empty(0)
    for step in range(3):
        seen = windows(1, step)
        executed = policy(seen)["xy"][0]
        answers.append(network[0].sample(window_batch(seen, network[1]), generator)[0, 1:].numpy())
    weights = np.exp(-0.01 * np.arange(3))
    same_instants = np.stack([answers[0][8:12], answers[1][4:8], answers[2][:4]])
    np.testing.assert_allclose(executed, np.tensordot(weights / weights.sum(), same_instants, 1), rtol=1e-5)
