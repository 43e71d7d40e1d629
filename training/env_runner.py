"""Episodes in an environment while training, and after it. Training knows this protocol only; `app` has the runners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.task import TaskConfig
from training.batch import Batch
from training.features import ActionCodec, low_dim_features, network_frames
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig

Streams = Mapping[str, NDArray[np.generic]]


class WindowPolicy(Protocol):
    """Answers many windows at once."""

    def reset(self, seed: int) -> None:
        """All noise from now on follows from the seed."""
        ...

    def __call__(self, windows: Streams) -> dict[str, NDArray[np.float64]]:
        """Replay-buffer streams (n, To, ...) -> named action parts (n, Ta, width), to be executed at once."""
        ...


@dataclass(frozen=True)
class Rollouts:
    """How episodes went.

    Attributes:
        seeds: (n,) of the environments.
        scores: (n,) in 0..1, the best of each episode.
        successes: (n,) bool.
    """

    seeds: NDArray[np.int64]
    scores: NDArray[np.float64]
    successes: NDArray[np.bool_]

    def summary(self) -> dict[str, float]:
        """The entries of the run log."""
        return {"rollout_score": float(self.scores.mean()), "rollout_success": float(self.successes.mean())}


class EnvRunner(Protocol):
    """Runs a policy in fixed environments; the same policy has the same rollouts every time."""

    def run(self, policy: WindowPolicy) -> Rollouts:
        """All episodes, stepped together."""
        ...


MakeRunner = Callable[[PolicyConfig, TaskConfig], EnvRunner]
"""Builds the runner of a task. Raises ConfigError where the task has no environment."""


class NetworkPolicy:
    """A network as a WindowPolicy; it is not told a stage or a mass."""

    def __init__(self, network: DiffusionPolicy, config: PolicyConfig, task: TaskConfig, device: str) -> None:
        self._network, self._config, self._device = network, config, torch.device(device)
        self._codec = ActionCodec(task)
        self._generator = torch.Generator()
        self._executed = slice(config.n_obs_steps - 1, config.n_obs_steps - 1 + config.n_action_steps)

    def reset(self, seed: int) -> None:
        """Seed the sampler's noise."""
        self._generator.manual_seed(seed)

    @torch.inference_mode()
    def __call__(self, windows: Streams) -> dict[str, NDArray[np.float64]]:
        """See WindowPolicy."""
        batch = window_batch(windows, self._config).to(self._device)
        actions = self._network.sample(batch, self._generator)[:, self._executed].cpu().numpy()
        parts = self._codec.decode(actions.reshape(-1, actions.shape[-1]))
        return {name: values.reshape(*actions.shape[:2], -1) for name, values in parts.items()}


def window_batch(windows: Streams, config: PolicyConfig) -> Batch:
    """Streams (n, To, ...) as the network is given them, on the CPU; by the functions that training uses."""
    images: dict[str, torch.Tensor] = {}
    for spec in config.observations.images:
        flat = {key: windows[key].reshape(-1, *windows[key].shape[2:]) for key in spec.keys}
        frames = network_frames(flat, spec)
        images[spec.key] = torch.from_numpy(frames.reshape(*windows[spec.key].shape[:2], *frames.shape[1:]))
    low_dim: dict[str, torch.Tensor] = {}
    for item in config.observations.low_dim:
        values = np.asarray(windows[item.key])
        features = low_dim_features(values.reshape(-1, *values.shape[2:]), item)
        low_dim[item.key] = torch.from_numpy(features.reshape(*values.shape[:2], item.width))
    return Batch(images=images, low_dim=low_dim)
