"""Messages -> numpy: images, joint positions, header stamps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.joints_by_name import Believable, joints_by_name, why_unusable
from ladle.sensor_config import CameraConfig
from read_sensors_utils.compressed_images import compressed_color, compressed_depth
from read_sensors_utils.depth_ticks import ticks_from_metres

# encoding -> (dtype, channels, conversion to RGB for cv2.cvtColor)
COLOR_ENCODINGS: dict[str, tuple[type[np.generic], int, int | None]] = {
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
}
DEPTH_ENCODINGS: dict[str, type[np.generic]] = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}


def header_ns(message: Any) -> int:
    """The header stamp in ns; 0 where the message has none or the driver did not fill it in."""
    header = getattr(message, "header", None)
    return 0 if header is None else int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def decode_image(message: Any, camera: CameraConfig, topic: str) -> NDArray[Any]:
    """Image or CompressedImage -> colour (H, W, 3) uint8 RGB, or depth (H, W) uint16 ticks.

    Raises:
        BagError: an encoding that does not fit the camera's kind, or bytes that are no image.
    """
    try:
        if hasattr(message, "encoding"):
            return _raw_color(message, topic) if camera.kind == "color" else _raw_depth(message, camera, topic)
        return compressed_color(message, topic) if camera.kind == "color" else compressed_depth(message, camera, topic)
    except cv2.error as error:
        raise BagError(f"{topic}: an image cannot be decoded: {error.err}") from error


def joint_positions(message: Any, names: Sequence[str], *, order_when_unnamed: bool = False,
                    believable: Believable | None = None) -> NDArray[np.float64] | None:
    """(n,) rad in the order of `names`, or None if the message does not speak of all of them.

    Reads sensor_msgs/JointState by name, franka_msgs' nested measured_joint_state by name (by order where it carries
    none), and a robot state with a flat q (the arm's joints in their own order). Velocities and efforts may be missing.

    Args:
        order_when_unnamed: whether a JointState without names holds the joints in the order of `names`.
        believable: a message with other positions is not used.
    """
    nested = getattr(message, "measured_joint_state", None)
    state = message if nested is None else nested
    if nested is None and hasattr(message, "q"):
        return joints_by_name(names, names, message.q, believable)
    if not any(state.name) and (nested is not None or order_when_unnamed):
        return joints_by_name(names, names, state.position, believable)
    return joints_by_name(names, state.name, state.position, believable)


def is_unnamed(message: Any, n_joints: int) -> bool:
    """Whether it is a JointState with the right number of positions, but without names."""
    return hasattr(message, "name") and not any(message.name) and len(message.position) == n_joints


def why_no_joints(message: Any, names: Sequence[str], believable: Believable | None = None) -> str:
    """Why `joint_positions` found none in the message, for messages to people."""
    state = getattr(message, "measured_joint_state", message)
    if hasattr(state, "name") and any(state.name):
        return why_unusable(names, state.name, state.position, believable)
    position = state.q if hasattr(state, "q") else state.position
    if len(position) != len(names):
        return f"holds {len(position)} positions and no names, the task names {len(names)} joints"
    return why_unusable(names, names, position, believable)


def can_hold_joints(message: Any) -> bool:
    """Whether the message is of a kind that `joint_positions` reads."""
    return any(hasattr(message, field) for field in ("measured_joint_state", "q")) or (
        hasattr(message, "name") and hasattr(message, "position")
    )


def _raw_color(message: Any, topic: str) -> NDArray[np.uint8]:
    if message.encoding not in COLOR_ENCODINGS:
        raise BagError(f"{topic} has encoding {message.encoding!r}, but a colour camera is read from "
                       f"{', '.join(COLOR_ENCODINGS)}; is it the topic of another camera?")
    dtype, channels, conversion = COLOR_ENCODINGS[message.encoding]
    image = _pixels(message, np.dtype(dtype), channels, topic)
    return image if conversion is None else np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _raw_depth(message: Any, camera: CameraConfig, topic: str) -> NDArray[np.uint16]:
    if message.encoding not in DEPTH_ENCODINGS:
        raise BagError(f"{topic} has encoding {message.encoding!r}, but a depth camera is read from "
                       f"{', '.join(DEPTH_ENCODINGS)}; is it the topic of another camera?")
    image = _pixels(message, np.dtype(DEPTH_ENCODINGS[message.encoding]), 1, topic)
    return image if image.dtype == np.uint16 else ticks_from_metres(image, camera)


def _pixels(message: Any, dtype: np.dtype[Any], channels: int, topic: str) -> NDArray[Any]:
    """Rows may be padded (step) and their bytes may be big-endian."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    row_bytes = width * channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if height * width == 0:
        raise BagError(f"{topic}: an image of {width}x{height} pixels shows nothing")
    if step < row_bytes or data.size < height * step:
        raise BagError(f"{topic}: an image of {width}x{height} {message.encoding} needs {height} rows of at least "
                       f"{row_bytes} bytes, got {data.size} bytes with step {step}")
    rows = data[: height * step].reshape(height, step)[:, :row_bytes]
    order = ">" if message.is_bigendian else "<"
    image = np.ascontiguousarray(rows).view(dtype.newbyteorder(order)).astype(dtype, copy=False)
    return image.reshape(height, width, channels) if channels > 1 else image.reshape(height, width)
