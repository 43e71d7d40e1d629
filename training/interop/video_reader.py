"""Frames of a LeRobot video by the times of the steps that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ladle.errors import ReplayBufferError

# Share of a step by which a frame may be off its time. LeRobot itself allows 0.1 ms; a frame that is missing is off by
# a whole step.
TOLERANCE = 0.25


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

    @property
    def is_at_end(self) -> bool:
        """Whether no frame comes any more."""
        return self._next is None

    def between(self, start_s: float, count: int, fps_hz: float) -> NDArray[np.uint8]:
        """The frames of `count` steps from `start_s` on -> (count, H, W, 3) RGB.

        Raises:
            ReplayBufferError: a step has no frame at its time.
        """
        return np.stack([frame.to_ndarray(format="rgb24") for frame in self.steps(start_s, count, fps_hz)])

    def steps(self, start_s: float, count: int, fps_hz: float) -> Iterator[Any]:
        """The frame at each step's time, start_s + i / fps_hz; frames between are passed over.

        Raises:
            ReplayBufferError: a step has no frame at its time.
        """
        for step in range(count):
            wanted_s = start_s + step / fps_hz
            at_s, frame = self._nearest(wanted_s, TOLERANCE / fps_hz)
            if frame is None or abs(at_s - wanted_s) >= TOLERANCE / fps_hz:
                found = "none" if frame is None else f"the nearest at {at_s:.4f} s"
                raise ReplayBufferError(f"{self.path} has no frame for step {step} of {count} at {wanted_s:.4f} s, "
                                        f"{found}; the file is damaged or of another rate than {fps_hz:g} Hz, fetch it "
                                        "again")
            yield frame

    def _nearest(self, wanted_s: float, tolerance_s: float) -> tuple[float, Any]:
        """The frame nearest to a time among those not yet passed; what comes after it stays to be read."""
        best: tuple[float, Any] | None = None
        while self._next is not None:
            if best is not None and abs(self._next[0] - wanted_s) > abs(best[0] - wanted_s):
                break
            if best is None and self._next[0] >= wanted_s + tolerance_s:
                return self._next  # too late for this step, and perhaps right for one to come
            best, self._next = self._next, next(self._frames, None)
        return best or (wanted_s, None)

    def _timed(self) -> Iterator[tuple[float, Any]]:
        try:
            for frame in self._container.decode(self._stream):
                if frame.time is None:
                    raise ReplayBufferError(f"{self.path} has a frame without a time; write it again with ffmpeg")
                yield float(frame.time), frame
        except av.error.FFmpegError as error:
            raise ReplayBufferError(f"{self.path} cannot be decoded: {error}; fetch it again") from error
