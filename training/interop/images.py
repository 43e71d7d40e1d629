"""Pictures inside LeRobot data sets: PNG without loss, mp4 with."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import ReplayBufferError

Bytes = NDArray[np.uint8]
ENCODER, CODEC_NAME, PIXEL_FORMAT = "libx264", "h264", "yuv420p"
# Constant rate factor: hardly visible loss. Every other frame is a key frame, so that single frames are found fast.
VIDEO_OPTIONS = {"crf": "18", "g": "2", "preset": "veryfast"}
PNG_LEVEL = 1


def png(image: Bytes) -> bytes:
    """(H, W, 1 or 3) uint8 RGB -> PNG."""
    swapped = image[..., ::-1] if image.shape[-1] == 3 else image
    done, data = cv2.imencode(".png", np.ascontiguousarray(swapped), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise ReplayBufferError(f"an image of shape {image.shape} cannot be written as PNG")
    return data.tobytes()


def decoded(data: bytes, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """An image file's content -> an array of `shape` (H, W[, C]), RGB.

    Raises:
        ReplayBufferError: it cannot be decoded, or has another shape.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if image is None:
        raise ReplayBufferError(f"{where}: an image cannot be decoded; the file is damaged, fetch it again")
    if image.ndim == 3 and image.shape[2] == 3:
        image = image[..., ::-1]
    if image.size != int(np.prod(shape)):
        raise ReplayBufferError(f"{where}: an image has shape {image.shape}, expected {shape}")
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


class VideoReader:
    """Frames of one video file, asked for in the order of time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (OSError, IndexError, av.error.FFmpegError) as error:
            raise ReplayBufferError(f"{path} is not a readable video: {error}") from error
        self._frames = self._timed()
        self._next: tuple[float, Any] | None = next(self._frames, None)

    def close(self) -> None:
        """Give the file back."""
        self._container.close()

    def between(self, start_s: float, count: int, fps_hz: float) -> Bytes:
        """The `count` frames from `start_s` on -> (count, H, W, 3) RGB.

        Raises:
            ReplayBufferError: the video ends before.
        """
        frames: list[Bytes] = []
        while self._next is not None and len(frames) < count:
            at_s, frame = self._next
            if at_s > start_s - 0.5 / fps_hz:
                frames.append(frame.to_ndarray(format="rgb24"))
            self._next = next(self._frames, None)
        if len(frames) != count:
            raise ReplayBufferError(f"{self.path} has {len(frames)} frames from {start_s:.3f} s on, expected {count}; "
                                    "the file is damaged, fetch it again")
        return np.stack(frames)

    def _timed(self) -> Iterator[tuple[float, Any]]:
        try:
            for frame in self._container.decode(self._stream):
                yield float(frame.time or 0.0), frame
        except av.error.FFmpegError as error:
            raise ReplayBufferError(f"{self.path} cannot be decoded: {error}; fetch it again") from error
