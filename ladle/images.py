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
from ladle.sensor_config import CameraConfig

MAX_SUMMED_ROWS = 257  # so many bytes of 255 fit into 16 bits


def to_task_size(image: NDArray[np.generic], camera: CameraConfig) -> NDArray[np.generic]:
    """A decoded sensor image -> the size that the task keeps.

    Colour is averaged over areas. Depth takes the nearest pixel: an average over an edge is a depth that nothing has.

    Raises:
        ObservationError: wrong type or number of channels for the camera's kind.
    """
    if camera.kind == "color":
        _expect(image, np.uint8, 3, "RGB uint8 (H, W, 3)")
    else:
        _expect(image, np.uint16, 2, "depth uint16 (H, W)")
    if image.shape[:2] == (camera.height_px, camera.width_px):
        return image
    size_px = (camera.width_px, camera.height_px)
    if camera.kind == "color":
        return area_average(cast("NDArray[np.uint8]", image), size_px)
    return np.asarray(cv2.resize(cast(Any, image), size_px, interpolation=cv2.INTER_NEAREST))


def area_average(image: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (height, width, 3) for size_px (width, height): each pixel is the mean over the area it covers.

    OpenCV's average, in half of its time where whole rows become one: they are summed before the columns are.
    """
    n_rows, rest = divmod(image.shape[0], size_px[1])
    # OpenCV is fast itself where whole columns become one as well.
    if rest or not 2 <= n_rows <= MAX_SUMMED_ROWS or image.shape[1] % size_px[0] == 0:
        return np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA), np.uint8)
    rows = image.reshape(size_px[1], n_rows, -1)
    sums = np.add(rows[:, 0], rows[:, 1], dtype=np.uint16)
    for n in range(2, n_rows):
        sums += rows[:, n]
    narrow = cv2.resize(sums.reshape(size_px[1], -1, 3).astype(np.float32), size_px, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.convertScaleAbs(narrow, alpha=1 / n_rows), np.uint8)


def depth_view(ticks: NDArray[np.uint16], camera: CameraConfig) -> NDArray[np.uint8]:
    """Depth in ticks (...,) -> 8 bit (...,) for people and for the original layout.

    1 at near_m and nearer, 255 at far_m and farther, linear between; 0 where the depth is invalid.
    """
    assert camera.depth_scale_m is not None
    assert camera.near_m is not None
    assert camera.far_m is not None
    return np.take(_view_of_ticks(camera.depth_scale_m, camera.near_m, camera.far_m), ticks)


def depth_view_rgb(ticks: NDArray[np.uint16], camera: CameraConfig) -> NDArray[np.uint8]:
    """(N, H, W) ticks -> (N, H, W, 3): the view three times, as the replay buffer has it."""
    view = depth_view(ticks, camera)
    rgb = cv2.cvtColor(view.reshape(-1, view.shape[-1]), cv2.COLOR_GRAY2RGB)  # a tenth of np.repeat's time
    return np.asarray(rgb, np.uint8).reshape(*view.shape, 3)


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
