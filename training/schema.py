"""What a training configuration may hold. Hydra composes it; these frozen dataclasses are what the code reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative, Positive
from ladle.errors import ConfigError
from training.model_schema import (
    ActionSection,
    Count,
    DiffusionSection,
    EncoderSection,
    Index,
    MassSection,
    ObservationSection,
    Share,
    TransformerSection,
    UnetSection,
)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TaskSection:
    """name: a task of ladle/config/task or a path to a .yaml; dataset_path: replay_buffer.zarr or .zarr.zip."""

    name: str
    dataset_path: str


def _full_name(precision: object) -> object:
    return PRECISION_NAMES.get(precision, precision) if isinstance(precision, str) else precision


PRECISION_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
Precision = Annotated[Literal["auto", "float32", "bfloat16", "float16"], BeforeValidator(_full_name)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TrainingSection:
    """How to train.

    Attributes:
        max_steps: budget in optimiser steps, so that results do not depend on the machine.
        batch_size: of all processes together, all parts of gradient_accumulation included.
        gradient_accumulation: parts of a process's share of the batch that are computed one after the other, which
            takes less memory; a classifier's class weights are then averaged in each part.
        schedule: what the rate does after the warm-up: down to zero at max_steps as a cosine or a line, or constant.
        warmup_steps: the rate rises linearly over them.
        precision: auto times float32 and bfloat16 on the first batch and takes the faster one; float16 needs CUDA.
            bf16 and fp16 are other names.
        threads: torch threads; 0 times one against every core that this process may use (one wins when the
            others are busy).
        val_ratio: share of the episodes kept for validation.
        val_windows: at most so many windows are validated on.
        validate_every, checkpoint_every: steps between two; the last step always does both.
        keep_top_k: best checkpoints that are kept beside the last one.
        resume: go on from the latest checkpoint if the output folder holds one; false refuses such a folder.
        output_dir: folder of the run; null takes Hydra's run folder.
        path_classifier_state_dict: checkpoint or run folder of the stage classifier (policies with a stage only).
        max_train_episodes: beside those for validation, drawn by the seed; null trains on all.
    """

    max_steps: Count
    seed: Index = 42
    device: str = "cpu"
    batch_size: Count = 64
    gradient_accumulation: Count = 1
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-6
    betas: tuple[Share, Share] = (0.95, 0.999)
    schedule: Literal["cosine", "constant", "linear"] = "cosine"
    warmup_steps: Index = 100
    max_gradient_norm: Positive | None = 1.0
    precision: Precision = "auto"
    threads: Index = 0
    val_ratio: Share = 0.1
    val_windows: Count = 256
    validate_every: Count = 500
    checkpoint_every: Count = 500
    keep_top_k: Index = 1
    resume: bool = True
    output_dir: str | None = None
    path_classifier_state_dict: str | None = None
    max_train_episodes: Count | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LoggingSection:
    """mode is wandb's; logs.json.txt is written in every mode."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    project: str = "ladle"
    name: str | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EmaSection:
    """See training/ema.py. Always on; max_decay 0 follows the weights at once, which is none."""

    power: Positive = 0.75
    max_decay: Share = 0.9999


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DataSection:
    """Where the frames lie while training; vectors and actions are always in memory.

    Attributes:
        storage: ram; memmap (an uncompressed file under cache_dir); zarr (decompressed as they are needed, visited
            in groups of chunks); auto takes the first of them that fits.
        ram_limit_mb: what the frames may take in memory.
        cache_dir: null takes the system's temporary folder.
    """

    storage: Literal["auto", "ram", "memmap", "zarr"] = "auto"
    ram_limit_mb: Count = 8192
    cache_dir: str | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RolloutSection:
    """Episodes in the task's environment while training; their mean score then ranks the checkpoints.

    Attributes:
        every: optimiser steps between two rollouts, the last step always does one.
        every_epochs: the same in passes over the training windows; 0 for both is none at all.
        start: no rollouts before this step.
        n_envs: environments, stepped together.
        first_seed: of the first environment; the others follow.
        max_steps: of an episode.
        workers: processes that step environments; 0 takes one for each core that this process may use.
    """

    every: Index = 0
    every_epochs: Index = 0
    start: Index = 0
    n_envs: Count = 50
    first_seed: Index = 100_000
    max_steps: Count = 300
    workers: Index = 0

    @model_validator(mode="after")
    def _one_interval(self) -> RolloutSection:
        if self.every and self.every_epochs:
            raise ValueError(f"every={self.every} counts optimiser steps and every_epochs={self.every_epochs} passes "
                             "over the data; set one of them to 0")
        return self

    @property
    def wanted(self) -> bool:
        """Whether there are any."""
        return self.every > 0 or self.every_epochs > 0

    def due(self, step: int, batch_size: int, n_windows: int) -> bool:
        """Whether a rollout follows after this many optimiser steps of a batch each, over n_windows an epoch."""
        if not self.wanted or step < self.start:
            return False
        if self.every:
            return step % self.every == 0
        between = self.every_epochs * n_windows
        return step * batch_size // between > (step - 1) * batch_size // between


