"""Compressed colour and depth become what the sensor saw, or are refused; depth is never taken for another depth."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import BagError
from ladle.sensor_config import CameraConfig
from ladle.task import load_task
from read_sensors_utils.compressed_images import nearest_coded_m
from read_sensors_utils.decode import decode_image
from read_sensors_utils.streams import find_topics

COLOR = load_task("scoop").cameras["camera_1"]
DEPTH = load_task("scoop").cameras["camera_0"]
RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
TICKS = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
ZEROS = bytes(12)
INVERSE = struct.pack("<iff", 0, 10100.0, -1009.0)


def message(encoding: str, data: bytes) -> SimpleNamespace:
    """A sensor_msgs/CompressedImage."""
    return SimpleNamespace(format=encoding, data=np.frombuffer(data, np.uint8))


def png(pixels: np.ndarray) -> bytes:
    """Pixels as they are; colours in the order of OpenCV."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def encoded(depth_m: np.ndarray, *, depth_max: float = 10.0, depth_quantization: float = 100.0) -> SimpleNamespace:
    """As compressed_depth_image_transport sends an image 32FC1: pixel by pixel in float32, cut to whole numbers."""
    one = np.float32
    z0, most = one(depth_quantization), one(depth_max)
    a = z0 * (z0 + one(1))
    b = one(1) - a / most
    raw = [[int(a / one(z) + b) & 0xFFFF if z < most else 0 for z in row] for row in depth_m]
    return message("32FC1; compressedDepth png", struct.pack("<iff", 0, a, b) + png(np.array(raw, np.uint16)))


def test_colour_is_read_bit_for_bit_from_png():
    """And as RGB."""
    sent = message("rgb8; png compressed bgr8", png(RGB[..., ::-1]))
    np.testing.assert_array_equal(decode_image(sent, COLOR, "/c"), RGB)


@pytest.mark.parametrize(("encoding", "data"), [
    ("16UC1; compressedDepth png", ZEROS + png(TICKS)), ("16UC1; compressedDepth", INVERSE + png(TICKS)),
    ("16UC1", ZEROS + png(TICKS)), ("mono16; compressedDepth png", ZEROS + png(TICKS)),
    ("16UC1; png compressed ", png(TICKS)), ("png", png(TICKS)),
])
def test_ticks_stay_ticks(encoding, data):
    """Of old and new transports; the header's parameters mean nothing for 16-bit depth, and plain PNG has no header."""
    np.testing.assert_array_equal(decode_image(message(encoding, data), DEPTH, "/d"), TICKS)


def test_float_depth_is_brought_back_from_its_inverse():
    """0.3 m is 0.3 m, up to the step of the quantisation; no depth is none, and beyond depth_max there is none."""
    depth_m = np.array([[0.3, 0.5, 2.0], [np.nan, 6.0, np.inf]], np.float32)
    ticks = decode_image(encoded(depth_m), DEPTH, "/d")
    assert ticks.dtype == np.uint16
    np.testing.assert_allclose(ticks, [[3000, 5000, 20000], [0, 60000, 0]], atol=1, rtol=6e-4)
    np.testing.assert_array_equal(ticks[1, [0, 2]], 0)
    assert decode_image(encoded(depth_m, depth_max=1.0), DEPTH, "/d")[0, 2] == 0


@given(depth_m=st.floats(0.16, 6.0), quantization=st.floats(20.0, 100.0), depth_max=st.floats(6.1, 60.0))
@settings(max_examples=100, deadline=None)
def test_every_depth_is_off_by_less_than_one_step(depth_m: float, quantization: float, depth_max: float):
    """One step of raw is depth^2 / a; cutting makes depth larger, never smaller."""
    sent = encoded(np.array([[depth_m]]), depth_max=depth_max, depth_quantization=quantization)
    step_m = depth_m**2 / (quantization * (quantization + 1))
    found_m = float(decode_image(sent, DEPTH, "/d")[0, 0]) * float(DEPTH.depth_scale_m or 0)
    assert -1e-4 <= found_m - depth_m <= 1.05 * step_m / (1 - step_m / depth_m) + 1e-4


@pytest.mark.parametrize(("sent", "camera", "words"), [
    (message("jpeg", bytes(10)), COLOR, "no JPEG"),
    (message("jpeg", b""), COLOR, "no JPEG"),
    (message("16UC1; png compressed ", png(TICKS)), COLOR, "which is depth"),
    (message("png", png(TICKS)), COLOR, "16 bits a channel"),
    (message("bayer_rggb8; png compressed bayer_rggb8", png(RGB[..., 0])), COLOR, "mosaic"),
    (message("rgb8; png compressed bgr8", png(RGB)), DEPTH, "rgb8; png"),
    (message("16SC1; compressedDepth png", ZEROS + png(TICKS)), DEPTH, "16SC1"),
    (message("png", INVERSE + png(TICKS)), DEPTH, "does not say"),
    (message("32FC1; png compressed", png(TICKS)), DEPTH, "lacks the 12 bytes"),
    (message("32FC1; compressedDepth png", struct.pack("<iff", 0, 0.0, 1.0) + png(TICKS)), DEPTH, "a = 0"),
    (message("32FC1; compressedDepth png", struct.pack("<iff", 0, np.nan, 1.0) + png(TICKS)), DEPTH, "a = nan"),
    (message("16UC1; compressedDepth rvl", ZEROS + bytes(100)), DEPTH, "format to png"),
    (message("16UC1; compressedDepth png", ZEROS[:5] + png(TICKS)), DEPTH, "16-bit PNG"),
    (message("16UC1; compressedDepth png", ZEROS + png(RGB)), DEPTH, "16-bit PNG"),
    (message("16UC1; compressedDepth png", b""), DEPTH, "16-bit PNG"),
])
def test_what_cannot_be_known_to_be_right_is_refused(sent, camera: CameraConfig, words: str):
    """One line that names the topic, what came and what to do."""
    with pytest.raises(BagError, match=words) as raised:
        decode_image(sent, camera, "/some/topic")
    assert "/some/topic" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_depth_too_near_for_the_transport_is_warned_about(caplog: pytest.LogCaptureFixture):
    """The encoder cuts 17 bits to 16, so that 0.1 m looks like metres: no decoder can tell, but the range is known."""
    sent = encoded(np.array([[0.1]]))
    assert decode_image(sent, DEPTH, "/d")[0, 0] > 2 * 1000
    task = replace(load_task("scoop"), cameras={"camera_0": DEPTH})
    bag = SimpleNamespace(source=SimpleNamespace(name="rosbag_3"), first=lambda topic: (
        sent if topic == DEPTH.topic else SimpleNamespace(q=np.zeros(7))), has=lambda _: True, topic_list=str)
    caplog.set_level(logging.WARNING)
    find_topics(bag, task)  # pyright: ignore[reportArgumentType]
    assert "rosbag_3" in caplog.text
    assert "below 0.152 m" in caplog.text
    caplog.clear()
    far = replace(DEPTH, near_m=0.2)
    find_topics(bag, replace(task, cameras={"camera_0": far}))  # pyright: ignore[reportArgumentType]
    assert not caplog.text


@pytest.mark.parametrize("sent", [
    message("16UC1; compressedDepth png", INVERSE + png(TICKS)), message("32FC1; compressedDepth png", b"12"),
    message("32FC1; compressedDepth png", struct.pack("<iff", 0, 1.0, 65535.0) + png(TICKS)),
])
def test_no_least_depth_is_told_where_none_is_known(sent):
    """Ticks have none; torn and senseless headers are refused when they are decoded."""
    assert nearest_coded_m(sent) is None
