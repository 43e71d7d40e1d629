"""Real-time chunking: what is frozen stays, what is free is sampled, and the two fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ladle.chunks import kept_weights, parts_at
from ladle.policy import ActionChunk, ContinuingPolicy, ObservationWindow, RunningChunk
from training.diffusion import NoiseSchedule
from training.inference import load_policy
from training.inpainting import Prefix
from training.loop import threads

T = 16


class Denoiser(nn.Module):
    """A small network for chunks of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Embedding(100, 16)
        self.layers = nn.Sequential(nn.Linear(T + 16, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, T))

    def forward(self, sample: Tensor, steps: Tensor) -> Tensor:
        return self.layers(torch.cat([sample[..., 0], self.step(steps)], dim=-1))[..., None]


def left_or_right(n: int, generator: torch.Generator) -> Tensor:
    """(n, T, 1): a slow wave on one side of an obstacle or on the other."""
    side = torch.where(torch.rand((n, 1), generator=generator) < 0.5, -1.0, 1.0)
    phase = 2 * np.pi * torch.rand((n, 1), generator=generator)
    return (side * (0.45 + 0.3 * torch.sin(phase + 0.25 * torch.arange(T))))[..., None]


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    """Trained for 1200 steps: two seconds. Two threads would be slower."""
    with threads(1):
        return trained()


def trained() -> Denoiser:
    """By plain gradient descent on the noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser()
    generator, schedule = torch.Generator().manual_seed(0), NoiseSchedule(100)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(1200):
        clean = left_or_right(128, generator)
        noise, steps = torch.randn(clean.shape, generator=generator), torch.randint(0, 100, (128,), generator=generator)
        loss = (network(schedule.add_noise(clean, noise, steps), steps) - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.requires_grad_(False)


def shifted_prefix(old: Tensor, shift: int, delay: int) -> Prefix:
    """The old chunks as they lie in chunks asked for `shift` steps later."""
    times = np.arange(T, dtype=np.float64)
    running = ActionChunk(-shift, times - shift, {"x": np.zeros((T, 1))})
    weights = torch.from_numpy(kept_weights(times, running, delay - 1.0)).float()
    known = torch.cat([old[:, shift:], torch.zeros(len(old), shift, 1)], dim=1)
    return Prefix(known, weights[:, None].expand(len(old), T, 1))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_the_frozen_part_comes_out_bit_for_bit(denoiser: Denoiser, sampler: str):
    """Also where it is beyond what the normaliser has seen."""
    generator = torch.Generator().manual_seed(1)
    prefix = shifted_prefix(1.3 * left_or_right(20, generator), 4, 3)
    noise = torch.randn((20, T, 1), generator=generator)
    found = getattr(NoiseSchedule(100), sampler)(denoiser, noise, 10, generator=generator, prefix=prefix)
    assert torch.equal(found[:, :3], prefix.actions[:, :3])
    assert not torch.equal(found[:, 3:12], prefix.actions[:, 3:12])


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_without_weights_it_is_plain_sampling(denoiser: Denoiser, sampler: str):
    """Bit for bit, the state of the generator included."""
    noise = torch.randn((5, T, 1), generator=torch.Generator().manual_seed(2))
    results, states = [], []
    for prefix in (None, Prefix(torch.ones_like(noise), torch.zeros_like(noise))):
        generator = torch.Generator().manual_seed(3)
        results.append(getattr(NoiseSchedule(100), sampler)(denoiser, noise, 10, generator=generator, prefix=prefix))
        states.append(generator.get_state())
    assert torch.equal(*results)
    assert torch.equal(*states)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize(("shift", "delay"), [(4, 2), (4, 4), (8, 3)])
def test_the_seam_nearly_vanishes_where_replacement_jumps(denoiser: Denoiser, sampler: str, shift: int, delay: int):
    """Replacement changes the side half of the time; a continued chunk is on the old one's side at the switch."""
    generator, sample = torch.Generator().manual_seed(4), getattr(NoiseSchedule(100), sampler)
    old = sample(denoiser, torch.randn((200, T, 1), generator=generator), 10, generator=generator)
    prefix = shifted_prefix(old, shift, delay)
    noise = torch.randn((200, T, 1), generator=generator)
    continued = sample(denoiser, noise, 10, generator=generator, prefix=prefix)
    replaced = sample(denoiser, noise, 10, generator=generator)
    seam = [float((new - prefix.actions)[:, delay].abs().mean()) for new in (continued, replaced)]
    flips = [float((new * prefix.actions < 0)[:, delay].float().mean()) for new in (continued, replaced)]
    assert seam[0] < 0.1 * seam[1]
    assert flips[0] < 0.03 < 0.4 < flips[1]
    far = [float((new[:, -1] * old[:, -1] < 0).float().mean()) for new in (continued, replaced)]
    assert far[0] < 0.75 * far[1], "nor does it change sides later as often"


def later(window: ObservationWindow, seconds: float) -> ObservationWindow:
    """The same streams so much later."""
    return replace(window, decision_time_s=window.decision_time_s + seconds,
                   observation_times_s=window.observation_times_s + seconds)


def test_a_policy_continues_the_chunk_that_runs(tiny_policy: Path, scoop_window: ObservationWindow):
    """Four ticks later, three frozen: these poses are the old chunk's, the following are near it, the last are free."""
    policy = load_policy(tiny_policy)
    assert isinstance(policy, ContinuingPolicy)
    policy.reset(0)
    old = policy.predict(scoop_window)
    window = later(scoop_window, 0.4)
    new = policy.predict_next(window, RunningChunk(old, window.time_s + 0.3))
    np.testing.assert_allclose(new.times_s, window.time_s + 0.1 * np.arange(1, 16))
    np.testing.assert_allclose(new.parts["pose"][:3], old.parts["pose"][4:7], atol=2e-6)
    assert np.abs(new.parts["pose"][3:] - parts_at(old, new.times_s, ("pose",))["pose"][3:]).max() > 1e-3


def test_a_chunk_that_has_run_out_holds_nothing(tiny_policy: Path, scoop_window: ObservationWindow):
    """The answer is that of a policy that is told of no chunk."""
    policy = load_policy(tiny_policy)
    policy.reset(0)
    old, window = policy.predict(scoop_window), later(scoop_window, 5.0)
    answers = []
    for running in (RunningChunk(old, window.time_s + 0.3), None):
        policy.reset(1)
        chunk = policy.predict(window) if running is None else policy.predict_next(window, running)
        answers.append(chunk.parts["pose"])
    assert np.array_equal(*answers)


def test_a_soft_element_is_pulled_but_not_replaced():
    """Only what is frozen takes the known part's noise level; the prediction is moved by the weight's share."""
    known, weights = torch.full((1, 3, 2), 0.5), torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1)
    sample, noise = torch.full((1, 3, 2), -3.0), torch.full((1, 3, 2), 2.0)
    noised = Prefix(known, weights).noised(sample, noise, 0.36)
    torch.testing.assert_close(noised[0, :, 0], torch.tensor([0.6 * 0.5 + 0.8 * 2.0, -3.0, -3.0]))
    clean = Prefix(known, weights).blended(torch.full((1, 3, 2), -1.0))
    torch.testing.assert_close(clean[0, :, 0], torch.tensor([0.5, -0.25, -1.0]))
