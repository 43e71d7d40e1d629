"""`ladle eval` of a Push-T checkpoint: many environments on fixed seeds, stepped together."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.delayed_policy import DelayedPolicy
from app.intervals import CONFIDENCE, bootstrap_interval, wilson
from app.pusht import RATE_HZ
from app.runners import PushtRunner
from ladle.atomic import replace_file
from ladle.errors import CheckpointError
from ladle.task import TaskConfig
from read_sensors_utils.videos import VideoWriter
from real_world_deployment.chunking import Chunking
from real_world_deployment.config import DeploymentConfig
from training.batch import usable_device
from training.checkpoint import open_checkpoint
from training.env_runner import NetworkPolicy, Rollouts
from training.inference import load_network
from training.loop import available_threads, threads
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig

log = logging.getLogger("ladle.eval")

LOG_FILE, MEDIA = "eval_log.json", "media"
FIRST_SEED = 100_000  # of the paper's evaluation


@dataclass(frozen=True)
class PushtSettings:
    """How to evaluate.

    Attributes:
        episodes: environments; their seeds are first_seed, first_seed + 1, ...
        videos: of so many episodes, the first ones.
        seed: of the policy's noise.
        sample_steps: of the sampler; None takes those of the checkpoint.
        workers, n_threads: processes that step environments, and torch threads; 0 takes every core.
        chunking: how a new chunk meets the running one, where the network takes `delay` steps to answer.
    """

    episodes: int = 50
    first_seed: int = FIRST_SEED
    max_steps: int = 300
    videos: int = 4
    seed: int = 0
    device: str = "cpu"
    sample_steps: int | None = None
    workers: int = 0
    n_threads: int = 0
    chunking: Chunking = "replace"
    delay: int = 0


def evaluate_pusht(checkpoint: Path, output: Path, settings: PushtSettings) -> Rollouts:
    """Run a checkpoint and write output/eval_log.json and output/media/<seed>.mp4.

    Raises:
        CheckpointError: damaged, or for another task.
    """
    usable_device(settings.device)
    opened = open_checkpoint(checkpoint, "policy")
    config = opened.config(PolicyConfig)
    if config.observations.stage != "none":
        raise CheckpointError(f"checkpoint {opened.folder} reads a stage, and Push-T has none; take one that does not")
    if settings.sample_steps is not None:
        config = replace(config, diffusion=replace(config.diffusion, sample_steps=settings.sample_steps))
    policy = _policy(load_network(opened, config, settings.device), config, opened.task, settings)
    policy.reset(settings.seed)
    seeds = range(settings.first_seed, settings.first_seed + settings.episodes)
    results: dict[int, dict[str, Any]] = {}
    runner = PushtRunner(seeds, config.observations.keys, config.n_obs_steps, settings.max_steps,
                         settings.workers or available_threads(), seeds[:settings.videos], results.update)
    began_s = time.monotonic()
    with threads(settings.n_threads):
        rollouts = runner.run(policy)
    videos = {seed: output / MEDIA / f"{seed}.mp4" for seed in seeds[:settings.videos]}
    for seed, path in videos.items():
        _write_video(path, results[seed]["frames"])
    content = {"checkpoint": str(opened.folder), "step": opened.step, "settings": settings.__dict__,
               "wall_s": round(time.monotonic() - began_s, 1), **summary(rollouts),
               "episodes": [{"seed": int(seed), "max_score": round(float(score), 4), "success": bool(success),
                             "steps": results[int(seed)]["n_steps"],
                             "video": str(videos[int(seed)]) if int(seed) in videos else None}
                            for seed, score, success in zip(rollouts.seeds, rollouts.scores, rollouts.successes,
                                                            strict=True)]}
    output.mkdir(parents=True, exist_ok=True)
    with replace_file(output / LOG_FILE) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return rollouts


def _policy(network: DiffusionPolicy, config: PolicyConfig, task: TaskConfig,
            settings: PushtSettings) -> NetworkPolicy | DelayedPolicy:
    """As the paper evaluates; with a delay, or another chunking, asked as often as on the robot."""
    if settings.chunking == "replace" and settings.delay == 0:
        return NetworkPolicy(network, config, task, settings.device)
    replan = max(DeploymentConfig().replan_ticks, settings.delay)
    return DelayedPolicy(network, config, task, settings.device, settings.chunking, settings.delay, replan)


def summary(rollouts: Rollouts) -> dict[str, Any]:
    """mean_score and success_rate over the seeds, each with its confidence interval."""
    n, succeeded = len(rollouts.seeds), int(rollouts.successes.sum())
    return {"mean_score": float(rollouts.scores.mean()), "mean_score_interval": bootstrap_interval(rollouts.scores),
            "success_rate": succeeded / n, "success_rate_interval": wilson(succeeded, n),
            "confidence": CONFIDENCE}


def one_line(rollouts: Rollouts, output: Path) -> str:
    """What the user is told."""
    found = summary(rollouts)
    low, high = found["mean_score_interval"]
    least, most = found["success_rate_interval"]
    return (f"mean score {found['mean_score']:.3f} ({low:.3f} to {high:.3f}), success "
            f"{100 * found['success_rate']:.0f} % ({100 * least:.0f} to {100 * most:.0f}) of {len(rollouts.seeds)} "
            f"episodes, intervals at {100 * CONFIDENCE:.0f} %; {output / LOG_FILE}")


def _write_video(path: Path, frames: Sequence[NDArray[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        writer = VideoWriter(partial, "libx264", RATE_HZ)
        for frame in frames:
            writer.write(frame)
        writer.close()
