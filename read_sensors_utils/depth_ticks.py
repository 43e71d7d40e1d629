"""Depth in metres -> ticks of the camera's depth scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.sensor_config import CameraConfig


def ticks_from_metres(depth_m: NDArray[Any], camera: CameraConfig) -> NDArray[np.uint16]:
    """(H, W) metres -> (H, W) ticks. What is not finite, negative or does not fit into 16 bits is invalid, hence 0."""
    assert camera.depth_scale_m is not None
    ticks = np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) / camera.depth_scale_m
    return np.where((ticks < 0) | (ticks > np.iinfo(np.uint16).max), 0, np.rint(ticks)).astype(np.uint16)
