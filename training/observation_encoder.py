"""Images and low-dimensional inputs of each observed step to one feature vector."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.augment import centre_crop, jitter_pose, random_crop, shift_images, vary_light
from training.batch import Batch
from training.features import fixed_channels
from training.model_schema import EncoderSection, ObservationSection
from training.models.encoder import ImageEncoder
from training.models.resnet import ResNet
from training.normalizer import LimitsNormalizer
from training.pretrained import load_pretrained

SHARED = "shared"


class ObservationEncoder(nn.Module):
    """Batch with (B, To, ...) streams -> (B, To, features)."""

    def __init__(self, observations: ObservationSection, encoder: EncoderSection) -> None:
        super().__init__()
        self._observations, self._encoder = observations, encoder
        separate = {spec.key: spec for spec in observations.images}
        specs = {SHARED: observations.images[0]} if encoder.shared and observations.images else separate
        encoders = {name: ImageEncoder(spec.channels, *(encoder.crop_px or (spec.height_px, spec.width_px)), encoder)
                    for name, spec in specs.items()}
        self.images = nn.ModuleDict(encoders).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.low_dim = nn.ModuleDict({spec.key: LimitsNormalizer(spec.width) for spec in observations.low_dim})
        per_image = next((image.features for image in encoders.values()), 0)
        self.features = len(observations.images) * per_image + sum(spec.width for spec in observations.low_dim)

    def fit_normalizers(self, low_dim: dict[str, NDArray[np.float32]]) -> None:
        """Limits of each stream from (N, D) rows; rotations stay as they are."""
        for spec in self._observations.low_dim:
            normalizer = self.low_dim[spec.key]
            assert isinstance(normalizer, LimitsNormalizer)
            normalizer.fit(low_dim[spec.key], fixed_channels(spec))

    def load_pretrained(self) -> None:
        """Begin with the weights that the configuration names, if it does. Raises ConfigError where they do not fit."""
        if self._encoder.pretrained is None:
            return
        for module in self.images.modules():
            if isinstance(module, ResNet):
                load_pretrained(module, self._encoder.pretrained)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """With a generator the inputs are varied as in training, without one they are taken as they are."""
        pieces = self._image_features([self._prepared(batch.images[spec.key], generator)
                                       for spec in self._observations.images])
        for spec in self._observations.low_dim:
            values = batch.low_dim[spec.key]
            if generator is not None and spec.kind == "pose":
                values = jitter_pose(values, spec.position_noise_m, spec.rotation_noise_rad, generator)
            normalizer = self.low_dim[spec.key]
            assert isinstance(normalizer, LimitsNormalizer)
            pieces.append(normalizer.normalize(values))
        return torch.cat(pieces, dim=-1)

    def _prepared(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(B, To, H, W, C) uint8 -> (B, To, C, h, w) in [-1, 1]."""
        if generator is not None:
            images = shift_images(images, self._encoder.shift_px, generator)
        if (size := self._encoder.crop_px) is not None:
            images = centre_crop(images, size) if generator is None else random_crop(images, size, generator)
        values = images.permute(0, 1, 4, 2, 3).to(torch.float32) / 127.5 - 1.0
        return values if generator is None else vary_light(values, self._encoder.brightness, generator)

    def _image_features(self, prepared: list[Tensor]) -> list[Tensor]:
        """One (B, To, features) per image input."""
        if not prepared:
            return []
        batch, steps = prepared[0].shape[:2]
        flat = [values.flatten(0, 1) for values in prepared]
        if self._encoder.shared:
            features = list(self.images[SHARED](torch.cat(flat)).chunk(len(flat)))
        else:
            features = [self.images[spec.key](values)
                        for spec, values in zip(self._observations.images, flat, strict=True)]
        return [values.view(batch, steps, -1) for values in features]
