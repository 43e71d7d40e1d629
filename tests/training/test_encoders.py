"""Image encoders: sizes as published, pretrained weights, crops, several cameras, depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from ladle.errors import ConfigError, ObservationError
from training.augment import centre_crop, random_crop, shift_images, vary_light
from training.batch import Batch
from training.features import network_frames
from training.model_schema import CropSection, EncoderSection, ImageInput, LowDimInput, ObservationSection
from training.models.encoder import ImageEncoder, SpatialSoftmax
from training.models.resnet import ResNet
from training.observation_encoder import ObservationEncoder
from training.pretrained import load_pretrained

TINY = EncoderSection(channels=(16,), strides=(4,), keypoints=4)


@pytest.mark.parametrize(("name", "parameters", "channels"), [
    # Published sizes less their classification heads: 11.69 M - 0.513 M, 21.80 M - 0.513 M, 25.56 M - 2.049 M.
    ("resnet18", 11_176_512, 512), ("resnet34", 21_284_672, 512), ("resnet50", 23_508_032, 2048),
])
def test_a_resnet_has_its_published_size(name: str, parameters: int, channels: int):
    """GroupNorm has as many parameters as BatchNorm; the stride is 32."""
    network = ResNet(name)
    assert sum(value.numel() for value in network.parameters()) == parameters
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 96, 64)).shape == (1, channels, 3, 2)


def test_parameters_are_named_as_in_torchvision():
    """A few names that every copy of the published weights has."""
    assert {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn2.bias", "layer2.0.downsample.0.weight",
            "layer4.1.conv2.weight"} <= set(ResNet("resnet18").state_dict())
    assert "layer4.2.conv3.weight" in ResNet("resnet50").state_dict()


def torchvision_weights(network: ResNet, *, batch_norm: bool) -> dict[str, Tensor]:
    """A file as torchvision's: every weight different, a head, and batch statistics."""
    state = {name: torch.full_like(value, 0.5) for name, value in network.state_dict().items()}
    state["fc.weight"] = torch.zeros(1000, 512)
    if batch_norm:
        state["bn1.running_mean"] = torch.zeros(64)
    return state


@pytest.mark.parametrize("batch_norm", [True, False])
def test_pretrained_weights_are_taken_over(batch_norm: bool, tmp_path: Path):
    """All of a GroupNorm's file; of a BatchNorm's the convolutions. Depth begins as the mean of the colours."""
    network = ResNet("resnet18", channels=4)
    save_file(torchvision_weights(ResNet("resnet18"), batch_norm=batch_norm), tmp_path / "w.safetensors")
    load_pretrained(network, tmp_path / "w.safetensors")
    state = network.state_dict()
    assert bool((state["layer4.1.conv2.weight"] == 0.5).all())
    assert bool((state["conv1.weight"] == 0.5).all())
    assert state["conv1.weight"].shape[1] == 4
    assert bool((state["bn1.weight"] == (1.0 if batch_norm else 0.5)).all())


def test_every_camera_begins_with_the_pretrained_weights(tmp_path: Path):
    """Separate encoders too; without a file nothing is loaded."""
    path = tmp_path / "w=1.safetensors"
    save_file(torchvision_weights(ResNet("resnet18"), batch_norm=True), path)
    images = tuple(ImageInput(key=key, width_px=32, height_px=32) for key in ("left", "right"))
    for pretrained in (None, str(path)):
        config = EncoderSection(backbone="resnet18", keypoints=0, average_pool=True, pretrained=pretrained)
        encoder = ObservationEncoder(ObservationSection(images=images), config)
        encoder.load_pretrained()
        state = encoder.state_dict()
        assert all(bool((state[f"images.{key}.convolutions.layer3.0.conv1.weight"] == 0.5).all()) is bool(pretrained)
                   for key in ("left", "right"))


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path):
    """A missing file, another network, another format: one line each."""
    network = ResNet("resnet18")
    with pytest.raises(ConfigError, match="no file at"):
        load_pretrained(network, tmp_path / "none.safetensors")
    save_file(torchvision_weights(ResNet("resnet50"), batch_norm=True), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), expected \(64, 64, 3, 3\)"):
        load_pretrained(network, tmp_path / "other.safetensors")
    (tmp_path / "pickle.pth").write_bytes(b"PK\x03\x04 not safetensors")
    with pytest.raises(ConfigError, match="no safetensors file"):
        load_pretrained(network, tmp_path / "pickle.pth")


