"""The U-Net's local condition and the transformer: who sees whom, and what the optimiser is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ladle.task import ActionPartConfig, TaskConfig
from training.batch import Batch
from training.model_schema import TransformerSection
from training.models.transformer import INITIAL_DEVIATION, TransformerDenoiser
from training.models.unet1d import ConditionalUnet1d
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig, parse_config

SMALL = TransformerSection(layers=2, heads=2, width=16, attention_dropout=0.0)


def transformer(config: TransformerSection = SMALL, horizon: int = 6, n_obs_steps: int = 3) -> TransformerDenoiser:
    """Two actions wide, four observed features; weights large enough to show what reaches what."""
    torch.manual_seed(0)
    network = TransformerDenoiser(2, 4, horizon, n_obs_steps, config).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(4.0)
    return network


def changed_by(network: TransformerDenoiser, action: int | None = None, observation: int | None = None) -> list[bool]:
    """Which actions of the answer change with one input token."""
    actions, observations, steps = torch.randn(1, 6, 2), torch.randn(1, 3, 4), torch.tensor([7])
    before = network(actions, steps, observations)
    if action is not None:
        actions[:, action] += 1.0
    if observation is not None:
        observations[:, observation] += 1.0
    after = network(actions, steps, observations)
    return [bool(moved) for moved in (before - after).abs().amax(dim=(0, 2)) > 1e-6]


@pytest.mark.parametrize("position", range(6))
def test_a_later_action_never_changes_an_earlier_answer(position: int):
    """The causal mask: token i reaches i and those after it."""
    assert changed_by(transformer(), action=position) == [i >= position for i in range(6)]


@pytest.mark.parametrize("position", range(3))
def test_an_observation_is_not_seen_before_its_time(position: int):
    """Action i sees observations up to i, as in the original code."""
    assert changed_by(transformer(), observation=position) == [i >= position for i in range(6)]


def test_without_the_masks_everything_is_seen():
    """causal=false lets later tokens reach earlier ones; a self-attending condition still passes its tokens on."""
    network = transformer(TransformerSection(layers=1, heads=2, width=16, causal=False, condition_layers=1))
    assert changed_by(network, action=5) == [True] * 6
    assert changed_by(network, observation=2) == [True] * 6


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_transformer_depends_on_the_step(precision: torch.dtype):
    """In full and in half precision."""
    network, actions, observations = transformer(), torch.randn(2, 6, 2), torch.randn(2, 3, 4)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        answers = [network(actions, torch.tensor([step, step]), observations) for step in (0, 50)]
    assert answers[0].shape == (2, 6, 2)
    assert not torch.allclose(*answers)


def test_the_transformer_begins_as_in_the_paper():
    """Matrices and positions are normal with 0.02, biases zero, norms the identity."""
    torch.manual_seed(0)
    network = TransformerDenoiser(2, 4, 16, 2, TransformerSection(layers=2, heads=4, width=128))
    assert float(network.action_positions.detach().std()) == pytest.approx(INITIAL_DEVIATION, rel=0.1)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            assert bool((module.weight == 1).all() and (module.bias == 0).all())
        elif isinstance(module, nn.MultiheadAttention):
            assert float(module.in_proj_weight.detach().std()) == pytest.approx(INITIAL_DEVIATION, rel=0.1)
        elif isinstance(module, nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(INITIAL_DEVIATION, rel=0.15)
            assert not module.bias.any()


def test_only_matrices_decay():
    """Neither biases, nor norms, nor position embeddings."""
    network = transformer()
    decayed = network.decayed_parameters()
    assert decayed == {name for name, value in network.named_parameters()
                       if value.dim() > 1 and not name.endswith("_positions")}
    assert decayed >= {"decoder.layers.0.self_attn.in_proj_weight", "decoder.layers.0.self_attn.out_proj.weight",
                       "action_in.weight", "out.weight"}


def unet(local_width: int) -> ConditionalUnet1d:
    """A small U-Net."""
    torch.manual_seed(0)
    return ConditionalUnet1d(2, 4, (16, 32), 3, 8, 16, local_width=local_width)


@pytest.mark.parametrize("horizon", [5, 16])
def test_the_local_condition_reaches_its_neighbourhood(horizon: int):
    """A change of one element changes the answer there; the shape stays, also where the horizon is padded."""
    network, actions, local = unet(3), torch.randn(1, horizon, 2), torch.zeros(1, horizon, 3)
    before = network(actions, torch.tensor([3]), torch.zeros(1, 4), local)
    local[:, 2] = 5.0
    moved = (network(actions, torch.tensor([3]), torch.zeros(1, 4), local) - before).abs().amax(dim=(0, 2))
    assert before.shape == (1, horizon, 2)
    assert moved[2] > 1e-3


def test_both_places_of_the_local_condition_count():
    """Silencing either of the two blocks changes the answer: the second one is not forgotten, as in the original."""
    network, actions, local = unet(3), torch.randn(1, 8, 2), torch.randn(1, 8, 3)
    inputs = (actions, torch.tensor([3]), torch.zeros(1, 4), local)
    before = network(*inputs)
    for block in network.local:
        kept = {name: value.clone() for name, value in block.state_dict().items()}
        with torch.no_grad():
            for value in block.parameters():
                value.zero_()
        assert not torch.allclose(network(*inputs), before)
        block.load_state_dict(kept)


def test_without_a_local_condition_nothing_is_added():
    """Weights of a U-Net without it are those of before."""
    assert not any(name.startswith("local") for name in unet(0).state_dict())


def policy(observations: str = "global") -> DiffusionPolicy:
    """Two observations of a point, an action of two numbers over six steps."""
    torch.manual_seed(0)
    return DiffusionPolicy(parse_config(PolicyConfig, {
        "name": "line", "task": {"name": "line", "dataset_path": "none"}, "training": {"max_steps": 1},
        "observations": {"low_dim": [{"key": "agent", "kind": "vector", "shape": [2]}]},
        "horizon": 6, "n_obs_steps": 2, "n_action_steps": 2,
        "unet": {"down_dims": [16], "groups": 4, "step_embedding": 16, "observations": observations},
        "diffusion": {"train_steps": 20}}, "test"),
        TaskConfig(name="line", rate_hz=10.0, action=(ActionPartConfig(name="xy", kind="xy"),)))


def test_a_local_observation_stands_at_its_own_element_of_the_horizon():
    """The first To elements have theirs, those of the future have none."""
    made, actions, steps = policy("local"), torch.randn(3, 6, 2), torch.tensor([1, 2, 3])
    observed, extra = torch.randn(3, 2, 2), torch.zeros(3, 0)
    local = torch.cat([observed, torch.zeros(3, 4, 2)], dim=1)
    assert torch.equal(made.denoise(actions, steps, observed, extra), made.unet(actions, steps, extra, local))


def test_every_noise_level_is_trained(monkeypatch: pytest.MonkeyPatch):
    """The least noisy and the noisiest too, from which sampling begins."""
    made, drawn = policy(), set[int]()
    add_noise = made.schedule.add_noise

    def spy(clean: torch.Tensor, noise: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        drawn.update(steps.tolist())
        return add_noise(clean, noise, steps)

    monkeypatch.setattr(made.schedule, "add_noise", spy)
    batch = Batch({}, {"agent": torch.zeros(1000, 2, 2)}, action=torch.zeros(1000, 6, 2))
    made.compute_loss(batch, torch.Generator().manual_seed(0))
    assert drawn == set(range(20))


def test_inputs_are_varied_in_training_only(monkeypatch: pytest.MonkeyPatch):
    """The loss of a validation is that of what was observed."""
    made, batch = policy(), Batch({}, {"agent": torch.zeros(2, 2, 2)}, action=torch.zeros(2, 6, 2))
    condition, varied = made.condition, list[bool]()

    def spy(seen: Batch, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        varied.append(generator is not None)
        return condition(seen, generator)

    monkeypatch.setattr(made, "condition", spy)
    made.train().compute_loss(batch, torch.Generator())
    made.eval().compute_loss(batch, torch.Generator())
    assert varied == [True, False]
