"""Random changes of the observations in training. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_images(images: Tensor, shift_px: int, generator: torch.Generator) -> Tensor:
    """Move images by up to shift_px in x and y, edges repeated: (B, To, H, W, 3) uint8 -> the same shape.

    All frames of a window move together, so motion between them stays.
    """
    if shift_px == 0:
        return images
    batch, _, height, width, _ = images.shape
    rows = torch.arange(-shift_px, height + shift_px).clamp_(0, height - 1).to(images.device)
    columns = torch.arange(-shift_px, width + shift_px).clamp_(0, width - 1).to(images.device)
    padded = images.index_select(2, rows).index_select(3, columns)
    offsets = torch.randint(0, 2 * shift_px + 1, (batch, 2), generator=generator, device=generator.device).tolist()
    return torch.stack([padded[i, :, y:y + height, x:x + width] for i, (y, x) in enumerate(offsets)])


def vary_light(images: Tensor, brightness: float, generator: torch.Generator) -> Tensor:
    """Gain, offset and colour balance of each window: (B, To, 3, H, W) in [-1, 1] -> the same shape."""
    if brightness == 0.0:
        return images
    batch = images.shape[0]

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator, device=generator.device).to(images) - 1

    gain = 1 + brightness * (uniform(batch, 1, 1, 1, 1) + 0.5 * uniform(batch, 1, 3, 1, 1))
    return images * gain + brightness * uniform(batch, 1, 1, 1, 1)


def jitter_pose(pose: Tensor, position_m: float, rotation_rad: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise on (B, To, 9) position and 6-D rotation; rotation_rad is the standard deviation per channel."""
    if position_m == 0.0 and rotation_rad == 0.0:
        return pose
    deviation = torch.tensor([position_m] * 3 + [rotation_rad] * 6, device=pose.device)
    return pose + deviation * torch.randn(pose.shape, generator=generator, device=generator.device)