@settings(deadline=None, max_examples=30)
@given(st.floats(4.0, 27.0), st.floats(4.0, 19.0))
def test_spatial_softmax_finds_a_blob(x_px: float, y_px: float):
    """The expected position is where a round blob lies, to a hundredth of a pixel."""
    pool = SpatialSoftmax(1, 1, height=24, width=32)
    torch.nn.init.ones_(pool.select.weight)
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    blob = -((columns - x_px) ** 2 + (rows - y_px) ** 2) / 2  # logarithm of a Gaussian of one pixel
    found = pool(blob[None, None])[0].detach()
    assert float((found[0] + 1) / 2 * 31) == pytest.approx(x_px, abs=0.01)
    assert float((found[1] + 1) / 2 * 23) == pytest.approx(y_px, abs=0.01)


@pytest.mark.parametrize(("keypoints", "average", "features"), [(4, False, 8), (0, True, 16), (4, True, 24)])
def test_the_pooling_is_chosen(keypoints: int, average: bool, features: int):
    """Spatial softmax, mean, or both."""
    config = EncoderSection(channels=(16,), strides=(4,), keypoints=keypoints, average_pool=average)
    encoder = ImageEncoder(3, 12, 12, config)
    assert encoder(torch.zeros(2, 3, 12, 12)).shape == (2, features)
    assert encoder.features == features


def test_pretrained_encoders_see_images_as_photographs():
    """White becomes (1 - mean) / deviation of ImageNet before the first convolution."""
    config = EncoderSection(backbone="resnet18", keypoints=0, average_pool=True, pretrained="w.safetensors")
    encoder, seen = ImageEncoder(3, 32, 32, config), list[Tensor]()
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 11))
def test_a_crop_is_a_part_of_the_image(seed: int, height: int, width: int):
    """Each window's crop lies somewhere in its image, the same place in all its frames."""
    images = torch.arange(3 * 2 * 9 * 11).view(3, 2, 9, 11, 1)
    cut = random_crop(images, (height, width), torch.Generator().manual_seed(seed))
    assert cut.shape == (3, 2, height, width, 1)
    first = cut[:, :, 0, 0, 0]
    assert torch.equal(first[:, 1] - first[:, 0], torch.full((3,), 99)), "all frames alike"
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    assert torch.equal(cut[..., 0] - first[..., None, None], (rows * 11 + columns).expand(3, 2, -1, -1))


def test_crops_reach_every_place_and_the_centre_is_the_centre():
    """All offsets occur; after training it is always the middle."""
    images = torch.arange(6 * 6).view(1, 1, 6, 6, 1).expand(500, 1, 6, 6, 1)
    corners = random_crop(images, (4, 4), torch.Generator().manual_seed(0))[:, 0, 0, 0, 0]
    assert set(corners.tolist()) == {6 * row + column for row in range(3) for column in range(3)}
    assert centre_crop(images, (4, 4))[0, 0, 0, 0, 0] == 7
    assert centre_crop(images, (2, 4)).shape == (500, 1, 2, 4, 1)


def test_an_encoder_crops_at_random_only_in_training():
    """Without a generator the answer repeats and comes from the centre."""
    observations = ObservationSection(images=(ImageInput(key="camera_1", width_px=16, height_px=16),))
    encoder = ObservationEncoder(observations, EncoderSection(channels=(16,), strides=(4,), keypoints=4, shift_px=0,
                                                              brightness=0.0, crop_px=(12, 12)))
    images = torch.randint(0, 255, (2, 1, 16, 16, 3), dtype=torch.uint8)
    batch, border_changed = Batch({"camera_1": images}, {}), images.clone()
    border_changed[:, :, 0] = 0
    still = encoder(batch, None)
    assert torch.equal(still, encoder(Batch({"camera_1": border_changed}, {}), None))
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(encoder(batch, generator), encoder(batch, generator))


def cameras(shared: bool, n: int = 3) -> ObservationEncoder:
    """Several cameras of one size."""
    images = tuple(ImageInput(key=f"camera_{i}", width_px=12, height_px=8) for i in range(n))
    config = EncoderSection(channels=(16,), strides=(4,), keypoints=4, shared=shared)
    torch.manual_seed(0)
    return ObservationEncoder(ObservationSection(images=images), config)


