"""Asking for a mass: Fourier features of the final mass, and classifier-free guidance towards it.

Ho and Salimans 2022 (arXiv:2207.12598); Tancik et al. 2020 (arXiv:2006.10739) for the features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.diffusion import Network
from training.model_schema import MassSection
from training.normalizer import LimitsNormalizer


class MassCondition(nn.Module):
    """Final mass (B,) in grams -> (B, width): a flag, the mass within the limits of the data, sines and cosines of it.

    All zeros, the flag too, say that no mass is asked for.
    """

    octaves: Tensor

    def __init__(self, config: MassSection) -> None:
        super().__init__()
        self.normalizer = LimitsNormalizer(1)
        self._dropout = config.dropout
        # The lowest has half a period over the data's range, so that its two ends differ.
        octaves = 0.5 * math.pi * 2.0 ** torch.arange(config.frequencies)
        self.register_buffer("octaves", octaves, persistent=False)
        self.width = 2 + 2 * config.frequencies

    def forward(self, mass_g: Tensor, generator: torch.Generator | None) -> Tensor:
        """With a generator the condition is left out for some of the batch, as in training."""
        mass = self.normalizer.normalize(mass_g[:, None])  # (B, 1)
        angles = mass * self.octaves
        features = torch.cat([torch.ones_like(mass), mass, angles.sin(), angles.cos()], dim=-1)
        if generator is None:
            return features
        kept = torch.rand((len(mass), 1), generator=generator, device=generator.device) >= self._dropout
        return features * kept.to(features)

    def nothing(self, size: int) -> Tensor:
        """The condition of `size` windows for which no mass is asked: (size, width)."""
        return torch.zeros((size, self.width), device=self.octaves.device)


Conditioned = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(sample (B, T, D), steps (B,), condition (B, C)) -> prediction (B, T, D)."""


def guided(network: Conditioned, condition: Tensor, nothing: Tensor, weight: float) -> Network:
    """The network with its condition amplified: unconditional + weight * (conditional - unconditional).

    Weight 0 is the unconditional answer, 1 the conditional one; any other evaluates both in one batch.
    """
    if weight in (0.0, 1.0):
        chosen = condition if weight else nothing
        return lambda sample, steps: network(sample, steps, chosen)
    both = torch.cat([condition, nothing])

    def predict(sample: Tensor, steps: Tensor) -> Tensor:
        answers = network(torch.cat([sample, sample]), torch.cat([steps, steps]), both)
        conditional, unconditional = answers.chunk(2)
        return unconditional + weight * (conditional - unconditional)

    return predict
