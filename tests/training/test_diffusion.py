"""Our DDPM and DDIM against diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ladle.errors import ConfigError
from training.diffusion import NoiseSchedule, Prediction, Schedule


def fake_network(sample: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Some smooth function of sample and step, that leaves [-1, 1] as an untrained network does."""
    return 1.5 * torch.tanh(sample * 1.3 + steps.view(-1, 1, 1) * 0.01)


@pytest.mark.parametrize("n_samples", [1, 4, 10, 16, 100])
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_ddim_is_that_of_diffusers(n_samples: int, prediction: Prediction):
    """The same noise and network give the same sample, whatever the network predicts."""
    theirs = DDIMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2", clip_sample=True,
                           set_alpha_to_one=True, steps_offset=0, prediction_type=prediction)
    theirs.set_timesteps(n_samples)
    noise = torch.randn(3, 16, 9, generator=torch.Generator().manual_seed(0))
    sample = noise
    for step in theirs.timesteps:
        sample = theirs.step(fake_network(sample, step.expand(3)), step, sample, eta=0.0).prev_sample
    ours = NoiseSchedule(100, prediction=prediction).ddim(fake_network, noise, n_samples)
    torch.testing.assert_close(ours, sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("schedule", "name"), [("squared_cosine", "squaredcos_cap_v2"), ("linear", "linear")])
def test_noising_is_that_of_diffusers(schedule: Schedule, name: str):
    """Every training step noises alike."""
    theirs = DDPMScheduler(num_train_timesteps=100, beta_schedule=name)
    generator = torch.Generator().manual_seed(1)
    clean, noise = (torch.randn(100, 16, 2, generator=generator) for _ in range(2))
    ours = NoiseSchedule(100, schedule).add_noise(clean, noise, torch.arange(100))
    torch.testing.assert_close(ours, theirs.add_noise(clean, noise, torch.arange(100)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("n_samples", [20, 10])
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_ddpm_is_that_of_diffusers(n_samples: int, prediction: Prediction):
    """Ancestral sampling with the same noise in each step gives the same sample, over all steps or every other one."""
    theirs = DDPMScheduler(num_train_timesteps=20, beta_schedule="squaredcos_cap_v2", clip_sample=True,
                           variance_type="fixed_small", prediction_type=prediction)
    theirs.set_timesteps(n_samples)
    noise = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(0))
    generator, sample = torch.Generator().manual_seed(5), noise
    for step in theirs.timesteps:
        output = fake_network(sample, step.expand(2))
        sample = theirs.step(output, step, sample, generator=generator).prev_sample
    ours = NoiseSchedule(20, prediction=prediction).ddpm(fake_network, noise, n_samples,
                                                         torch.Generator().manual_seed(5))
    torch.testing.assert_close(ours, sample, atol=1e-4, rtol=1e-4)


def test_more_sampling_steps_than_training_steps_are_refused():
    """The error says what is possible."""
    with pytest.raises(ConfigError, match="1 to 10"):
        NoiseSchedule(10).sampling_steps(11)
