"""Images from the sensor to what the replay buffer holds: one function offline and on the robot.

Colour is RGB uint8 (H, W, 3); depth is uint16 (H, W) in ticks of `depth_scale_m`, 0 where invalid.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import ObservationError
from ladle.task import CameraConfig


def to_task_size(image: NDArray[np.generic], camera: CameraConfig) -> NDArray[np.generic]:
    """A decoded sensor image -> the size that the task keeps.

    Colour is averaged over areas. Depth takes the nearest pixel: an average over an edge is a depth that nothing has.

    Raises:
        ObservationError: wrong type or number of channels for the camera's kind.
    """
    if camera.kind == "color":
        _expect(image, np.uint8, 3, "RGB uint8 (H, W, 3)")
        interpolation = cv2.INTER_AREA
    else:
        _expect(image, np.uint16, 2, "depth uint16 (H, W)")
        interpolation = cv2.INTER_NEAREST
    if image.shape[:2] == (camera.height_px, camera.width_px):
        return image
    size = (camera.width_px, camera.height_px)
    return np.asarray(cv2.resize(cast(Any, image), size, interpolation=interpolation))


def depth_view(ticks: NDArray[np.uint16], camera: CameraConfig) -> NDArray[np.uint8]:
    """Depth in ticks (...,) -> 8 bit (...,) for people and for the original layout.

    1 at near_m and nearer, 255 at far_m and farther, linear between; 0 where the depth is invalid.
    """
    assert camera.depth_scale_m is not None
    assert camera.near_m is not None
    assert camera.far_m is not None
    return np.take(_view_of_ticks(camera.depth_scale_m, camera.near_m, camera.far_m), ticks)


@lru_cache(maxsize=16)
def _view_of_ticks(depth_scale_m: float, near_m: float, far_m: float) -> NDArray[np.uint8]:
    """The view of each of the 65536 depths: looking it up is several times faster than computing it per pixel."""
    ticks = np.arange(np.iinfo(np.uint16).max + 1, dtype=np.uint16)
    depth_m = ticks.astype(np.float32) * np.float32(depth_scale_m)
    share = np.clip((depth_m - near_m) / (far_m - near_m), 0.0, 1.0)
    view = np.round(1.0 + 254.0 * share).astype(np.uint8)
    return np.where(ticks == 0, np.uint8(0), view)


def _expect(image: NDArray[np.generic], dtype: type[np.generic], dimensions: int, expected: str) -> None:
    if image.dtype != dtype or image.ndim != dimensions or (dimensions == 3 and image.shape[2] != 3):
        raise ObservationError(
            f"expected {expected}, got {image.dtype} of shape {image.shape}; check the topic's encoding"
        )
