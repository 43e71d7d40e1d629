"""Videos of all source frames: views for people in mp4, depth ticks lossless in Matroska.

Frames are numbered 0..F-1 at a constant rate; their true stamps lie in stamps/N.npz.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

# A group of two pictures makes every frame reachable in milliseconds; the annotator jumps back and forth.
VIEW_OPTIONS = {"crf": "18", "preset": "veryfast", "g": "2", "bf": "0", "threads": "1"}
TICKS_OPTIONS = {"level": "3", "threads": "1"}
MAX_RATE_DENOMINATOR = 1000

PixelFormat = Literal["rgb24", "gray", "gray16le"]


class VideoWriter:
    """Writes frames one by one; nothing is kept in memory. Close it, or the file lacks its end."""

    def __init__(self, path: Path, pixel_format: PixelFormat, rate_hz: float) -> None:
        self._pixel_format: PixelFormat = pixel_format
        self._rate = Fraction(rate_hz).limit_denominator(MAX_RATE_DENOMINATOR)
        self._container: Any = av.open(str(path), mode="w")
        self._stream: Any = None
        self._count = 0

    def write(self, image: NDArray[Any]) -> None:
        """Append one frame: (H, W, 3) uint8 for rgb24, (H, W) uint8 for gray, (H, W) uint16 for gray16le."""
        if self._pixel_format != "gray16le":
            image = _even_sized(image)
        if self._stream is None:
            self._stream = self._add_stream(image.shape[1], image.shape[0])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=self._pixel_format)
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


def _even_sized(image: NDArray[Any]) -> NDArray[Any]:
    """4:2:0 needs even sides; the last row and column repeat."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    widths = [(0, height % 2), (0, width % 2)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, widths, mode="edge")
