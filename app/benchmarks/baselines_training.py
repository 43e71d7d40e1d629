"""What training is compared with: plain PyTorch eager, and a sampler that works window by window."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batch import Batch
from training.loop import loss_of, step_generator
from training.models import cpu_layers
from training.policy import DiffusionPolicy
from training.windows import WindowIndex

EMA_DECAY = 0.999


class EagerTraining:
    """The same network of torch's own layers in float32, with torch's own AdamW and a running average."""

    def __init__(self, policy: DiffusionPolicy, learning_rate: float, weight_decay: float) -> None:
        self.policy = plain_layers(policy).train()
        self._average = copy.deepcopy(self.policy)
        self._optimizer = torch.optim.AdamW(self.policy.parameters(), lr=learning_rate, weight_decay=weight_decay)

    def step(self, batch: Batch, number: int) -> float:
        """One optimiser step; its loss."""
        loss = loss_of(self.policy, batch, step_generator(0, number, "cpu"), "float32")
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(self._average.parameters(), self.policy.parameters(), strict=True):
                mine.mul_(EMA_DECAY).add_(theirs, alpha=1 - EMA_DECAY)
        return float(loss.detach())


def plain_layers(policy: DiffusionPolicy) -> DiffusionPolicy:
    """A copy with torch's own layers and memory layout; the weights are the same."""
    plain = copy.deepcopy(policy).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, cpu_layers.Mish):
                setattr(module, name, nn.Mish())
            elif isinstance(child, cpu_layers.Conv1d):
                setattr(module, name, _plain_convolution(child))
            elif isinstance(child, cpu_layers.GroupNorm):
                setattr(module, name, _plain_norm(child))
    return plain


def _plain_convolution(layer: cpu_layers.Conv1d) -> nn.Conv1d:
    plain = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel, stride=layer.step,
                      padding=layer.kernel // 2)
    plain.load_state_dict(layer.state_dict())
    return plain


def _plain_norm(layer: cpu_layers.GroupNorm) -> nn.GroupNorm:
    plain = nn.GroupNorm(layer.num_groups, layer.num_channels, layer.eps)
    plain.load_state_dict(layer.state_dict())
    return plain


class PerSampleSampler:
    """Windows as the original code makes them: every window by itself, each of its frames converted, then collated.

    Args:
        frames: (N, H, W, 3) uint8. vectors: key -> (N, D) float32.
    """

    def __init__(self, frames: NDArray[np.uint8], vectors: Mapping[str, NDArray[np.float32]], index: WindowIndex,
                 horizon: int) -> None:
        self._frames, self._vectors, self._index, self._horizon = frames, vectors, index, horizon

    def __getitem__(self, window: int) -> dict[str, NDArray[Any]]:
        """img (T, 3, H, W) in 0..1, and each vector (T, D); beyond the episode its first and last step repeat."""
        start, first, last = (int(values[window]) for values in (self._index.starts, self._index.first,
                                                                 self._index.last))
        begin, end = max(start, first), min(start + self._horizon, last + 1)
        before, after = begin - start, start + self._horizon - end
        frames = np.moveaxis(self._padded(self._frames[begin:end], before, after), -1, 1).astype(np.float32)
        vectors = {key: self._padded(values[begin:end], before, after) for key, values in self._vectors.items()}
        return {"img": frames / np.float32(255), **vectors}

    def batch(self, windows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The windows one by one, stacked: key -> (B, T, ...)."""
        samples = [self[int(window)] for window in windows]
        return {key: torch.stack([torch.from_numpy(sample[key]) for sample in samples]) for key in samples[0]}

    def _padded(self, values: NDArray[Any], before: int, after: int) -> NDArray[Any]:
        padded = np.zeros((self._horizon, *values.shape[1:]), values.dtype)
        padded[:before] = values[0]
        padded[before:self._horizon - after] = values
        padded[self._horizon - after:] = values[-1]
        return padded