@dataclass(frozen=True, config=STRICT, kw_only=True)
class PolicyConfig:
    """A diffusion policy. To = n_obs_steps, Ta = n_action_steps, T = horizon as in the paper.

    pad_after null is the paper's n_action_steps - 1; horizon - n_obs_steps makes every tick an observation.
    """

    name: str
    task: TaskSection
    training: TrainingSection
    observations: ObservationSection
    horizon: Count = 16
    n_obs_steps: Count = 2
    n_action_steps: Count = 8
    pad_after: Index | None = None
    logging: LoggingSection = LoggingSection()
    data: DataSection = DataSection()
    ema: EmaSection = EmaSection()
    encoder: EncoderSection = EncoderSection()
    action: ActionSection = ActionSection()
    mass: MassSection = MassSection()
    rollout: RolloutSection = RolloutSection()
    denoiser: Literal["unet", "transformer"] = "unet"
    unet: UnetSection = UnetSection()
    transformer: TransformerSection = TransformerSection()
    diffusion: DiffusionSection = DiffusionSection()

    @model_validator(mode="after")
    def _parts_fit(self) -> PolicyConfig:
        if self.n_obs_steps - 1 + self.n_action_steps > self.horizon:
            raise ValueError(f"n_obs_steps {self.n_obs_steps} - 1 + n_action_steps {self.n_action_steps} must fit "
                             f"into horizon {self.horizon}")
        self.encoder.check(self.observations.images)
        low_dim = {item.key for item in self.observations.low_dim}
        for item in self.action.relative:
            if item.to not in low_dim:
                raise ValueError(f"action part {item.part!r} is relative to {item.to!r}, which is not among "
                                 f"observations.low_dim ({', '.join(sorted(low_dim)) or 'empty'})")
        return self

    @property
    def window_pad_after(self) -> int:
        """Steps that a window may reach behind its episode's end."""
        return self.n_action_steps - 1 if self.pad_after is None else self.pad_after


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ClassifierSection:
    """How the stage is decided.

    Attributes:
        n_folds: held-out folds by episode.
        class_weights: a stage counts by its inverse frequency, so that rare ones are not passed over.
        hidden: width of the head.
        n_frames: observations that are looked at; 1 judges each by itself, more see which way things move.
    """

    n_folds: Count = 3
    class_weights: bool = True
    hidden: Count = 64
    n_frames: Count = 1


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ClassifierConfig:
    """A stage classifier: the last frame or frames, and what else was sensed with them, to a stage."""

    name: str
    task: TaskSection
    training: TrainingSection
    observations: ObservationSection
    classifier: ClassifierSection = ClassifierSection()
    logging: LoggingSection = LoggingSection()
    data: DataSection = DataSection()
    ema: EmaSection = EmaSection()
    encoder: EncoderSection = EncoderSection()

    @model_validator(mode="after")
    def _images_fit(self) -> ClassifierConfig:
        self.encoder.check(self.observations.images)
        return self


AnyConfig = TypeVar("AnyConfig", PolicyConfig, ClassifierConfig)


def parse_config(kind: type[AnyConfig], plain: Mapping[str, Any], origin: str) -> AnyConfig:
    """Validate plain mappings. Raises ConfigError naming the key, with the nearest known key when it is unknown."""
    try:
        return TypeAdapter(kind).validate_python(dict(plain))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            raise ConfigError(f"{origin}: unknown key {where!r}{did_you_mean(where, known_keys(kind))}") from error
        if first["type"] in {"missing", "missing_argument"}:
            raise ConfigError(f"{origin}: {where} is missing; give it as {where}=VALUE") from error
        raise ConfigError(f"{origin}: {where}: {first['msg']} (got {str(first['input'])[:80]!r})") from error


def config_text(config: PolicyConfig | ClassifierConfig) -> str:
    """The configuration as YAML; `parse_config` of its content gives back an equal one."""
    return yaml.safe_dump(TypeAdapter(type(config)).dump_python(config, mode="json"), sort_keys=False)


def did_you_mean(key: str, known: list[str]) -> str:
    """'; did you mean X?' or a list of what there is."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    parent = key.rpartition(".")[0]
    there = [item for item in known if item.rpartition(".")[0] == parent]
    return f"; known here: {', '.join(there)}" if there else ""


def known_keys(kind: type, prefix: str = "") -> list[str]:
    """Dotted names of all keys that a configuration dataclass has, lists of sections left out."""
    keys: list[str] = []
    hints = get_type_hints(kind)
    for item in fields(kind):
        name = f"{prefix}{item.name}"
        keys.append(name)
        inner = hints[item.name]
        if get_origin(inner) is None and is_dataclass(inner):
            keys.extend(known_keys(cast(type, inner), f"{name}."))
        elif get_origin(inner) is tuple and is_dataclass(get_args(inner)[0]):
            keys.extend(known_keys(get_args(inner)[0], f"{name}.0."))
    return keys
