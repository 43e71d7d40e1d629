"""The sections of a configuration that say what the network sees and how it is built."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

CHANNELS_PER_GROUP = 16  # of GroupNorm in every image encoder, as in the Diffusion Policy code


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CropSection:
    """A part of the task's image, in its pixels."""

    left_px: Index
    top_px: Index
    width_px: Count
    height_px: Count


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ImageInput:
    """A camera of the task, cut to `crop` if there is one, then resized to this for the network.

    Attributes:
        depth_key: an 8-bit depth view of the same size and place (`camera_0` of the scooping task); it becomes the
            fourth channel. Null for colour alone.
    """

    key: str
    width_px: Count
    height_px: Count
    crop: CropSection | None = None
    depth_key: str | None = None

    @property
    def channels(self) -> int:
        """3, or 4 with depth."""
        return 3 if self.depth_key is None else 4

    @property
    def keys(self) -> tuple[str, ...]:
        """The streams that are read."""
        return (self.key,) if self.depth_key is None else (self.key, self.depth_key)


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

    @property
    def keys(self) -> tuple[str, ...]:
        """Every stream that is read, sorted."""
        images = {key for image in self.images for key in image.keys}
        return tuple(sorted(images | {item.key for item in self.low_dim}))


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EncoderSection:
    """Image encoder and augmentation.

    Attributes:
        backbone: small_cnn for CPUs, or a ResNet with GroupNorm.
        channels, strides: one entry per convolution of small_cnn.
        keypoints: expected positions that the spatial softmax returns, two features each; 0 leaves it out.
        average_pool: give each channel's mean too: not only where something is, but whether.
        shared: one encoder for all cameras instead of one each.
        pretrained: safetensors file with a ResNet's weights under torchvision's names; null starts from noise.
        crop_px: (height, width) that the network sees of each image: somewhere in training, the centre after.
        shift_px: images are moved by up to so many pixels in training.
        brightness: gain and offset vary by up to this share, colour balance by half of it.
    """

    backbone: Literal["small_cnn", "resnet18", "resnet34", "resnet50"] = "small_cnn"
    channels: tuple[Count, ...] = (32, 64, 128, 128)
    strides: tuple[Count, ...] = (2, 2, 2, 1)
    keypoints: Index = 32
    average_pool: bool = False
    shared: bool = False
    pretrained: str | None = None
    crop_px: tuple[Count, Count] | None = None
    shift_px: Index = 4
    brightness: Share = 0.15

    @model_validator(mode="after")
    def _fits_together(self) -> EncoderSection:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels {self.channels} and strides {self.strides} must have the same length")
        wrong = [count for count in self.channels if count >= CHANNELS_PER_GROUP and count % CHANNELS_PER_GROUP]
        if wrong:
            raise ValueError(f"channels {wrong} are not multiples of {CHANNELS_PER_GROUP}, the size of a group")
        if not self.keypoints and not self.average_pool:
            raise ValueError("keypoints=0 leaves out the spatial softmax; then average_pool must be true")
        if self.pretrained is not None and self.backbone == "small_cnn":
            raise ValueError("there are pretrained weights for the ResNets only; set encoder.backbone=resnet18")
        return self

    def check(self, images: tuple[ImageInput, ...]) -> None:
        """Raise ValueError where the images do not fit the encoder."""
        for image in images:
            if self.crop_px and (self.crop_px[0] > image.height_px or self.crop_px[1] > image.width_px):
                raise ValueError(f"encoder.crop_px {self.crop_px} does not fit into {image.key}, which is "
                                 f"{image.height_px} high and {image.width_px} wide")
        sizes = {(image.channels, *(self.crop_px or (image.height_px, image.width_px))) for image in images}
        if self.shared and len(sizes) > 1:
            raise ValueError("encoder.shared needs cameras of one size and number of channels, got (channels, height, "
                             f"width) {sorted(sizes)}; resize them alike, or set encoder.shared=false")


@dataclass(frozen=True, config=STRICT, kw_only=True)
class UnetSection:
    """Conditional 1-D U-Net.

    Attributes:
        observations: global flattens the features of all observed steps into one condition; local gives each step its
            own, zeros where nothing is observed yet.
    """

    down_dims: tuple[Count, ...] = (64, 128, 256)
    kernel_size: Count = 5
    groups: Count = 8
    step_embedding: Count = 128
    observations: Literal["global", "local"] = "global"

    @model_validator(mode="after")
    def _can_be_built(self) -> UnetSection:
        if any(width % self.groups for width in self.down_dims):
            raise ValueError(f"groups {self.groups} must divide every entry of down_dims {self.down_dims}")
        if self.kernel_size % 2 == 0 or self.step_embedding % 2 or self.step_embedding < 4:
            raise ValueError(f"kernel_size {self.kernel_size} must be odd, step_embedding {self.step_embedding} even "
                             "and at least 4")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TransformerSection:
    """Transformer denoiser of the Diffusion Policy paper.

    Attributes:
        layers, heads, width: of the decoder over the action tokens.
        condition_layers: self-attention layers over step and observations; 0 takes a small MLP.
        embedding_dropout, attention_dropout: in training.
        causal: an action token sees itself and earlier ones, and observations up to its own step.
        weight_decay: of the matrices; training.weight_decay holds for the image encoder.
    """

    layers: Count = 8
    heads: Count = 4
    width: Count = 256
    condition_layers: Index = 0
    embedding_dropout: Share = 0.0
    attention_dropout: Share = 0.3
    causal: bool = True
    weight_decay: NotNegative = 1e-3

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerSection:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} must be even and a multiple of heads {self.heads}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DiffusionSection:
    """Noise schedule and sampler.

    Attributes:
        train_steps: of the schedule.
        schedule: squared_cosine is the paper's.
        prediction: what the network answers, the noise (epsilon) or the clean actions (sample).
        sampler: ddpm draws fresh noise in each step and wants all train_steps; ddim needs few.
        sample_steps: evaluations of the network for one chunk.
    """

    train_steps: Count = 100
    schedule: Literal["squared_cosine", "linear"] = "squared_cosine"
    prediction: Literal["epsilon", "sample"] = "epsilon"
    sampler: Literal["ddim", "ddpm"] = "ddim"
    sample_steps: Count = 10

    @model_validator(mode="after")
    def _steps_fit(self) -> DiffusionSection:
        if self.sample_steps > self.train_steps:
            raise ValueError(f"sample_steps {self.sample_steps} must not exceed train_steps {self.train_steps}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RelativePart:
    """An action part that is learnt relative to the newest observation of a low_dim input.

    A pose part is expressed in the frame of a pose input; any other part is a difference of the same width.
    """

    part: str
    to: str


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ActionSection:
    """How the task's action parts are learnt; parts that are not named under `relative` are absolute."""

    relative: tuple[RelativePart, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> ActionSection:
        names = [item.part for item in self.relative]
        if len(set(names)) != len(names):
            raise ValueError(f"each action part may be relative to one input only, got {names}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class MassSection:
    """The final mass of an episode as a condition, so that a mass can be asked for.

    Attributes:
        condition: whether the policy is told the mass.
        frequencies: octaves of the Fourier features; more resolve finer differences and generalise less.
        dropout: share of the windows that are trained without it, for classifier-free guidance.
    """

    condition: bool = False
    frequencies: Count = 4
    dropout: Share = 0.1
