"""Videos of all source frames: views for people in mp4, depth ticks lossless in Matroska.

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

# A group of two pictures makes every frame reachable in milliseconds; the annotator jumps back and forth.
VIEW_OPTIONS = {"crf": "23", "preset": "ultrafast", "g": "2", "bf": "0", "threads": "1"}
TICKS_OPTIONS = {"level": "3", "threads": "1"}
FILE_OPTIONS = {"fflags": "+bitexact"}
MAX_RATE_DENOMINATOR = 1000
NO_COLOR = 128
# BT.601 in the range 16..235, as cvtColor gives it to a grey pixel.
LUMA_OF_GREY = np.rint(16 + np.arange(256) * (219 / 255)).astype(np.uint8)

PixelFormat = Literal["rgb24", "gray", "gray16le"]


class VideoWriter:
    """Writes frames one by one; nothing is kept in memory. Close it, or the file lacks its end."""

    def __init__(self, path: Path, pixel_format: PixelFormat, rate_hz: float) -> None:
        self._pixel_format: PixelFormat = pixel_format
        self._rate = Fraction(rate_hz).limit_denominator(MAX_RATE_DENOMINATOR)
        self._container: Any = av.open(str(path), mode="w", container_options=FILE_OPTIONS)
        self._stream: Any = None
        self._count = 0

    def write(self, image: NDArray[Any]) -> None:
        """Append one frame: (H, W, 3) uint8 for rgb24, (H, W) uint8 for gray, (H, W) uint16 for gray16le."""
        lossless = self._pixel_format == "gray16le"
        if not lossless:
            image = _even_sized(image)
        if self._stream is None:
            self._stream = self._add_stream(image.shape[1], image.shape[0])
        planes = np.ascontiguousarray(image) if lossless else _yuv420(image)
        # Without a copy of its own: the encoder copies what it keeps.
        frame: Any = av.VideoFrame.from_numpy_buffer(planes, format="gray16le" if lossless else "yuv420p")
        frame.pts = self._count
        frame.time_base = 1 / self._rate
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds, and the file's end."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None:
                container.mux(self._stream.encode(None))
        finally:
            container.close()

    def abort(self) -> None:
        """Let go of a file that is about to be removed; what cannot be written any more does not matter."""
        with contextlib.suppress(OSError, ValueError):
            self.close()

    def _add_stream(self, width_px: int, height_px: int) -> Any:
        lossless = self._pixel_format == "gray16le"
        stream = self._container.add_stream("ffv1" if lossless else "libx264", rate=self._rate)
        stream.width, stream.height = width_px, height_px
        stream.pix_fmt = "gray16le" if lossless else "yuv420p"
        stream.time_base = 1 / self._rate
        stream.options = TICKS_OPTIONS if lossless else VIEW_OPTIONS
        return stream


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


def _yuv420(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB or (H, W) grey with even sides -> (H * 3 / 2, W): the planes Y, U, V one after the other."""
    if image.ndim == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420), np.uint8)
    height, width = image.shape
    planes = np.full((height * 3 // 2, width), NO_COLOR, np.uint8)
    cv2.LUT(image, LUMA_OF_GREY, dst=planes[:height])
    return planes


def _even_sized(image: NDArray[Any]) -> NDArray[Any]:
    """4:2:0 needs even sides; the last row and column repeat."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    widths = [(0, height % 2), (0, width % 2)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, widths, mode="edge")
