"""Actions relative to the newest observation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ladle.errors import ConfigError
from ladle.pose import compose, inverse, normalized, rotation_angle_rad
from ladle.task import ActionPartConfig, load_task
from training.features import ActionCodec, low_dim_features
from training.model_schema import ActionSection, LowDimInput, ObservationSection, RelativePart
from training.relative import RelativeActions

EEF = LowDimInput(key="eef", kind="pose", shape=(7,))
AGENT = LowDimInput(key="agent", kind="vector", shape=(2,))
TASK = replace(load_task("scoop"), action=(
    ActionPartConfig(name="xy", kind="xy"), ActionPartConfig(name="pose", kind="pose"),
    ActionPartConfig(name="gripper", kind="gripper")))
OBSERVED = ObservationSection(low_dim=(EEF, AGENT))
RELATIVE = RelativeActions(ActionSection(relative=(RelativePart(part="pose", to="eef"),
                                                   RelativePart(part="xy", to="agent"))), OBSERVED, TASK)


def poses(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Random poses (*shape, 7)."""
    return np.concatenate([rng.normal(0, 1, (*shape, 3)), normalized(rng.normal(0, 1, (*shape, 4)))], axis=-1)


def encoded(action: NDArray[np.float64]) -> Tensor:
    """(T, 10) buffer columns -> (1, T, 12) channels."""
    return torch.from_numpy(ActionCodec(TASK).encode(action))[None]


def seen(eef: NDArray[np.float64], agent: NDArray[np.float64]) -> dict[str, Tensor]:
    """Two observed steps; the first one is far away and must not matter."""
    pose, xy = np.stack([-eef, eef]), np.stack([agent + 100, agent])
    return {"eef": torch.from_numpy(low_dim_features(pose, EEF))[None],
            "agent": torch.from_numpy(low_dim_features(xy, AGENT))[None]}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_there_and_back_is_the_same_action(seed: int):
    """Positions, rotations, differences and the absolute gripper all return."""
    rng = np.random.default_rng(seed)
    action = np.concatenate([rng.normal(0, 1, (5, 2)), poses(rng, 5), rng.uniform(0, 1, (5, 1))], axis=1)
    low_dim, channels = seen(poses(rng), rng.normal(0, 1, 2)), encoded(action)
    changed = RELATIVE.relative(channels, low_dim)
    assert not torch.allclose(changed[..., :11], channels[..., :11])
    assert torch.equal(changed[..., 11:], channels[..., 11:]), "the gripper stays absolute"
    torch.testing.assert_close(RELATIVE.absolute(changed, low_dim), channels, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_a_relative_pose_is_the_pose_in_the_observed_frame(seed: int):
    """It equals inverse(eef) * target of the pose functions, and moving the whole scene does not change it."""
    rng = np.random.default_rng(seed)
    target, eef, moved = poses(rng, 5), poses(rng), poses(rng)
    rest = np.zeros((5, 2)), np.zeros((5, 1))

    def relative(target: NDArray[np.float64], eef: NDArray[np.float64]) -> Tensor:
        return RELATIVE.relative(encoded(np.concatenate([rest[0], target, rest[1]], axis=1)), seen(eef, np.zeros(2)))

    found = ActionCodec(TASK).decode(relative(target, eef)[0].numpy())["pose"]
    expected = compose(inverse(eef), target)
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=1e-5)
    assert rotation_angle_rad(found[:, 3:], expected[:, 3:]).max() < 1e-3
    torch.testing.assert_close(relative(compose(moved, target), compose(moved, eef)), relative(target, eef),
                               atol=1e-4, rtol=0)


@pytest.mark.parametrize(("part", "to", "message"), [
    ("pos", "eef", "names 'pos', but task scoop has the action parts xy, pose, gripper"),
    ("pose", "agent", r"'pose' \(pose, 9 wide\) cannot be relative to 'agent' \(vector, 2 wide\)"),
    ("gripper", "agent", r"'gripper' \(gripper, 1 wide\) cannot be relative to 'agent'"),
    ("xy", "eef", "cannot be relative to 'eef'"),
])
def test_parts_that_do_not_fit_are_refused(part: str, to: str, message: str):
    """The error names both sides."""
    with pytest.raises(ConfigError, match=message):
        RelativeActions(ActionSection(relative=(RelativePart(part=part, to=to),)), OBSERVED, TASK)
