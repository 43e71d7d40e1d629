"""Exponential moving average of the weights, as in the Diffusion Policy paper."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """Keeps a slowly following copy of a module; the copy is what validates and is deployed.

    The decay grows with the steps as 1 - (1 + step)^-power up to max_decay, so early weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, power: float, max_decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._power, self._max_decay = power, max_decay

    def decay(self, step: int) -> float:
        """Share of the old average that is kept at this step."""
        return min(max(1 - (1 + step) ** -self._power, 0.0), self._max_decay)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's weights; buffers are copied."""
        weight = 1 - self.decay(step)
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs.detach(), weight)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
