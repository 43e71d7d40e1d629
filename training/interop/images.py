"""Pictures inside LeRobot data sets: PNG without loss, mp4 with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import ReplayBufferError

Bytes = NDArray[np.uint8]
ENCODER, CODEC_NAME, PIXEL_FORMAT = "libx264", "h264", "yuv420p"
# Constant rate factor: hardly visible loss. Every other frame is a key frame, so that single frames are found fast.
VIDEO_OPTIONS = {"crf": "18", "g": "2", "preset": "veryfast"}
PNG_LEVEL = 1
CHANNELS_OF_OPENCV = (2, 1, 0, 3)  # BGR and BGRA


def png(image: Bytes) -> bytes:
    """(H, W, 1 or 3) uint8 RGB -> PNG."""
    swapped = image[..., ::-1] if image.shape[-1] == 3 else image
    done, data = cv2.imencode(".png", np.ascontiguousarray(swapped), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise ReplayBufferError(f"an image of shape {image.shape} cannot be written as PNG")
    return data.tobytes()


def decoded(data: bytes, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """An image file's content -> an array of `shape` (H, W[, C]) uint8, RGB or RGBA.

    Raises:
        ReplayBufferError: it cannot be decoded, has another height, width or channels, or more than 8 bits a channel.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise ReplayBufferError(f"{where}: an image cannot be decoded; the file is damaged, fetch it again")
    if image.dtype != np.uint8:
        raise ReplayBufferError(f"{where}: an image has {image.dtype.itemsize * 8} bits a channel, expected 8; keep "
                                "depth as a grid of uint16 (LeRobot's Array2D) instead of pictures")
    if image.ndim == 3:
        image = image[..., [*CHANNELS_OF_OPENCV[: image.shape[2]]]]
    if image.shape != shape and (image.ndim == 3 or shape != (*image.shape, 1)):
        raise ReplayBufferError(f"{where}: an image has shape {image.shape}, expected {shape}; mend its feature in "
                                "meta/info.json, or fetch the data set again")
    return image.reshape(shape)


def write_video(path: Path, images: Bytes, fps_hz: float) -> None:
    """(T, H, W, 3) RGB -> mp4 with T frames. Even height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(ENCODER, rate=Fraction(fps_hz).limit_denominator(1001)))
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = PIXEL_FORMAT
        stream.options = dict(VIDEO_OPTIONS)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode(None))
