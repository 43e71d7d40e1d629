"""DDPM training targets and DDIM sampling, in torch alone so that a robot needs no diffusers.

Ho et al. 2020 (arXiv:2006.11239), Nichol and Dhariwal 2021 (arXiv:2102.09672, squared-cosine schedule),
Song et al. 2020 (arXiv:2010.02502, DDIM with eta 0). A test holds both against diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ladle.errors import ConfigError


class NoiseSchedule(nn.Module):
    """Squared-cosine schedule ("squaredcos_cap_v2") over n_steps, betas capped at 0.999."""

    alphas_cumprod: Tensor

    def __init__(self, n_steps: int) -> None:
        super().__init__()

        def alpha_bar(u: float) -> float:
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = [min(1 - alpha_bar((i + 1) / n_steps) / alpha_bar(i / n_steps), 0.999) for i in range(n_steps)]
        alphas_cumprod = torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32), dim=0)
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.n_steps = n_steps

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """Noised sample: clean and noise (B, T, D), steps (B,) in 0..n_steps-1 -> (B, T, D)."""
        alpha = self.alphas_cumprod[steps].view(-1, *([1] * (clean.dim() - 1)))
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def sampling_steps(self, n_samples: int) -> list[int]:
        """Descending training steps that a sampler with n_samples evaluations visits ("leading" spacing)."""
        if not 1 <= n_samples <= self.n_steps:
            raise ConfigError(f"{n_samples} sampling steps of a schedule with {self.n_steps}; "
                              f"choose 1 to {self.n_steps}")
        ratio = self.n_steps // n_samples
        return [i * ratio for i in range(n_samples)][::-1]

    def ddim(self, predict_noise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, n_samples: int) -> Tensor:
        """Deterministic DDIM: noise (B, T, D), predict_noise(sample, steps (B,)) -> clean sample (B, T, D)."""
        sample, ratio = noise, self.n_steps // n_samples
        alphas = self.alphas_cumprod.tolist()
        for step in self.sampling_steps(n_samples):
            alpha, previous = alphas[step], alphas[step - ratio] if step >= ratio else 1.0
            steps = torch.full((len(sample),), step, device=sample.device, dtype=torch.long)
            epsilon = predict_noise(sample, steps)
            clean = ((sample - math.sqrt(1 - alpha) * epsilon) / math.sqrt(alpha)).clamp_(-1.0, 1.0)
            sample = math.sqrt(previous) * clean + math.sqrt(1 - previous) * epsilon
        return sample

    def ddpm(self, predict_noise: Callable[[Tensor, Tensor], Tensor], noise: Tensor,
             generator: torch.Generator | None = None) -> Tensor:
        """Ancestral sampling over all steps ("fixed_small" variance): noise (B, T, D) -> clean sample (B, T, D)."""
        sample, alphas = noise, self.alphas_cumprod.tolist()
        for step in range(self.n_steps - 1, -1, -1):
            bar, bar_previous = alphas[step], alphas[step - 1] if step > 0 else 1.0
            alpha = bar / bar_previous
            steps = torch.full((len(sample),), step, device=sample.device, dtype=torch.long)
            epsilon = predict_noise(sample, steps)
            clean = ((sample - math.sqrt(1 - bar) * epsilon) / math.sqrt(bar)).clamp_(-1.0, 1.0)
            sample = (math.sqrt(bar_previous) * (1 - alpha) / (1 - bar) * clean
                      + math.sqrt(alpha) * (1 - bar_previous) / (1 - bar) * sample)
            if step > 0:
                variance = max((1 - bar_previous) / (1 - bar) * (1 - alpha), 1e-20)
                fresh = torch.randn(sample.shape, generator=generator, device=sample.device)
                sample = sample + math.sqrt(variance) * fresh
        return sample
