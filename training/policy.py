"""The two things that are trained: a diffusion policy and a stage classifier. Their normalisers are inside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from ladle.errors import ConfigError
from ladle.task import TaskConfig
from training.batch import Batch
from training.diffusion import NoiseSchedule
from training.features import ActionCodec
from training.guidance import MassCondition, guided
from training.inpainting import Prefix
from training.models.classifier import StageHead
from training.models.transformer import TransformerDenoiser
from training.models.unet1d import ConditionalUnet1d
from training.normalizer import LimitsNormalizer
from training.observation_encoder import ObservationEncoder
from training.relative import RelativeActions
from training.schema import ClassifierConfig, PolicyConfig


class DiffusionPolicy(nn.Module):
    """Observations to an action sequence, by denoising.

    Attributes:
        horizon, action_width: T and Da of the sequence inside the network.
        relative: which action parts are learnt relative to an observation.
        mass: the condition on the final mass, None where the policy is not told it.
    """

    def __init__(self, config: PolicyConfig, task: TaskConfig) -> None:
        super().__init__()
        self._config = config
        self.n_stages = _n_stages(task) if config.observations.stage != "none" else 0
        self.horizon = config.horizon
        codec = ActionCodec(task)
        self.action_width, self._fixed = codec.width, codec.fixed
        self.relative = RelativeActions(config.action, config.observations, task)
        self.encoder = ObservationEncoder(config.observations, config.encoder)
        self.action_normalizer = LimitsNormalizer(self.action_width)
        self.mass = MassCondition(config.mass) if config.mass.condition else None
        extra = self.n_stages + (self.mass.width if self.mass else 0)
        if config.denoiser == "transformer":
            self.transformer = TransformerDenoiser(self.action_width, self.encoder.features + extra, config.horizon,
                                                   config.n_obs_steps, config.transformer)
        else:
            self.unet = self._make_unet(extra)
        diffusion = config.diffusion
        self.schedule = NoiseSchedule(diffusion.train_steps, diffusion.schedule, diffusion.prediction)

    def fit_normalizers(self, low_dim: dict[str, NDArray[np.float32]], action: NDArray[np.float32],
                        mass_g: NDArray[np.float32] | None = None, windows: Iterable[Batch] = ()) -> None:
        """Limits from rows of the training episodes.

        Args:
            low_dim, action, mass_g: (N, D), (N, Da) and (N,).
            windows: all training windows, without images; needed only where an action part is relative.
        """
        self.encoder.fit_normalizers(low_dim)
        if self.mass is not None:
            if mass_g is None:
                raise ConfigError("mass.condition=true needs `mass` in the replay buffer; add the masses (data.csv) "
                                  "and convert the episodes again, or set mass.condition=false")
            self.mass.normalizer.fit(mass_g[:, None], np.zeros(1, bool))
        if not self.relative:
            self.action_normalizer.fit(action, self._fixed)
            return
        lower, upper = np.full(self.action_width, np.inf), np.full(self.action_width, -np.inf)
        for batch in windows:
            assert batch.action is not None
            actions = self.relative.relative(batch.action, batch.low_dim).flatten(0, 1).cpu().numpy()
            lower, upper = np.minimum(lower, actions.min(axis=0)), np.maximum(upper, actions.max(axis=0))
        self.action_normalizer.fit_limits(lower, upper, self._fixed)

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean squared error of the prediction. Inputs are varied only in training mode."""
        assert batch.action is not None
        actions = self.normalized(batch.action, batch)
        device = generator.device
        noise = torch.randn(actions.shape, generator=generator, device=device)
        steps = torch.randint(0, self.schedule.n_steps, (len(actions),), generator=generator, device=device)
        observed, extra = self.condition(batch, generator if self.training else None)
        with self._seeded_dropout(generator):
            predicted = self.denoise(self.schedule.add_noise(actions, noise, steps), steps, observed, extra)
        return F.mse_loss(predicted.float(), self.schedule.target(actions, noise))

    def normalized(self, actions: Tensor, batch: Batch) -> Tensor:
        """Actions (B, T, Da) in the data's units -> as the network sees them, given what was observed."""
        return self.action_normalizer.normalize(self.relative.relative(actions, batch.low_dim))

    def condition(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Features of each observed step (B, To, F), and what holds for the whole window (B, E): stage and mass."""
        observed, extra = self.encoder(batch, generator), list[Tensor]()
        if self.n_stages:
            assert batch.stage is not None
            extra.append(F.one_hot(batch.stage, self.n_stages).to(observed))
        if self.mass is not None:
            extra.append(self.mass.nothing(batch.size) if batch.mass_g is None
                         else self.mass(batch.mass_g, generator))
        return observed, torch.cat(extra, dim=-1) if extra else observed.new_zeros((len(observed), 0))

    def denoise(self, actions: Tensor, steps: Tensor, observed: Tensor, extra: Tensor) -> Tensor:
        """(B, T, Da), (B,), (B, To, F), (B, E) -> prediction (B, T, Da)."""
        if self._config.denoiser == "transformer":
            repeated = extra[:, None].expand(-1, observed.shape[1], -1)
            return self.transformer(actions, steps, torch.cat([observed, repeated], dim=-1))
        if self._config.unet.observations == "local":
            unknown = self.horizon - observed.shape[1]
            return self.unet(actions, steps, extra, F.pad(observed, (0, 0, 0, unknown)))
        return self.unet(actions, steps, torch.cat([observed.flatten(1), extra], dim=-1))

    @torch.no_grad()
    def sample(self, batch: Batch, generator: torch.Generator, guidance_weight: float = 1.0,
               prefix: Prefix | None = None, condition: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """From noise of the generator (on its device) to actions (B, T, Da) in the data's units.

        A mass in the batch is asked for with guidance_weight: 0 ignores it, 1 is the conditional answer. A prefix, from
        `prefix`, holds a part of the actions. A condition, where it is known already, may have more rows than a batch
        of one: so many samples of one observation are drawn.
        """
        observed, extra = self.condition(batch) if condition is None else condition
        noise = torch.randn((len(observed), self.horizon, self.action_width), generator=generator,
                            device=generator.device).to(observed.device)

        def denoise(sample: Tensor, steps: Tensor, extra: Tensor) -> Tensor:
            copies = len(sample) // len(observed)
            return self.denoise(sample, steps, observed.repeat(copies, 1, 1), extra).float()

        nothing = extra
        if self.mass is not None:
            nothing = torch.cat([extra[:, :self.n_stages], self.mass.nothing(len(observed))], dim=-1)
        asked = batch.mass_g is not None and self.mass is not None
        network = guided(denoise, extra, nothing, guidance_weight if asked else 1.0)
        n_samples = self._config.diffusion.sample_steps
        if self._config.diffusion.sampler == "ddpm":
            clean = self.schedule.ddpm(network, noise, n_samples, generator, prefix)
        else:
            clean = self.schedule.ddim(network, noise, n_samples, prefix, generator)
        return self.relative.absolute(self.action_normalizer.unnormalize(clean), batch.low_dim)

    def prefix(self, actions: Tensor, weights: Tensor, batch: Batch) -> Prefix:
        """What is known of the actions (B, T, Da) in the data's units, with weights (B, T), as the sampler takes it.

        It goes the way of the training targets: relative to what the batch observes, then normalised.
        """
        return Prefix(self.normalized(actions, batch), weights[..., None])

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser is given: a transformer decays its matrices only, at a rate of its own."""
        if self._config.denoiser != "transformer":
            return [{"params": list(self.parameters()), "weight_decay": weight_decay}]
        decayed = {f"transformer.{name}" for name in self.transformer.decayed_parameters()}
        rates = {"matrices": self._config.transformer.weight_decay, "other": 0.0, "encoder": weight_decay}
        groups: dict[str, list[Tensor]] = {name: [] for name in rates}
        for name, value in self.named_parameters():
            where = "encoder" if not name.startswith("transformer.") else "matrices" if name in decayed else "other"
            groups[where].append(value)
        return [{"params": groups[name], "weight_decay": rate} for name, rate in rates.items() if groups[name]]

    def _make_unet(self, extra: int) -> ConditionalUnet1d:
        config, width = self._config.unet, self.encoder.features
        local = config.observations == "local"
        return ConditionalUnet1d(
            self.action_width, extra if local else self._config.n_obs_steps * width + extra, config.down_dims,
            config.kernel_size, config.groups, config.step_embedding, local_width=width if local else 0)

    def _seeded_dropout(self, generator: torch.Generator) -> AbstractContextManager[None]:
        """Dropout knows torch's global randomness only: inside, it follows from the generator's seed."""
        section = self._config.transformer
        drops = self._config.denoiser == "transformer" and max(section.embedding_dropout, section.attention_dropout) > 0
        return _global_seed(generator) if drops and self.training else nullcontext()


class StageClassifier(nn.Module):
    """The last observations, n_frames of them, to the logits of the newest one's stage.

    Attributes:
        n_frames: how many observations it looks at; with 1 each is judged by itself.
        temperature: of the probabilities, as the held-out episodes ask for (training/calibration.py).
    """

    class_weights: Tensor

    def __init__(self, config: ClassifierConfig, task: TaskConfig) -> None:
        super().__init__()
        n_stages = _n_stages(task)
        self.encoder = ObservationEncoder(config.observations, config.encoder)
        self.n_frames, self.temperature = config.classifier.n_frames, 1.0
        self.head = StageHead(self.n_frames * self.encoder.features, config.classifier.hidden, n_stages)
        self.register_buffer("class_weights", torch.ones(n_stages))

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted cross entropy of the newest observation's stage."""
        assert batch.stage is not None
        features = self.encoder(batch, generator if self.training else None)
        return F.cross_entropy(self.classify(features), batch.stage, weight=self.class_weights)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser is given."""
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]

    @torch.no_grad()
    def features(self, batch: Batch) -> Tensor:
        """(B, To, ...) observations -> (B, To, F), each step by itself."""
        return self.encoder(batch, None)

    def classify(self, features: Tensor) -> Tensor:
        """Features (B, n_frames, F), oldest first -> logits (B, n_stages) of the newest observation."""
        return self.head(features.flatten(1)).float()

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """(B, n_frames, ...) observations -> (B, n_stages) of the newest."""
        return self.classify(self.features(batch))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., n_stages) -> calibrated probabilities."""
        return (logits / self.temperature).softmax(dim=-1)


def _n_stages(task: TaskConfig) -> int:
    if task.stages is None:
        raise ConfigError(f"task {task.name} has no stages; set observations.stage=none, or add `stages:` to the task")
    return len(task.stages.names)


@contextmanager
def _global_seed(generator: torch.Generator) -> Iterator[None]:
    devices = [generator.device] if generator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(generator.initial_seed())
        yield
