"""Any frame of a video by its index, without holding the whole video in memory.

OpenCV reads the video, not PyAV: once PyAV is imported, OpenCV's first window hangs in its own copy of the toolkit.
Frames are counted, never sought by time, so that the index is exact at any frame rate.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import EpisodeError

CACHED_FRAMES = 96


class VideoFrames:
    """The frames of a video in the order in which they are shown. Use as a context manager.

    Going forwards decodes one frame a step. Going back further than the cache decodes from the start once and caches
    the frames just before.
    """

    def __init__(self, path: Path) -> None:
        """Open and count. Raises EpisodeError when the file is missing, damaged or empty."""
        self._path = path
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        if not path.is_file():
            raise EpisodeError(f"no video {path}; extract the episode again")
        self._rewind()
        self._count = 0
        while self._capture.grab():
            self._count += 1
        if self._count == 0:
            raise EpisodeError(f"cannot read the video {path}, or it has no frames; extract the episode again")
        self._rewind()

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._capture.release()

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) RGB uint8 of frame 0 <= index < len."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self._path} has frames 0..{len(self) - 1}, there is no {index}")
        if index not in self._cache:
            self._decode_up_to(index)
        return self._cache[index]

    def _rewind(self) -> None:
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        self._next = 0

    def _decode_up_to(self, index: int) -> None:
        if index < self._next:
            self._rewind()
        while self._next <= index:
            if not self._capture.grab():
                raise EpisodeError(f"cannot decode frame {self._next} of {self._path}; extract the episode again")
            if index - self._next < CACHED_FRAMES:
                _, image = self._capture.retrieve()
                self._cache[self._next] = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
                self._cache.move_to_end(self._next)
            self._next += 1
        while len(self._cache) > CACHED_FRAMES:
            self._cache.popitem(last=False)
