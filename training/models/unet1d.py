"""Conditional 1-D U-Net of the Diffusion Policy paper: time convolutions, conditioned by FiLM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training.models.cpu_layers import Conv1d, GroupNorm, Mish


class StepEmbedding(nn.Module):
    """Sinusoidal embedding of the diffusion step, then a small MLP: (B,) -> (B, width)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, 4 * width), Mish(), nn.Linear(4 * width, width))

    def forward(self, steps: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        angles = steps[:, None].float() * self.frequencies
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))


def conv_block(inputs: int, outputs: int, kernel: int, groups: int) -> nn.Sequential:
    """Convolution, GroupNorm, Mish at constant length."""
    return nn.Sequential(Conv1d(inputs, outputs, kernel), GroupNorm(groups, outputs), Mish())


class FilmBlock(nn.Module):
    """Residual block of two convolutions; the condition scales and shifts each channel between them."""

    def __init__(self, inputs: int, outputs: int, condition: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.first = conv_block(inputs, outputs, kernel, groups)
        self.second = conv_block(outputs, outputs, kernel, groups)
        self.film = nn.Sequential(Mish(), nn.Linear(condition, 2 * outputs))
        self.shortcut = Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, inputs, T), (B, condition) -> (B, outputs, T)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        hidden = self.first(x) * scale + shift
        return self.second(hidden) + self.shortcut(x)


class ConditionalUnet1d(nn.Module):
    """Denoises an action sequence (B, T, Da), told the step, a condition (B, Dc) and, where local_width is not zero,
    one more for each element (B, T, Dl).

    The local condition passes a block of its own and is added twice, where the sequence has its full length: after
    the first block and after the last upsampling. (The original code means the second place too, but never gets there.)
    """

    def __init__(self, action_width: int, condition_width: int, down_dims: Sequence[int], kernel_size: int,
                 groups: int, step_embedding: int, local_width: int = 0) -> None:
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
            shrink = nn.Identity() if last else Conv1d(outputs, outputs, 3, stride=2)
            self.down.append(nn.ModuleList([block(inputs, outputs), block(outputs, outputs), shrink]))
        self.middle = nn.ModuleList([block(widths[-1], widths[-1]), block(widths[-1], widths[-1])])
        self.up = nn.ModuleList()
        for inputs, outputs in reversed(pairs[1:]):
            grow = nn.ConvTranspose1d(inputs, inputs, 4, stride=2, padding=1)
            self.up.append(nn.ModuleList([block(2 * outputs, inputs), block(inputs, inputs), grow]))
        self.out = nn.Sequential(conv_block(down_dims[0], down_dims[0], kernel_size, groups),
                                 Conv1d(down_dims[0], action_width, 1))
        if local_width:
            self.local = nn.ModuleList([block(local_width, down_dims[0]), block(local_width, down_dims[0])])
        self.stride = 2 ** (len(down_dims) - 1)

    def forward(self, actions: Tensor, steps: Tensor, condition: Tensor, local: Tensor | None = None) -> Tensor:
        """(B, T, Da), (B,), (B, Dc), (B, T, Dl) -> (B, T, Da). A T that the levels cannot halve is padded here."""
        length = actions.shape[1]
        x = self._padded(actions)
        condition = torch.cat([self.step_embedding(steps), condition], dim=-1)
        added = [] if local is None else [block(self._padded(local), condition) for block in self.local]
        skips: list[Tensor] = []
        for level, (first, second, shrink) in enumerate(self.down):  # type: ignore[misc]
            x = first(x, condition)
            if added and level == 0:
                x = x + added[0]
            x = second(x, condition)
            skips.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, condition)
        for first, second, grow in self.up:  # type: ignore[misc]
            x = torch.cat([x, skips.pop()], dim=1)
            x = grow(second(first(x, condition), condition))
        if added:
            x = x + added[1]
        return self.out(x)[..., :length].transpose(1, 2)

    def _padded(self, sequence: Tensor) -> Tensor:
        """(B, T, D) -> (B, D, T'): the last element repeats up to a length that the levels can halve."""
        return F.pad(sequence.transpose(1, 2), (0, -sequence.shape[1] % self.stride), mode="replicate")
