"""From what the buffer and the robot hold to what the network sees, and back. One function for both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError, ObservationError
from ladle.pose import quaternion_from_rotation_6d, rotation_6d_from_quaternion
from ladle.task import ActionPartConfig, TaskConfig
from training.model_schema import ImageInput, LowDimInput


def network_frames(streams: Mapping[str, NDArray[np.generic]], spec: ImageInput) -> NDArray[np.uint8]:
    """Frames (N, H, W, 3) of the input's streams -> (N, height_px, width_px, spec.channels)."""
    frames = np.empty((len(streams[spec.key]), spec.height_px, spec.width_px, spec.channels), np.uint8)
    for i, image in enumerate(streams[spec.key]):
        frames[i, ..., :3] = network_image(image, spec)
    if spec.depth_key is not None:
        for i, view in enumerate(streams[spec.depth_key]):
            frames[i, ..., 3] = _network_depth(view, spec)
    return frames


def network_image(image: NDArray[np.generic], spec: ImageInput) -> NDArray[np.uint8]:
    """RGB (H, W, 3), uint8 or float in 0..255, -> uint8 (height_px, width_px, 3): cropped, averaged over areas."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ObservationError(f"{spec.key}: expected an RGB image (H, W, 3), got shape {image.shape}")
    image = _cropped(image, spec.key, spec)
    if image.dtype != np.uint8:
        image = np.clip(np.rint(image.astype(np.float32)), 0, 255).astype(np.uint8)
    return _resized(cast("NDArray[np.uint8]", image), spec, cv2.INTER_AREA)


def _network_depth(view: NDArray[np.generic], spec: ImageInput) -> NDArray[np.uint8]:
    """8-bit depth view (H, W) or (H, W, 3) -> (height_px, width_px): nearest pixel, an average is no depth."""
    if view.dtype != np.uint8 or view.ndim not in (2, 3):
        raise ObservationError(f"{spec.depth_key}: expected an 8-bit depth view (H, W) or (H, W, 3), got {view.dtype} "
                               f"of shape {view.shape}; name the view, not the ticks")
    plane = view if view.ndim == 2 else view[..., 0]
    plane = np.ascontiguousarray(_cropped(plane, str(spec.depth_key), spec))
    return _resized(cast("NDArray[np.uint8]", plane), spec, cv2.INTER_NEAREST)


def _cropped(image: NDArray[np.generic], key: str, spec: ImageInput) -> NDArray[np.generic]:
    if (crop := spec.crop) is None:
        return image
    bottom, right = crop.top_px + crop.height_px, crop.left_px + crop.width_px
    if bottom > image.shape[0] or right > image.shape[1]:
        raise ObservationError(f"{key}: the crop ends at row {bottom}, column {right}, but the image is "
                               f"{image.shape[0]} high and {image.shape[1]} wide")
    return image[crop.top_px:bottom, crop.left_px:right]


def _resized(image: NDArray[np.uint8], spec: ImageInput, interpolation: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (spec.height_px, spec.width_px):
        return image
    size = (spec.width_px, spec.height_px)
    return np.asarray(cv2.resize(cast(Any, image), size, interpolation=interpolation), np.uint8)


def low_dim_features(values: NDArray[np.generic], spec: LowDimInput) -> NDArray[np.float32]:
    """(N, *spec.shape) -> (N, spec.width): a pose becomes position and 6-D rotation, a vector is flattened."""
    if values.shape[1:] != spec.shape:
        raise ObservationError(f"{spec.key}: expected entries of shape {spec.shape}, got {values.shape[1:]}")
    if spec.kind == "pose":
        return _pose_to_9d(values)
    flat = values.reshape(len(values), -1).astype(np.float32)
    return flat if spec.columns is None else flat[:, list(spec.columns)]


class ActionCodec:
    """The columns of `action` in the buffer against the channels inside the network.

    A pose part is 7 wide outside (metres, quaternion xyzw) and 9 inside (metres, two columns of the rotation).
    """

    def __init__(self, task: TaskConfig) -> None:
        if not task.action:
            raise ConfigError(f"task {task.name} declares no action parts, so there is nothing to learn; add `action:`")
        n_joints = len(task.joints.names) if task.joints else 0
        self._parts: Sequence[ActionPartConfig] = task.action
        self._outer = [part.width(n_joints) for part in task.action]
        self._inner = [9 if part.kind == "pose" else width
                       for part, width in zip(task.action, self._outer, strict=True)]

    @property
    def width(self) -> int:
        """Channels inside the network."""
        return sum(self._inner)

    @property
    def columns(self) -> dict[str, slice]:
        """Where each part lies among the channels."""
        ends = np.cumsum(self._inner).tolist()
        return {part.name: slice(end - width, end)
                for part, width, end in zip(self._parts, self._inner, ends, strict=True)}

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """(width,) channels that the normaliser leaves alone: rotations."""
        masks = [np.arange(width) >= 3 if part.kind == "pose" else np.zeros(width, bool)
                 for part, width in zip(self._parts, self._inner, strict=True)]
        return np.concatenate(masks)

    def encode(self, action: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, buffer columns) -> (N, width)."""
        if action.ndim != 2 or action.shape[1] != sum(self._outer):
            raise ConfigError(f"the task's action parts take {sum(self._outer)} columns, but `action` has shape "
                              f"{action.shape}; is this the data set of another task?")
        pieces = np.split(action, np.cumsum(self._outer)[:-1], axis=1)
        return np.concatenate([_pose_to_9d(piece) if part.kind == "pose" else piece.astype(np.float32)
                               for part, piece in zip(self._parts, pieces, strict=True)], axis=1)

    def decode(self, channels: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
        """(n, width) -> named parts, (n, 7) for a pose."""
        pieces = np.split(channels.astype(np.float64), np.cumsum(self._inner)[:-1], axis=1)
        return {part.name: _pose_from_9d(piece) if part.kind == "pose" else piece
                for part, piece in zip(self._parts, pieces, strict=True)}


def fixed_channels(spec: LowDimInput) -> NDArray[np.bool_]:
    """(width,) channels that the normaliser leaves alone: a pose's rotation."""
    return np.arange(spec.width) >= 3 if spec.kind == "pose" else np.zeros(spec.width, bool)


def _pose_to_9d(pose: NDArray[Any]) -> NDArray[np.float32]:
    rotation = rotation_6d_from_quaternion(pose[..., 3:])
    return np.concatenate([pose[..., :3], rotation], axis=-1).astype(np.float32)


def _pose_from_9d(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([channels[..., :3], quaternion_from_rotation_6d(channels[..., 3:])], axis=-1)
