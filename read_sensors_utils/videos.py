"""Videos of all source frames: views for people in mp4, depth ticks without loss.

Frames are numbered 0..F-1 at a constant rate; their true stamps lie in stamps/N.npz. Encoders run in one thread, and
files hold no random numbers: the same frames give the same bytes.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.task import DepthCodec

Codec = Literal["libx264"] | DepthCodec

# A group of two pictures makes every frame reachable in milliseconds; the annotator jumps back and forth.
VIEW_OPTIONS = {"crf": "23", "preset": "ultrafast", "g": "2", "bf": "0", "threads": "1"}
# ffvhuff takes a tenth of ffv1's time for a fifth more bytes.
DEPTH_OPTIONS: dict[Codec, dict[str, str]] = {
    "ffvhuff": {"pred": "median", "threads": "1"}, "ffv1": {"level": "3", "threads": "1"}}
FILE_OPTIONS = {"fflags": "+bitexact"}
MAX_RATE_DENOMINATOR = 1000
NO_COLOR = 128
# BT.601 in the range 16..235, as cvtColor gives it to a grey pixel.
LUMA_OF_GREY = np.rint(16 + np.arange(256) * (219 / 255)).astype(np.uint8)


class VideoWriter:
    """Writes frames one by one; nothing is kept in memory. Close it, or the file lacks its end."""

    def __init__(self, path: Path, codec: Codec, rate_hz: float) -> None:
        """A view for people with libx264, 16 bits without loss with the others."""
        self._codec: Codec = codec
        self._is_lossless = codec != "libx264"
        self._rate = Fraction(rate_hz).limit_denominator(MAX_RATE_DENOMINATOR)
        self._container: Any = av.open(str(path), mode="w", container_options=FILE_OPTIONS)
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    def write(self, image: NDArray[Any]) -> None:
        """Append one frame: (H, W, 3) RGB or (H, W) grey uint8 for a view, (H, W) uint16 without loss.

        Raises:
            ValueError: its shape differs from the first one's.
        """
        if not self._is_lossless:
            image = _even_sized(image)
        if self._shape is None:
            self._begin(image)
        elif image.shape != self._shape:
            raise ValueError(f"a video of frames of shape {self._shape} cannot take one of shape {image.shape}")
        if self._is_lossless:
            np.copyto(self._planes, image, casting="no")
        else:
            _to_yuv420(image, self._planes)
        self._frame.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(self._frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the file's end."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._shape is not None:
                container.mux(self._stream.encode(None))
        finally:
            container.close()

    def abort(self) -> None:
        """Let go of a file that is about to be removed; what cannot be written any more does not matter."""
        with contextlib.suppress(OSError, ValueError):
            self.close()

    def _begin(self, image: NDArray[Any]) -> None:
        self._shape = image.shape
        height, width = image.shape[:2]
        stream: Any = self._container.add_stream(self._codec, rate=self._rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "gray16le" if self._is_lossless else "yuv420p"
        stream.time_base = 1 / self._rate
        stream.options = DEPTH_OPTIONS.get(self._codec, VIEW_OPTIONS)
        self._stream: Any = stream
        # One frame for all: when `encode` returns, an encoder of one thread has copied what it keeps.
        self._planes: Any = (np.empty((height, width), np.uint16) if self._is_lossless
                             else np.full((height * 3 // 2, width), NO_COLOR, np.uint8))
        self._frame: Any = av.VideoFrame.from_numpy_buffer(self._planes, format=stream.pix_fmt)
        self._frame.time_base = stream.time_base


def smaller_view(image: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """(H, W, 3) -> (height_px, width_px, 3) for people.

    Where four rows become one, two of them are enough; then halved by averages as often as that goes, then
    interpolated: a tenth of the time of an average over areas, which the frames of the ticks get, and nearly the same
    to the eye.
    """
    height, width = image.shape[:2]
    if height >= 4 * height_px:
        image = image[: height // 2 * 2 : 2]
        height = height // 2
    while height >= 4 * height_px and width >= 4 * width_px:
        height, width = height // 2, width // 2
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (height, width) == (height_px, width_px):
        return image
    return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def _to_yuv420(image: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """(H, W, 3) RGB or (H, W) grey with even sides -> planes (H * 3 / 2, W): Y, U, V one after the other.

    A grey image leaves U and V as they are.
    """
    if image.ndim == 3:
        cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420, dst=planes)
    else:
        cv2.LUT(image, LUMA_OF_GREY, dst=planes[: image.shape[0]])


def _even_sized(image: NDArray[Any]) -> NDArray[Any]:
    """4:2:0 needs even sides; the last row and column repeat."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    widths = [(0, height % 2), (0, width % 2)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, widths, mode="edge")
