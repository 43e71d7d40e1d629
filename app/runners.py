"""Environments for rollouts: training is handed them, `ladle eval` and the proofs use them as well."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from app.env_pool import EpisodePool
from ladle.errors import ConfigError
from ladle.task import TaskConfig
from training.env_runner import EnvRunner, Rollouts, WindowPolicy
from training.loop import available_threads
from training.schema import PolicyConfig

log = logging.getLogger(__name__)

PUSHT = "pusht"
SUCCESS = 1.0  # the score of a step whose coverage is above the threshold


@runtime_checkable
class RememberingPolicy(Protocol):
    """A WindowPolicy that keeps something of each episode."""

    def episodes(self, seeds: Sequence[int]) -> None:
        """Whose windows come next, in their order."""
        ...


def make_runner(config: PolicyConfig, task: TaskConfig) -> EnvRunner:
    """The environments of a configuration's `rollout` section. Raises ConfigError where the task has none."""
    if task.name != PUSHT:
        raise ConfigError(f"there are no rollouts while training for task {task.name!r}, only for {PUSHT!r}; set "
                          "rollout.every=0 and every_epochs=0, and use `ladle eval` on the checkpoint")
    section = config.rollout
    seeds = range(section.first_seed, section.first_seed + section.n_envs)
    return PushtRunner(seeds, config.observations.keys, config.n_obs_steps, section.max_steps,
                       section.workers or available_threads())


@dataclass(frozen=True)
class PushtRunner:
    """Push-T on fixed seeds.

    Attributes:
        streams: replay-buffer keys that the policy reads.
        workers: processes that step environments.
        filmed: seeds of which pictures are kept.
        on_results: is told seed -> {score, n_steps, frames} at the end.
    """

    seeds: Sequence[int]
    streams: Sequence[str]
    n_obs_steps: int
    max_steps: int = 300
    workers: int = 1
    filmed: Sequence[int] = ()
    on_results: Callable[[dict[int, dict[str, Any]]], None] | None = None

    def run(self, policy: WindowPolicy) -> Rollouts:
        """See EnvRunner; the policy is asked for all episodes that are not over in one batch."""
        began_s = time.monotonic()
        with EpisodePool(self.seeds, self.streams, self.n_obs_steps, self.max_steps, self.workers,
                         self.filmed) as pool:
            while windows := pool.windows():
                if isinstance(policy, RememberingPolicy):
                    policy.episodes(list(windows))
                chunks = policy(_stacked(list(windows.values())))["xy"]
                pool.act(dict(zip(windows, chunks, strict=True)))
            results = pool.results()
        scores = np.array([result["score"] for result in results.values()])
        if self.on_results is not None:
            self.on_results(results)
        log.info("%d episodes of Push-T in %.0f s: mean score %.3f", len(scores), time.monotonic() - began_s,
                 scores.mean())
        return Rollouts(np.array(self.seeds, np.int64), scores, scores >= SUCCESS)


def _stacked(windows: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {key: np.stack([window[key] for window in windows]) for key in windows[0]}
