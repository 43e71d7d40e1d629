"""Image encoders: convolutions, then the expected position of each key point (spatial softmax), the mean, or both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.model_schema import CHANNELS_PER_GROUP, EncoderSection
from training.models.resnet import ResNet

# Of the photographs that pretrained ResNets have seen, of channels in 0..1 (torchvision's documentation).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


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
    """(B, channels, H, W) in [-1, 1] -> (B, features)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, height_px: int, width_px: int, config: EncoderSection) -> None:
        super().__init__()
        if config.backbone == "small_cnn":
            self.convolutions, outputs = _small_cnn(channels, config)
        else:
            self.convolutions = ResNet(config.backbone, channels)
            outputs = self.convolutions.out_channels
        with torch.no_grad():
            height, width = self.convolutions(torch.zeros(1, channels, height_px, width_px)).shape[2:]
        self.pool = SpatialSoftmax(outputs, config.keypoints, height, width) if config.keypoints else None
        self._average_pool = config.average_pool
        self.features = 2 * config.keypoints + (outputs if config.average_pool else 0)
        self._as_photographs = config.pretrained is not None
        if self._as_photographs:
            depth = channels - 3
            mean, deviation = (*IMAGENET_MEAN, *[0.5] * depth), (*IMAGENET_DEVIATION, *[0.5] * depth)
            self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
            self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, features)."""
        if self._as_photographs:
            images = ((images + 1) / 2 - self.mean) / self.deviation
        maps = self.convolutions(images)
        pieces = [] if self.pool is None else [self.pool(maps)]
        if self._average_pool:
            pieces.append(maps.float().mean(dim=(2, 3)))
        return torch.cat(pieces, dim=-1)


def _small_cnn(channels: int, config: EncoderSection) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    previous = channels
    for level, (count, stride) in enumerate(zip(config.channels, config.strides, strict=True)):
        kernel = 5 if level == 0 else 3
        layers += [
            nn.Conv2d(previous, count, kernel, stride=stride, padding=kernel // 2),
            nn.GroupNorm(max(1, count // CHANNELS_PER_GROUP), count),
            nn.ReLU(inplace=True),
        ]
        previous = count
    return nn.Sequential(*layers), previous
