"""Asking for a mass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ladle.errors import ConfigError
from ladle.policy import Guidance
from ladle.task import ActionPartConfig, TaskConfig
from training.batch import Batch
from training.guidance import MassCondition, guided
from training.loop import threads
from training.model_schema import MassSection
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig, parse_config

TASK = TaskConfig(name="line", rate_hz=10.0, action=(ActionPartConfig(name="xy", kind="xy"),))


def condition(**settings: float) -> MassCondition:
    """Fitted to masses from 1 to 4 g."""
    made = MassCondition(MassSection(condition=True, **settings))  # pyright: ignore[reportArgumentType]
    made.normalizer.fit(np.array([[1.0], [4.0]], np.float32), np.zeros(1, bool))
    return made


@settings(deadline=None, max_examples=30)
@given(st.floats(1.0, 4.0), st.floats(1.0, 4.0))
def test_different_masses_have_different_features(one: float, other: float):
    """Neighbours are close, others are not, and no mass looks like none."""
    made = condition()
    features = made(torch.tensor([one, other]), None)
    distance = float((features[0] - features[1]).norm())
    assert features.shape == (2, made.width)
    assert 2 / 3 * abs(one - other) - 1e-4 <= distance <= 20 * abs(one - other) + 1e-4
    assert float((features - made.nothing(2)).norm(dim=1).min()) >= 1.0


def test_the_mass_is_dropped_as_often_as_configured():
    """Whole conditions, only in training."""
    made, mass = condition(dropout=0.25), torch.full((4000,), 2.0)
    dropped = (made(mass, torch.Generator().manual_seed(0)) == 0).all(dim=1)
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not (made(mass, None) == 0).all(dim=1).any()


def network(sample: Tensor, steps: Tensor, extra: Tensor) -> Tensor:
    """Something that depends on everything."""
    return torch.tanh(sample + 0.1 * steps.view(-1, 1, 1) + extra.sum(dim=1).view(-1, 1, 1))


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5, 3.0])
def test_the_weight_goes_from_unconditional_to_conditional_and_beyond(weight: float):
    """0 is the one, 1 the other, everything else lies on the line through both."""
    sample, steps, extra, nothing = torch.randn(2, 4, 2), torch.tensor([3, 3]), torch.ones(2, 5), torch.zeros(2, 5)
    conditional, unconditional = network(sample, steps, extra), network(sample, steps, nothing)
    torch.testing.assert_close(guided(network, extra, nothing, weight)(sample, steps),
                               unconditional + weight * (conditional - unconditional))


def config(*, mass: bool, **more: object) -> PolicyConfig:
    """A tiny policy for points on a line."""
    return parse_config(PolicyConfig, {
        "name": "line", "task": {"name": "line", "dataset_path": "none"}, "training": {"max_steps": 1},
        "observations": {"low_dim": [{"key": "agent", "kind": "vector", "shape": [2]}]},
        "horizon": 2, "n_obs_steps": 1, "n_action_steps": 1, "mass": {"condition": mass, "dropout": 0.3},
        "unet": {"down_dims": [32], "groups": 4, "step_embedding": 16, "kernel_size": 3},
        "diffusion": {"train_steps": 50}, **more}, "test")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose by two."""
    with threads(1):
        yield


def trained(made: PolicyConfig, steps: int) -> DiffusionPolicy:
    """Taught that the actions are the mass, times 1 in x and -1 in y, plus noise, wherever the agent is."""
    torch.manual_seed(0)
    policy = DiffusionPolicy(made, TASK)
    mass = np.linspace(1, 4, 50, dtype=np.float32)
    policy.fit_normalizers({"agent": np.array([[-1, -1], [1, 1]], np.float32)},
                           np.stack([mass, -mass], axis=1) * np.float32(1.1), mass)
    optimizer = torch.optim.AdamW(policy.parameter_groups(1e-6), lr=5e-3)
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        grams = 1 + 3 * torch.rand(64, generator=generator)
        action = torch.stack([grams, -grams], dim=1)[:, None].expand(-1, 2, -1)
        batch = Batch({}, {"agent": 2 * torch.rand((64, 1, 2), generator=generator) - 1}, action=action, mass_g=grams)
        loss = policy.train().compute_loss(batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy.eval()


def test_a_guided_policy_gives_what_is_asked_and_an_unguided_one_gives_anything():
    """Asked for 1.5, 2.5 and 3.5 the mean answers follow; weight 0 and no mass are the same answer, spread out."""
    policy = trained(config(mass=True), 250)
    agent = {"agent": torch.zeros(48, 1, 2)}

    def answers(mass_g: float | None, weight: float = 1.0) -> Tensor:
        batch = Batch({}, agent, mass_g=None if mass_g is None else torch.full((48,), mass_g))
        return policy.sample(batch, torch.Generator().manual_seed(1), weight)

    for asked in (1.5, 2.5, 3.5):
        got = answers(asked)[..., 0]
        assert float(got.mean()) == pytest.approx(asked, abs=0.4)
    assert float(answers(None)[:, 0, 0].std()) > 2 * float(answers(2.5)[:, 0, 0].std())
    assert torch.equal(answers(2.5, 0.0), answers(None))
    assert float(answers(3.5, 2.0)[..., 0].mean()) >= float(answers(3.5)[..., 0].mean()) - 0.1


def test_a_mass_without_masses_in_the_data_is_refused():
    """The error says what to add."""
    policy = DiffusionPolicy(config(mass=True), TASK)
    with pytest.raises(ConfigError, match="needs `mass` in the replay buffer"):
        policy.fit_normalizers({"agent": np.zeros((2, 2), np.float32)}, np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("denoiser", ["unet", "transformer"])
@pytest.mark.parametrize("observations", ["global", "local"])
def test_the_mass_reaches_every_denoiser(denoiser: str, observations: str):
    """Through the flat condition, beside a local one, and in the transformer's tokens; dropout follows the seed."""
    made = config(mass=True, denoiser=denoiser, unet={"down_dims": [16], "groups": 4, "step_embedding": 16,
                                                      "observations": observations},
                  transformer={"layers": 1, "heads": 2, "width": 16})
    policy = trained(made, 5)
    agent = {"agent": torch.zeros(2, 1, 2)}
    one, other = (policy.sample(Batch({}, agent, mass_g=torch.full((2,), grams)), torch.Generator().manual_seed(1))
                  for grams in (1.0, 4.0))
    assert one.shape == (2, 2, 2)
    assert not torch.allclose(one, other)
    batch = Batch({}, agent, action=torch.zeros(2, 2, 2), mass_g=torch.ones(2))
    losses = [policy.train().compute_loss(batch, torch.Generator().manual_seed(2)).item() for _ in range(2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("mass_g", "weight", "message"), [
    (-1.0, 1.0, "target_mass_g -1.0"), (float("nan"), 1.0, "target_mass_g nan"), (2.0, -0.5, "guidance_weight -0.5"),
])
def test_impossible_wishes_are_refused(mass_g: float, weight: float, message: str):
    """Before a robot hears of them."""
    with pytest.raises(ConfigError, match=message):
        Guidance(mass_g, weight)
