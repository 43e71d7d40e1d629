"""sensor_msgs/Image to and from numpy, without the element-wise copy that rclpy makes of an ndarray."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from ladle.errors import ObservationError

# encoding -> (dtype, channels); what RealSense and the simulator publish.
ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "mono8": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
    "mono16": (np.uint16, 1),
}


def to_message(image: NDArray[Any], stamp_ns: int, frame_id: str) -> Image:
    """(H, W, 3) uint8 RGB becomes rgb8, (H, W) uint16 ticks become 16UC1."""
    message = Image()
    message.header.stamp = stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = image.shape[:2]
    message.encoding = "rgb8" if image.ndim == 3 else "16UC1"
    message.is_bigendian = 0
    message.step = int(image.shape[1] * image[0, 0].nbytes)
    # An array('B') passes rclpy's type check at once; an ndarray is checked element by element (118 ms).
    message.data = array("B", np.ascontiguousarray(image).tobytes())
    return message


def to_array(message: Image) -> NDArray[Any]:
    """RGB (H, W, 3) uint8, or (H, W) uint8 or uint16, in native byte order; rows' padding is dropped.

    Raises:
        ObservationError: an encoding that no camera of a task has, or too few bytes.
    """
    if message.encoding not in ENCODINGS:
        raise ObservationError(f"image encoding {message.encoding!r} of frame {message.header.frame_id!r} is not "
                               f"one of {', '.join(ENCODINGS)}; set the camera driver to one of these")
    kind, channels = ENCODINGS[message.encoding]
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = message.width * channels * dtype.itemsize
    raw = np.frombuffer(message.data, dtype=np.uint8)
    if message.step < row_bytes or raw.size < message.height * message.step:
        raise ObservationError(f"image of {message.width}x{message.height} {message.encoding} has {raw.size} bytes "
                               f"and rows of {message.step}; expected rows of at least {row_bytes}")
    rows = np.ascontiguousarray(raw[: message.height * message.step].reshape(message.height, message.step)
                                [:, :row_bytes])
    values = rows.view(dtype).astype(kind, copy=False)
    if channels == 1:
        return values
    image = values.reshape(message.height, message.width, channels)
    return np.ascontiguousarray(image[..., ::-1]) if message.encoding == "bgr8" else image


def stamp(stamp_ns: int) -> Time:
    """Integer nanoseconds to a message's time."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def stamp_ns(time: Time) -> int:
    """A message's time to integer nanoseconds."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)
