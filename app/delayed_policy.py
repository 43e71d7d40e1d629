"""Push-T with an inference that takes a number of steps: the environment goes on while the network thinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.chunks import covered, ensembled, kept_weights, parts_at
from ladle.errors import ConfigError
from ladle.policy import ActionChunk
from ladle.task import TaskConfig
from real_world_deployment.chunking import Chunking
from training.batch import Batch
from training.env_runner import Streams, window_batch
from training.features import ActionCodec
from training.inpainting import Prefix
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig


class DelayedPolicy:
    """A network as a WindowPolicy (training/env_runner.py) that is asked at step t and answers at step t + delay.

    Until then the older chunk goes on. Only an episode's first answer is waited for. Time is counted in steps: element
    j of the chunk that was asked for at step t belongs to the instant t + j + 1, as ladle/chunks.py wants it.
    """

    def __init__(self, network: DiffusionPolicy, config: PolicyConfig, task: TaskConfig, device: str,
                 chunking: Chunking, delay: int, replan: int) -> None:
        """Asked every `replan` steps. Raises ConfigError where the horizon does not cover replan + delay."""
        known = config.horizon - config.n_obs_steps + 1
        if delay > replan or replan + delay > known:
            raise ConfigError(f"a delay of {delay} steps with a question every {replan} steps needs delay <= replan "
                              f"and {replan + delay} future actions, and a horizon of {config.horizon} gives {known}; "
                              "take a shorter latency")
        self._network, self._config, self._device = network, config, torch.device(device)
        self._chunking, self._delay, self._replan = chunking, delay, replan
        self._codec = ActionCodec(task)
        self._names = tuple(part.name for part in task.action)
        self._poses = tuple(part.name for part in task.action if part.kind == "pose")
        self._generator = torch.Generator()
        self._now, self._seeds = 0, tuple[int, ...]()
        self._answers: dict[int, list[ActionChunk]] = {}
        self._executed: dict[int, ActionChunk] = {}

    def reset(self, seed: int) -> None:
        """Seed the sampler's noise and forget all episodes."""
        self._generator.manual_seed(seed)
        self._now = 0
        self._answers, self._executed = {}, {}

    def episodes(self, seeds: Sequence[int]) -> None:
        """Whose windows come next, in their order."""
        self._seeds = tuple(seeds)

    @torch.inference_mode()
    def __call__(self, windows: Streams) -> dict[str, NDArray[np.float64]]:
        """Streams (n, To, ...) -> named action parts (n, replan, width), to be executed at once."""
        batch = window_batch(windows, self._config).to(self._device)
        prefix = self._prefix(batch) if self._chunking == "real_time" else None
        sampled = self._network.sample(batch, self._generator, prefix=prefix)[:, self._config.n_obs_steps - 1:]
        done = [self._step(seed, rows) for seed, rows in zip(self._seeds, sampled.cpu().numpy(), strict=True)]
        self._now += self._replan
        return {name: np.stack([parts[name] for parts in done]) for name in self._names}

    def _step(self, seed: int, rows: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """What one episode executes until the next question."""
        times = np.arange(1, len(rows) + 1, dtype=np.float64) + self._now
        answer = joined = ActionChunk(float(self._now), times, self._codec.decode(rows))
        before = [old for old in self._answers.get(seed, []) if covered(old, times).any()]
        if self._chunking == "ensemble":
            joined = ensembled([*before, answer], self._poses)
        running = self._executed.get(seed, joined)
        self._answers[seed], self._executed[seed] = [*before, answer], joined
        old, new = (parts_at(chunk, times[:self._replan], self._poses) for chunk in (running, joined))
        return {name: np.concatenate([old[name][:self._delay], new[name][self._delay:]]) for name in self._names}

    def _prefix(self, batch: Batch) -> Prefix | None:
        """The running chunks of all episodes; None in the first step, when there are none."""
        if not self._executed:
            return None
        times = np.arange(self._config.horizon, dtype=np.float64) - self._config.n_obs_steps + 2 + self._now
        rows: list[NDArray[np.float32]] = []
        weights: list[NDArray[np.float64]] = []
        for seed in self._seeds:
            parts = parts_at(self._executed[seed], times, self._poses)
            rows.append(self._codec.encode(np.concatenate([parts[name] for name in self._names], axis=1)))
            weights.append(kept_weights(times, self._executed[seed], self._now + self._delay))
        return self._network.prefix(torch.from_numpy(np.stack(rows)).to(self._device),
                                    torch.from_numpy(np.stack(weights).astype(np.float32)).to(self._device), batch)
