"""Random changes of the observations in training. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_images(images: Tensor, shift_px: int, generator: torch.Generator) -> Tensor:
    """Move images by up to shift_px in x and y, edges repeated: (B, To, H, W, C) uint8 -> the same shape.

    All frames of a window move together, so motion between them stays.
    """
    if shift_px == 0:
        return images
    height, width = images.shape[2:4]
    rows = torch.arange(-shift_px, height + shift_px).clamp_(0, height - 1).to(images.device)
    columns = torch.arange(-shift_px, width + shift_px).clamp_(0, width - 1).to(images.device)
    padded = images.index_select(2, rows).index_select(3, columns)
    return random_crop(padded, (height, width), generator)


def random_crop(images: Tensor, size_px: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A part of (height, width) of each window's images: (B, To, H, W, C) -> (B, To, height, width, C).

    All frames of a window are cut alike. Nothing leaves the device.
    """
    height, width = size_px
    batch, _, rows, columns, channels = images.shape
    room = torch.tensor([rows - height + 1, columns - width + 1], device=generator.device)
    share = torch.rand((batch, 2), generator=generator, device=generator.device, dtype=torch.float64)
    top, left = (share * room).long().to(images.device).unbind(dim=1)
    # Every possible crop as a view of the bytes (B, To, tops, lefts, height, width C), of which each window takes one.
    crops = images.flatten(3).unfold(2, height, 1).unfold(3, width * channels, channels)
    chosen = crops[torch.arange(batch, device=images.device), :, top, left]
    return chosen.view(batch, -1, height, width, channels)


def centre_crop(images: Tensor, size_px: tuple[int, int]) -> Tensor:
    """The middle of images: (B, To, H, W, C) -> (B, To, height, width, C)."""
    top, left = (images.shape[2] - size_px[0]) // 2, (images.shape[3] - size_px[1]) // 2
    return images[:, :, top:top + size_px[0], left:left + size_px[1]]


def vary_light(images: Tensor, brightness: float, generator: torch.Generator) -> Tensor:
    """Gain, offset and colour balance of each window: (B, To, C, H, W) in [-1, 1] -> the same shape.

    A fourth channel is depth, which no light changes.
    """
    if brightness == 0.0:
        return images
    batch = images.shape[0]

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator, device=generator.device).to(images) - 1

    gain = 1 + brightness * (uniform(batch, 1, 1, 1, 1) + 0.5 * uniform(batch, 1, 3, 1, 1))
    varied = images[:, :, :3] * gain + brightness * uniform(batch, 1, 1, 1, 1)
    return varied if images.shape[2] == 3 else torch.cat([varied, images[:, :, 3:]], dim=2)


def jitter_pose(pose: Tensor, position_m: float, rotation_rad: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise on (B, To, 9) position and 6-D rotation; rotation_rad is the standard deviation per channel."""
    if position_m == 0.0 and rotation_rad == 0.0:
        return pose
    deviation = torch.tensor([position_m] * 3 + [rotation_rad] * 6, device=pose.device)
    return pose + deviation * torch.randn(pose.shape, generator=generator, device=generator.device)
