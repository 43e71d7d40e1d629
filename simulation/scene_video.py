"""A film of the scenes: the cameras side by side, at the policy's rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

CODECS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qscale": "3"}))


class SceneVideo:
    """Writes an mp4; a camera that has not delivered is black, one that pauses shows its last frame."""

    def __init__(self, path: Path, rate_hz: float, cameras: tuple[str, ...]) -> None:
        """`cameras`: keys from left to right."""
        self._path, self._rate_hz, self._cameras = path, rate_hz, cameras
        self._latest: dict[str, NDArray[np.uint8]] = {}
        self._container: Any = None
        self._stream: Any = None
        self._picture_number = -1

    def restart(self) -> None:
        """A new scene begins at time 0; nothing of the old one is shown."""
        self._latest.clear()
        self._picture_number = -1

    def add(self, images: Mapping[str, NDArray[Any]], time_s: float) -> None:
        """Frames (H, W, 3) that have come by `time_s`; a picture is written once a period."""
        self._latest.update({key: image for key, image in images.items() if key in self._cameras})
        # A millionth of slack: ticks are multiples of the period in floating point.
        picture_number = math.floor(time_s * self._rate_hz + 1e-6)
        if not self._latest or picture_number <= self._picture_number:
            return
        self._picture_number = picture_number
        blank = np.zeros_like(next(iter(self._latest.values())))
        picture = np.hstack([self._latest.get(key, blank) for key in self._cameras])
        if self._container is None:
            self._container, self._stream = self._opened(picture.shape[1], picture.shape[0])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; without a frame there is none."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None

    def _opened(self, width_px: int, height_px: int) -> tuple[Any, Any]:
        container: Any = av.open(str(self._path), "w")
        codec, options = next((c for c in CODECS if c[0] in av.codecs_available), CODECS[-1])
        stream: Any = container.add_stream(codec, rate=Fraction(self._rate_hz).limit_denominator(1000), options=options)
        stream.width, stream.height = width_px - width_px % 2, height_px - height_px % 2
        stream.pix_fmt = "yuv420p"
        return container, stream
