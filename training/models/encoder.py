"""Image encoder: a small CNN with GroupNorm, then the expected position of each key point (spatial softmax)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS_PER_GROUP = 16


class SpatialSoftmax(nn.Module):
    """Levine et al. 2016: each channel becomes a distribution over pixels, its mean is returned in [-1, 1].

    Input (B, C, H, W), output (B, 2 K) with K key points.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, channels: int, keypoints: int, height: int, width: int) -> None:
        super().__init__()
        self.select = nn.Conv2d(channels, keypoints, 1)
        self.register_buffer("rows", torch.linspace(-1.0, 1.0, height), persistent=False)
        self.register_buffer("columns", torch.linspace(-1.0, 1.0, width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2 K)."""
        scores = self.select(features).float()  # (B, K, H, W)
        weights = scores.flatten(2).softmax(dim=-1).view(scores.shape)
        x = (weights.sum(dim=2) * self.columns).sum(dim=-1)
        y = (weights.sum(dim=3) * self.rows).sum(dim=-1)
        return torch.cat([x, y], dim=-1)


class ImageEncoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, features)."""

    def __init__(self, height_px: int, width_px: int, channels: Sequence[int], strides: Sequence[int],
                 keypoints: int, average_pool: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous, height, width = 3, height_px, width_px
        for count, stride in zip(channels, strides, strict=True):
            kernel = 5 if previous == 3 else 3
            layers += [
                nn.Conv2d(previous, count, kernel, stride=stride, padding=kernel // 2),
                nn.GroupNorm(max(1, count // CHANNELS_PER_GROUP), count),
                nn.ReLU(inplace=True),
            ]
            previous, height, width = count, -(-height // stride), -(-width // stride)
        self.convolutions = nn.Sequential(*layers)
        self.pool = SpatialSoftmax(previous, keypoints, height, width)
        self._average_pool = average_pool
        self.features = 2 * keypoints + (previous if average_pool else 0)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, features)."""
        maps = self.convolutions(images)
        positions = self.pool(maps)
        return torch.cat([positions, maps.float().mean(dim=(2, 3))], dim=-1) if self._average_pool else positions
