"""DDPM training targets, DDPM and DDIM sampling, in torch alone so that a robot needs no diffusers.

Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672, squared-cosine schedule),
Song et al. 2020 (arXiv:2010.02502, DDIM with eta 0). A test holds all of it against diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ladle.errors import ConfigError
from training.inpainting import RESAMPLINGS, Prefix

Schedule = Literal["squared_cosine", "linear"]
Prediction = Literal["epsilon", "sample"]
Network = Callable[[Tensor, Tensor], Tensor]
"""(sample (B, T, D), steps (B,)) -> what the network predicts, (B, T, D)."""


class Level(NamedTuple):
    """A visited training step, with the share of signal there and at the next visited one."""

    step: int
    bar: float
    bar_previous: float


Back = Callable[[Tensor, Tensor, Tensor, Level], Tensor]
"""(sample, its clean part, its noise, level) -> sample at the level's next step."""

LARGEST_BETA = 0.999
LINEAR_BETAS = (1e-4, 0.02)  # first and last, Ho et al.
SMALLEST_VARIANCE = 1e-20


class NoiseSchedule(nn.Module):
    """Noise levels over n_steps, and the samplers that go back along them."""

    alphas_cumprod: Tensor

    def __init__(self, n_steps: int, schedule: Schedule = "squared_cosine", prediction: Prediction = "epsilon") -> None:
        super().__init__()
        betas = _cosine_betas(n_steps) if schedule == "squared_cosine" else torch.linspace(*LINEAR_BETAS, n_steps)
        self.register_buffer("alphas_cumprod", torch.cumprod(1.0 - betas, dim=0), persistent=False)
        self.n_steps = n_steps
        self._predicts_noise = prediction == "epsilon"

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Noised sample: clean and noise (B, T, D), steps (B,) in 0..n_steps-1 -> (B, T, D)."""
        alpha = self.alphas_cumprod[steps].view(-1, *([1] * (clean.dim() - 1)))
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """What the network is trained to predict."""
        return noise if self._predicts_noise else clean

    def sampling_steps(self, n_samples: int) -> list[int]:
        """Descending training steps that a sampler with n_samples evaluations visits ("leading" spacing)."""
        if not 1 <= n_samples <= self.n_steps:
            raise ConfigError(f"{n_samples} sampling steps of a schedule with {self.n_steps}; "
                              f"choose 1 to {self.n_steps}")
        ratio = self.n_steps // n_samples
        return [i * ratio for i in range(n_samples)][::-1]

    def ddim(self, network: Network, noise: Tensor, n_samples: int, prefix: Prefix | None = None,
             generator: torch.Generator | None = None) -> Tensor:
        """Deterministic DDIM: noise (B, T, D) -> clean sample (B, T, D). A prefix needs the generator as well."""
        def back(_: Tensor, clean: Tensor, epsilon: Tensor, level: Level) -> Tensor:
            return math.sqrt(level.bar_previous) * clean + math.sqrt(1 - level.bar_previous) * epsilon

        return self._denoised(network, noise, n_samples, back, prefix, generator)

    def ddpm(self, network: Network, noise: Tensor, n_samples: int, generator: torch.Generator | None = None,
             prefix: Prefix | None = None) -> Tensor:
        """Ancestral sampling ("fixed_small" variance): noise (B, T, D) -> clean sample (B, T, D).

        The fresh noise of each step is drawn on the generator's device.
        """
        def back(sample: Tensor, clean: Tensor, _: Tensor, level: Level) -> Tensor:
            step, bar, bar_previous = level
            alpha = bar / bar_previous
            sample = (math.sqrt(bar_previous) * (1 - alpha) / (1 - bar) * clean
                      + math.sqrt(alpha) * (1 - bar_previous) / (1 - bar) * sample)
            if step > 0:
                variance = max((1 - bar_previous) / (1 - bar) * (1 - alpha), SMALLEST_VARIANCE)
                sample = sample + math.sqrt(variance) * _fresh(sample, generator)
            return sample

        return self._denoised(network, noise, n_samples, back, prefix, generator)

    def _denoised(self, network: Network, noise: Tensor, n_samples: int, back: Back, prefix: Prefix | None,
                  generator: torch.Generator | None) -> Tensor:
        """All levels, the highest first; with a prefix as training/inpainting.py has it."""
        if prefix is not None and not bool(prefix.weights.any()):
            prefix = None
        sample = noise
        for level in self._levels(n_samples):
            repeats = RESAMPLINGS if prefix is not None and level.bar_previous < 1 else 0
            for repeat in range(repeats + 1):
                if repeat:
                    alpha = level.bar / level.bar_previous
                    sample = math.sqrt(alpha) * sample + math.sqrt(1 - alpha) * _fresh(sample, generator)
                if prefix is not None:
                    sample = prefix.noised(sample, noise, level.bar)
                clean, epsilon = self._split(network, sample, level.step, level.bar)
                if prefix is not None:
                    clean = prefix.blended(clean)
                sample = back(sample, clean, epsilon, level)
        return sample

    def _levels(self, n_samples: int) -> Iterator[Level]:
        """Each visited step, from the noisiest on."""
        alphas, ratio = self.alphas_cumprod.tolist(), self.n_steps // n_samples
        for step in self.sampling_steps(n_samples):
            yield Level(step, alphas[step], alphas[step - ratio] if step >= ratio else 1.0)

    def _split(self, network: Network, sample: Tensor, step: int, bar: float) -> tuple[Tensor, Tensor]:
        """Clean part, kept within [-1, 1], and noise of a sample."""
        predicted = network(sample, torch.full((len(sample),), step, device=sample.device, dtype=torch.long))
        if self._predicts_noise:
            return ((sample - math.sqrt(1 - bar) * predicted) / math.sqrt(bar)).clamp_(-1.0, 1.0), predicted
        clean = predicted.clamp(-1.0, 1.0)
        return clean, (sample - math.sqrt(bar) * predicted) / math.sqrt(1 - bar)


def _fresh(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise, drawn where the generator lives."""
    source = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, device=source).to(like.device)


def _cosine_betas(n_steps: int) -> Tensor:
    """ "squaredcos_cap_v2"."""
    def alpha_bar(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((i + 1) / n_steps) / alpha_bar(i / n_steps), LARGEST_BETA) for i in range(n_steps)]
    return torch.tensor(betas, dtype=torch.float32)
