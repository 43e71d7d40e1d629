"""Networks, normaliser and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import ConfigError
from ladle.pose import normalized, rotation_angle_rad
from ladle.task import load_task
from training.augment import jitter_pose, shift_images, vary_light
from training.ema import Ema
from training.features import ActionCodec, low_dim_features
from training.model_schema import LowDimInput
from training.models.encoder import SpatialSoftmax
from training.models.unet1d import ConditionalUnet1d
from training.normalizer import LimitsNormalizer


@pytest.mark.parametrize("horizon", [1, 5, 12, 16, 18])
def test_the_unet_takes_any_horizon(horizon: int):
    """A length that the levels cannot halve is padded inside and comes back."""
    unet = ConditionalUnet1d(3, 7, (16, 32, 32), 5, 8, 16)
    out = unet(torch.randn(2, horizon, 3), torch.tensor([0, 50]), torch.randn(2, 7))
    assert out.shape == (2, horizon, 3)


def test_the_unet_depends_on_the_condition_and_on_the_step():
    """FiLM reaches the output."""
    torch.manual_seed(0)
    unet, actions = ConditionalUnet1d(2, 4, (16, 32), 3, 8, 16), torch.randn(1, 8, 2)
    base = unet(actions, torch.tensor([3]), torch.zeros(1, 4))
    assert not torch.allclose(base, unet(actions, torch.tensor([3]), torch.ones(1, 4)))
    assert not torch.allclose(base, unet(actions, torch.tensor([90]), torch.zeros(1, 4)))


def test_spatial_softmax_returns_where_the_peak_is():
    """A single bright pixel at the right edge, half-way down, is (1, 0)."""
    pool = SpatialSoftmax(1, 1, height=5, width=9)
    torch.nn.init.ones_(pool.select.weight)
    image = torch.zeros(1, 1, 5, 9)
    image[0, 0, 2, 8] = 100.0
    torch.testing.assert_close(pool(image), torch.tensor([[1.0, 0.0]]), atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_normalising_spans_minus_one_to_one_and_returns(seed: int):
    """Limits map to -1 and 1, still channels to 0, fixed ones stay, and the way back is exact."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, rng.uniform(0.01, 100), (50, 4)).astype(np.float32)
    values[:, 1] = 0.3
    normalizer = LimitsNormalizer(4)
    normalizer.fit(values, np.array([False, False, False, True]))
    scaled = normalizer.normalize(torch.from_numpy(values))
    torch.testing.assert_close(scaled[:, [0, 2]].amax(0), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(scaled[:, [0, 2]].amin(0), -torch.ones(2), atol=1e-3, rtol=0)
    assert scaled[:, 1].abs().max() < 1e-6
    assert torch.equal(scaled[:, 3], torch.from_numpy(values[:, 3]))
    torch.testing.assert_close(normalizer.unnormalize(scaled), torch.from_numpy(values), atol=1e-3, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_a_pose_survives_the_network_form(seed: int):
    """Encoding and decoding returns the position and the rotation; the codec's width is nine."""
    rng = np.random.default_rng(seed)
    pose = np.concatenate([rng.normal(0, 1, (6, 3)), normalized(rng.normal(0, 1, (6, 4)))], axis=1)
    codec = ActionCodec(load_task("scoop"))
    back = codec.decode(codec.encode(pose))["pose"]
    np.testing.assert_allclose(back[:, :3], pose[:, :3], atol=1e-6)
    assert rotation_angle_rad(back[:, 3:], pose[:, 3:]).max() < 1e-5
    assert codec.width == 9
    assert codec.fixed.tolist() == [False] * 3 + [True] * 6


def test_actions_of_another_width_are_refused():
    """Push-T's two columns are not a pose."""
    with pytest.raises(ConfigError, match="7 columns"):
        ActionCodec(load_task("scoop")).encode(np.zeros((5, 2), np.float32))


def test_chosen_columns_of_a_vector_are_taken():
    """Push-T's state has the agent in its first two entries."""
    spec = LowDimInput(key="state", kind="vector", shape=(5,), columns=(0, 1))
    assert low_dim_features(np.arange(10.0).reshape(2, 5), spec).tolist() == [[0, 1], [5, 6]]


def test_frames_of_a_window_are_shifted_together():
    """Both frames move alike, windows differ, and no pixel is invented."""
    images = torch.arange(8 * 10, dtype=torch.uint8).view(1, 1, 8, 10, 1).expand(6, 2, 8, 10, 3).contiguous()
    moved = shift_images(images, 3, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert len({tuple(window.flatten().tolist()) for window in moved}) > 1
    assert set(moved.unique().tolist()) <= set(images.unique().tolist())
    assert torch.equal(shift_images(images, 0, torch.Generator()), images)


def test_light_changes_within_its_share():
    """A grey image stays within gain and offset of the configured brightness."""
    images = torch.full((32, 1, 3, 4, 4), 0.5)
    varied = vary_light(images, 0.2, torch.Generator().manual_seed(0))
    assert (varied - images).abs().max() <= 0.5 * 0.3 + 0.2 + 1e-6
    assert varied.std() > 0.05


def test_the_average_follows_as_its_decay_says():
    """One step moves it by one minus the decay."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    ema = Ema(module, power=0.75, max_decay=0.9)
    torch.nn.init.ones_(module.weight)
    ema.update(module, step=3)
    assert ema.module.weight.item() == pytest.approx(1 - ema.decay(3))
    assert ema.decay(3) == pytest.approx(1 - 4**-0.75)
    assert ema.decay(10**6) == 0.9


def test_noise_on_a_pose_has_its_deviation_in_metres_and_in_the_rotations_channels():
    """The first three channels are the position, the other six the rotation; on average nothing moves."""
    noise = jitter_pose(torch.zeros(4000, 2, 9), 0.002, 0.05, torch.Generator().manual_seed(0)).flatten(0, 1)
    torch.testing.assert_close(noise.std(dim=0), torch.tensor([0.002] * 3 + [0.05] * 6), rtol=0.05, atol=0)
    assert bool((noise.mean(dim=0).abs() < 0.05 * noise.std(dim=0)).all())


def test_a_channel_that_hardly_moves_is_not_blown_up():
    """A few hundredths of a millimetre over all episodes are noise of the sensor: centred, at their own size."""
    normalizer = LimitsNormalizer(1)
    normalizer.fit(np.array([[0.50000], [0.50005]]), np.zeros(1, bool))
    assert normalizer.scale.item() == 1.0
    assert normalizer.normalize(torch.tensor([0.6])).item() == pytest.approx(0.099975, abs=1e-6)