def test_cameras_share_an_encoder_or_have_their_own():
    """Shared: one set of weights, and exchanging two cameras exchanges their features. Separate: three sets."""
    batch = Batch({f"camera_{i}": torch.randint(0, 255, (2, 2, 8, 12, 3), dtype=torch.uint8) for i in range(3)}, {})
    swapped = Batch({**batch.images, "camera_0": batch.images["camera_2"], "camera_2": batch.images["camera_0"]}, {})
    shared, separate = cameras(shared=True), cameras(shared=False)
    assert len(list(separate.parameters())) == 3 * len(list(shared.parameters()))
    for encoder, alike in ((shared, True), (separate, False)):
        before, after = encoder(batch, None), encoder(swapped, None)
        assert before.shape == (2, 2, 3 * 8)
        assert torch.allclose(before[..., :8], after[..., 16:], atol=1e-5) is alike


def test_a_shared_encoder_and_a_crop_must_fit_the_images():
    """Different sizes, or a crop larger than the image, are refused by name."""
    images = (ImageInput(key="a", width_px=12, height_px=8), ImageInput(key="b", width_px=12, height_px=10))
    with pytest.raises(ValueError, match=r"shared needs cameras of one size.*\(3, 8, 12\), \(3, 10, 12\)"):
        EncoderSection(shared=True).check(images)
    with pytest.raises(ValueError, match=r"crop_px \(9, 9\) does not fit into a, which is 8 high and 12 wide"):
        EncoderSection(crop_px=(9, 9)).check(images)
    with pytest.raises(ValueError, match="average_pool must be true"):
        EncoderSection(keypoints=0)
    with pytest.raises(ValueError, match="for the ResNets only"):
        EncoderSection(pretrained="x.safetensors")


def test_depth_becomes_the_fourth_channel():
    """Cropped and resized with the colour, to a pixel that is there, and never changed by the light."""
    spec = ImageInput(key="camera_1", width_px=4, height_px=2, depth_key="camera_0",
                      crop=CropSection(left_px=4, top_px=2, width_px=8, height_px=4))
    view = np.zeros((3, 6, 12), np.uint8)
    view[:, :4, 4:8], view[:, 4:, 8:] = 200, 90
    color = np.full((3, 6, 12, 3), 7, np.uint8)
    frames = network_frames({"camera_1": color, "camera_0": np.repeat(view[..., None], 3, axis=-1)}, spec)
    assert frames.shape == (3, 2, 4, 4)
    assert frames[0, ..., 3].tolist() == [[200, 200, 0, 0], [0, 0, 90, 90]]
    assert (frames[..., :3] == 7).all()
    varied = vary_light(torch.rand(2, 1, 4, 2, 2), 0.5, torch.Generator().manual_seed(0))
    assert varied.shape == (2, 1, 4, 2, 2)
    same = torch.rand(2, 1, 4, 2, 2)
    assert torch.equal(vary_light(same, 0.5, torch.Generator())[:, :, 3], same[:, :, 3])
    with pytest.raises(ObservationError, match=r"camera_0: expected an 8-bit depth view.*got uint16"):
        network_frames({"camera_1": color, "camera_0": view.astype(np.uint16)}, spec)


def test_an_rgbd_input_is_encoded_by_configuration_alone():
    """Four channels in, the depth reaches the features."""
    section = ObservationSection(images=(ImageInput(key="camera_1", width_px=12, height_px=8, depth_key="camera_0"),))
    assert section.keys == ("camera_0", "camera_1")
    encoder = ObservationEncoder(section, TINY)
    images = torch.randint(0, 255, (2, 2, 8, 12, 4), dtype=torch.uint8)
    without = images.clone()
    without[..., 3] = 0
    answers = [encoder(Batch({"camera_1": value}, {}), None) for value in (images, without)]
    assert not torch.allclose(*answers)


@pytest.mark.parametrize("channels", [3, 4])
def test_shifting_keeps_the_channels(channels: int):
    """Depth moves with the colour."""
    images = torch.arange(64).view(1, 1, 8, 8, 1).expand(2, 1, 8, 8, channels)
    moved = shift_images(images, 2, torch.Generator().manual_seed(3))
    assert moved.shape == images.shape
    assert bool((moved == moved[..., :1]).all())


def test_poses_are_varied_in_training_only():
    """What the robot measures is taken as it is."""
    pose = LowDimInput(key="eef", kind="pose", shape=(7,), position_noise_m=0.01, rotation_noise_rad=0.01)
    encoder = ObservationEncoder(ObservationSection(low_dim=(pose,)), TINY)
    batch = Batch({}, {"eef": torch.ones(2, 1, 9)})
    assert torch.equal(encoder(batch, None), batch.low_dim["eef"])
    assert not torch.equal(encoder(batch, torch.Generator().manual_seed(0)), batch.low_dim["eef"])
