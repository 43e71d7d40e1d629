"""Cameras that go on sending, with new stamps, what they have sent before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.observation import ObservationBuffer


class FrozenCameras:
    """Compares each frame with the one before, byte for byte at the task's size: 86 kB of the scoop task in 10 us.

    Args:
        within_s: alike for so long, by the stamps, counts as frozen; told a frame before it would be longer.
        periods_s: of each camera.
    """

    def __init__(self, observations: ObservationBuffer, within_s: float, periods_s: Mapping[str, float]) -> None:
        self._observations, self._within_s, self._periods_s = observations, within_s, periods_s
        self._last: dict[str, tuple[float, NDArray[Any]]] = {}
        self._changed_s: dict[str, float] = {}

    def reset(self) -> None:
        """Another run."""
        self._last.clear()
        self._changed_s.clear()

    def frozen(self) -> str | None:
        """A camera whose newest frames are all alike; None if none is. To be asked at every tick."""
        for key in self._observations.camera_keys:
            self._take_in(key)
            if key in self._last:
                alike_s = self._last[key][0] - self._changed_s[key]
                if alike_s > self._within_s - self._periods_s[key]:
                    return key
        return None

    def _take_in(self, key: str) -> None:
        last = self._last.get(key)
        for header_s, image in self._observations.frames_since(key, -np.inf if last is None else last[0]):
            if last is None or not np.array_equal(last[1], image):
                self._changed_s[key] = header_s
            last = self._last[key] = header_s, image
