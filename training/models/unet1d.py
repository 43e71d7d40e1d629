"""Conditional 1-D U-Net of the Diffusion Policy paper: time convolutions, conditioned by FiLM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class StepEmbedding(nn.Module):
    """Sinusoidal embedding of the diffusion step, then a small MLP: (B,) -> (B, width)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, 4 * width), nn.Mish(), nn.Linear(4 * width, width))

    def forward(self, steps: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        angles = steps[:, None].float() * self.frequencies
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))


def conv_block(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    """Convolution, GroupNorm, Mish at constant length."""
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2),
                         nn.GroupNorm(groups, outputs), nn.Mish())


class FilmBlock(nn.Module):
    """Residual block of two convolutions; the condition scales and shifts each channel between them."""

    def __init__(self, inputs: int, outputs: int, condition: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = conv_block(inputs, outputs, kernel, groups)
        self.second = conv_block(outputs, outputs, kernel, groups)
        self.film = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * outputs))
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, inputs, T), (B, condition) -> (B, outputs, T)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        hidden = self.first(x) * scale + shift
        return self.second(hidden) + self.shortcut(x)


class ConditionalUnet1d(nn.Module):
    """Predicts the noise of an action sequence (B, T, Da) from the step and a condition (B, Dc)."""

    def __init__(self, action_width: int, condition_width: int, down_dims: Sequence[int], kernel_size: int,
                 groups: int, step_embedding: int) -> None:
        super().__init__()
        self.step_embedding = StepEmbedding(step_embedding)
        condition = step_embedding + condition_width

        def block(inputs: int, outputs: int) -> FilmBlock:
            return FilmBlock(inputs, outputs, condition, kernel_size, groups)

        widths = [action_width, *down_dims]
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(pairs):
            last = level == len(pairs) - 1
            shrink = nn.Identity() if last else nn.Conv1d(outputs, outputs, 3, stride=2, padding=1)
            self.down.append(nn.ModuleList([block(inputs, outputs), block(outputs, outputs), shrink]))
        self.middle = nn.ModuleList([block(widths[-1], widths[-1]), block(widths[-1], widths[-1])])
        self.up = nn.ModuleList()
        for inputs, outputs in reversed(pairs[1:]):
            grow = nn.ConvTranspose1d(inputs, inputs, 4, stride=2, padding=1)
            self.up.append(nn.ModuleList([block(2 * outputs, inputs), block(inputs, inputs), grow]))
        self.out = nn.Sequential(conv_block(down_dims[0], down_dims[0], kernel_size, groups),
                                 nn.Conv1d(down_dims[0], action_width, 1))
        self.stride = 2 ** (len(down_dims) - 1)

    def forward(self, actions: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """(B, T, Da), (B,), (B, Dc) -> noise (B, T, Da). A T that the levels cannot halve is padded here."""
        length = actions.shape[1]
        x = F.pad(actions.transpose(1, 2), (0, -length % self.stride), mode="replicate")
        condition = torch.cat([self.step_embedding(steps), condition], dim=-1)
        skips: list[Tensor] = []
        for first, second, shrink in self.down:  # type: ignore[misc]
            x = second(first(x, condition), condition)
            skips.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, condition)
        for first, second, grow in self.up:  # type: ignore[misc]
            x = torch.cat([x, skips.pop()], dim=1)
            x = grow(second(first(x, condition), condition))
        return self.out(x)[..., :length].transpose(1, 2)
