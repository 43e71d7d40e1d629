"""The average over areas is OpenCV's, whichever way it is computed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.images import area_average


@pytest.mark.parametrize("size_px", [(240, 120), (96, 96), (320, 240), (213, 160), (84, 120), (640, 120)])
def test_it_equals_opencv_on_a_camera_image(size_px):
    """Sums of whole rows, whole columns as well, or neither; the scoop task's size to the last bit."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    expected = cv2.resize(image, size_px, interpolation=cv2.INTER_AREA)
    found = area_average(image, size_px)
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= (0 if size_px == (240, 120) else 1)
    assert np.mean(difference > 0) < 0.01


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 12), rows=st.integers(1, 5), width=st.integers(1, 40), narrow=st.integers(1, 40),
       seed=st.integers(0, 99))
def test_any_size_differs_by_rounding_alone(height, rows, width, narrow, seed):
    """At most one grey level, and the mean of the image is kept."""
    narrow = min(narrow, width)
    image = np.random.default_rng(seed).integers(0, 256, (height * rows, width, 3), np.uint8)
    expected = cv2.resize(image, (narrow, height), interpolation=cv2.INTER_AREA)
    assert np.abs(area_average(image, (narrow, height)).astype(int) - expected).max() <= 1
