"""The looked-up view of depth equals the computed one for every depth there is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ladle.images import depth_view
from ladle.task import load_task


@pytest.mark.parametrize(("scale_m", "near_m", "far_m"), [(0.0001, 0.05, 0.8), (0.001, 0.0, 10.0), (0.00025, 0.3, 3.7)])
def test_every_depth_has_the_view_of_the_formula(scale_m, near_m, far_m):
    """1 at near and nearer, 255 at far and farther, linear between, 0 where invalid; all 65536 depths."""
    camera = dataclasses.replace(load_task("scoop").cameras["camera_0"], depth_scale_m=scale_m, near_m=near_m,
                                 far_m=far_m)
    ticks = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    depth_m = ticks.astype(np.float32) * np.float32(scale_m)
    share = np.clip((depth_m - near_m) / (far_m - near_m), 0.0, 1.0)
    expected = np.where(ticks == 0, 0, np.round(1.0 + 254.0 * share)).astype(np.uint8)
    view = depth_view(ticks, camera)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, expected)
