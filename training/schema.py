"""What a training configuration may hold. Hydra composes it; these frozen dataclasses are what the code reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ladle.errors import ConfigError

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TaskSection:
    """name: a task of ladle/config/task or a path to a .yaml; dataset_path: replay_buffer.zarr or .zarr.zip."""

    name: str
    dataset_path: str


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TrainingSection:
    """How to train.

    Attributes:
        max_steps: budget in optimiser steps, so that results do not depend on the machine.
        warmup_steps: the rate rises linearly over them, then falls to zero as a cosine.
        precision: auto times both on the first batch and takes the faster one.
        threads: torch threads; 0 times one against every core that this process may use (one wins when the
            others are busy).
        val_ratio: share of the episodes kept for validation.
        val_windows: at most so many windows are validated on.
        validate_every, checkpoint_every: steps between two; the last step always does both.
        keep_top_k: best checkpoints that are kept beside the last one.
        resume: go on from the latest checkpoint if the output folder holds one.
        output_dir: folder of the run; null takes Hydra's run folder.
        path_classifier_state_dict: checkpoint or run folder of the stage classifier (policies with a stage only).
    """

    max_steps: Count
    seed: Index = 42
    device: str = "cpu"
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-6
    betas: tuple[Share, Share] = (0.95, 0.999)
    warmup_steps: Index = 100
    max_gradient_norm: Positive | None = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Index = 0
    val_ratio: Share = 0.1
    val_windows: Count = 256
    validate_every: Count = 500
    checkpoint_every: Count = 500
    keep_top_k: Index = 1
    resume: bool = True
    output_dir: str | None = None
    path_classifier_state_dict: str | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LoggingSection:
    """mode is wandb's; logs.json.txt is written in every mode."""

    mode: Literal["online", "offline", "disabled"] = "disabled"
    project: str = "ladle"
    name: str | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EmaSection:
    """See training/ema.py."""

    power: Positive = 0.75
    max_decay: Share = 0.9999


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CropSection:
    """A part of the task's image, in its pixels."""

    left_px: Index
    top_px: Index
    width_px: Count
    height_px: Count


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ImageInput:
    """A colour camera of the task, cut to `crop` if there is one, then resized to this for the network."""

    key: str
    width_px: Count
    height_px: Count
    crop: CropSection | None = None


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LowDimInput:
    """A low-dimensional stream of the replay buffer.

    Attributes:
        kind: pose (metres and quaternion, 9 channels inside the network) or vector (flattened).
        shape: of one entry in the buffer.
        columns: which entries of the flattened vector are used; null for all.
        position_noise_m, rotation_noise_rad: standard deviations added in training. Poses only.
    """

    key: str
    kind: Literal["pose", "vector"]
    shape: tuple[Count, ...]
    columns: tuple[Index, ...] | None = None
    position_noise_m: NotNegative = 0.0
    rotation_noise_rad: NotNegative = 0.0

    @model_validator(mode="after")
    def _pose_is_seven_wide(self) -> LowDimInput:
        if self.kind == "pose" and (self.shape != (7,) or self.columns is not None):
            raise ValueError(f"a pose has shape (7,) and no columns, got {self.shape} and {self.columns}")
        if self.kind == "vector" and (self.position_noise_m or self.rotation_noise_rad):
            raise ValueError("position_noise_m and rotation_noise_rad belong to poses")
        return self

    @property
    def width(self) -> int:
        """Channels inside the network."""
        if self.kind == "pose":
            return 9
        count = 1
        for extent in self.shape:
            count *= extent
        return count if self.columns is None else len(self.columns)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ObservationSection:
    """What the network sees. stage: where the one-hot stage of a training window comes from.

    classifier takes held-out folds with hysteresis, so that it errs as it will on the robot; labels takes the truth.
    """

    images: tuple[ImageInput, ...] = ()
    low_dim: tuple[LowDimInput, ...] = ()
    stage: Literal["none", "classifier", "labels"] = "none"

    @model_validator(mode="after")
    def _not_empty(self) -> ObservationSection:
        keys = [item.key for item in (*self.images, *self.low_dim)]
        if not keys or len(set(keys)) != len(keys):
            raise ValueError(f"observations need at least one image or low_dim, each key once; got {keys}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EncoderSection:
    """Image encoder and augmentation.

    Attributes:
        channels, strides: one entry per convolution.
        keypoints: expected positions that the spatial softmax returns; two features each.
        average_pool: give each channel's mean too: not only where something is, but whether.
        shift_px: images are moved by up to so many pixels in training.
        brightness: gain and offset vary by up to this share, colour balance by half of it.
    """

    channels: tuple[Count, ...] = (32, 64, 128, 128)
    strides: tuple[Count, ...] = (2, 2, 2, 1)
    keypoints: Count = 32
    average_pool: bool = False
    shift_px: Index = 4
    brightness: Share = 0.15

    @model_validator(mode="after")
    def _same_length(self) -> EncoderSection:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels {self.channels} and strides {self.strides} must have the same length")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class UnetSection:
    """Conditional 1-D U-Net."""

    down_dims: tuple[Count, ...] = (64, 128, 256)
    kernel_size: Count = 5
    groups: Count = 8
    step_embedding: Count = 128


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DiffusionSection:
    """train_steps of the noise schedule; sample_steps of DDIM."""

    train_steps: Count = 100
    sample_steps: Count = 10


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
    ema: EmaSection = EmaSection()
    encoder: EncoderSection = EncoderSection()
    unet: UnetSection = UnetSection()
    diffusion: DiffusionSection = DiffusionSection()

    @model_validator(mode="after")
    def _windows_fit(self) -> PolicyConfig:
        if self.n_obs_steps - 1 + self.n_action_steps > self.horizon:
            raise ValueError(f"n_obs_steps {self.n_obs_steps} - 1 + n_action_steps {self.n_action_steps} must fit "
                             f"into horizon {self.horizon}")
        return self

    @property
    def window_pad_after(self) -> int:
        """Steps that a window may reach behind its episode's end."""
        return self.n_action_steps - 1 if self.pad_after is None else self.pad_after


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ClassifierSection:
    """n_folds: held-out folds by episode; class_weights: rare stages count more; hidden: width of the head."""

    n_folds: Count = 3
    class_weights: bool = True
    hidden: Count = 64


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ClassifierConfig:
    """A stage classifier: one frame, and what else was sensed with it, to a stage."""

    name: str
    task: TaskSection
    training: TrainingSection
    observations: ObservationSection
    classifier: ClassifierSection = ClassifierSection()
    logging: LoggingSection = LoggingSection()
    ema: EmaSection = EmaSection()
    encoder: EncoderSection = EncoderSection()


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
