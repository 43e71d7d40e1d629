"""The two things that are trained: a diffusion policy and a stage classifier. Their normalisers are inside them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from ladle.errors import ConfigError
from ladle.task import TaskConfig
from training.augment import jitter_pose, shift_images, vary_light
from training.batch import Batch
from training.diffusion import NoiseSchedule
from training.features import ActionCodec, fixed_channels
from training.models.classifier import StageHead
from training.models.encoder import ImageEncoder
from training.models.unet1d import ConditionalUnet1d
from training.normalizer import LimitsNormalizer
from training.schema import ClassifierConfig, EncoderSection, ObservationSection, PolicyConfig


class ObservationEncoder(nn.Module):
    """Images and low-dimensional inputs of each observed step to one feature vector.

    Batch with (B, To, ...) streams -> (B, To, features).
    """

    def __init__(self, observations: ObservationSection, encoder: EncoderSection) -> None:
        super().__init__()
        self._observations, self._encoder = observations, encoder
        encoders = {spec.key: ImageEncoder(spec.height_px, spec.width_px, encoder.channels, encoder.strides,
                                           encoder.keypoints, encoder.average_pool)
                    for spec in observations.images}
        self.images = nn.ModuleDict(encoders).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.low_dim = nn.ModuleDict({spec.key: LimitsNormalizer(spec.width) for spec in observations.low_dim})
        self.features = (sum(image.features for image in encoders.values())
                         + sum(spec.width for spec in observations.low_dim))

    def fit_normalizers(self, low_dim: dict[str, NDArray[np.float32]]) -> None:
        """Limits of each stream from (N, D) rows; rotations stay as they are."""
        for spec in self._observations.low_dim:
            normalizer = self.low_dim[spec.key]
            assert isinstance(normalizer, LimitsNormalizer)
            normalizer.fit(low_dim[spec.key], fixed_channels(spec))

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """With a generator the inputs are varied as in training, without one they are taken as they are."""
        pieces = [self._image_features(key, batch.images[key], generator) for key in self.images]
        for spec in self._observations.low_dim:
            values = batch.low_dim[spec.key]
            if generator is not None and spec.kind == "pose":
                values = jitter_pose(values, spec.position_noise_m, spec.rotation_noise_rad, generator)
            normalizer = self.low_dim[spec.key]
            assert isinstance(normalizer, LimitsNormalizer)
            pieces.append(normalizer.normalize(values))
        return torch.cat(pieces, dim=-1)

    def _image_features(self, key: str, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            images = shift_images(images, self._encoder.shift_px, generator)
        values = images.permute(0, 1, 4, 2, 3).to(torch.float32) / 127.5 - 1.0  # (B, To, 3, H, W)
        if generator is not None:
            values = vary_light(values, self._encoder.brightness, generator)
        batch, steps = values.shape[:2]
        return self.images[key](values.flatten(0, 1)).view(batch, steps, -1)


class DiffusionPolicy(nn.Module):
    """Observations to an action sequence, by denoising."""

    def __init__(self, config: PolicyConfig, task: TaskConfig) -> None:
        super().__init__()
        self.n_stages = _n_stages(task) if config.observations.stage != "none" else 0
        self.horizon, self.sample_steps = config.horizon, config.diffusion.sample_steps
        self.action_width = ActionCodec(task).width
        self.encoder = ObservationEncoder(config.observations, config.encoder)
        self.action_normalizer = LimitsNormalizer(self.action_width)
        self.unet = ConditionalUnet1d(
            self.action_width, config.n_obs_steps * self.encoder.features + self.n_stages, config.unet.down_dims,
            config.unet.kernel_size, config.unet.groups, config.unet.step_embedding)
        self.schedule = NoiseSchedule(config.diffusion.train_steps)

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted noise. Observations are varied only in training mode."""
        assert batch.action is not None
        actions = self.action_normalizer.normalize(batch.action)
        device = generator.device
        noise = torch.randn(actions.shape, generator=generator, device=device)
        steps = torch.randint(0, self.schedule.n_steps, (len(actions),), generator=generator, device=device)
        condition = self.condition(batch, generator if self.training else None)
        predicted = self.unet(self.schedule.add_noise(actions, noise, steps), steps, condition)
        return F.mse_loss(predicted.float(), noise)

    def condition(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """(B, To * features + n_stages)."""
        features = self.encoder(batch, generator).flatten(1)
        if not self.n_stages:
            return features
        assert batch.stage is not None
        return torch.cat([features, F.one_hot(batch.stage, self.n_stages).to(features)], dim=-1)

    @torch.no_grad()
    def sample(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """DDIM from noise of the generator (on its device): (B, T, Da), not normalised."""
        condition = self.condition(batch)
        noise = torch.randn((batch.size, self.horizon, self.action_width), generator=generator,
                            device=generator.device).to(condition.device)
        clean = self.schedule.ddim(lambda sample, steps: self.unet(sample, steps, condition).float(), noise,
                                   self.sample_steps)
        return self.action_normalizer.unnormalize(clean)


class StageClassifier(nn.Module):
    """One observation to the logits of its stage."""

    class_weights: Tensor

    def __init__(self, config: ClassifierConfig, task: TaskConfig) -> None:
        super().__init__()
        n_stages = _n_stages(task)
        self.encoder = ObservationEncoder(config.observations, config.encoder)
        self.head = StageHead(self.encoder.features, config.classifier.hidden, n_stages)
        self.register_buffer("class_weights", torch.ones(n_stages))

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted cross entropy of the newest observation's stage."""
        assert batch.stage is not None
        features = self.encoder(batch, generator if self.training else None)[:, -1]
        return F.cross_entropy(self.head(features).float(), batch.stage, weight=self.class_weights)

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """(B, To, ...) observations -> (B, To, n_stages), each step by itself."""
        return self.head(self.encoder(batch, None)).float()


def _n_stages(task: TaskConfig) -> int:
    if task.stages is None:
        raise ConfigError(f"task {task.name} has no stages; set observations.stage=none, or add `stages:` to the task")
    return len(task.stages.names)
