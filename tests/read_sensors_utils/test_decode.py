"""Messages become arrays, whatever the encoding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ladle.errors import BagError
from ladle.joints_by_name import BEYOND_LIMIT_RAD, Believable, believable_positions
from ladle.sensor_config import CameraConfig
from ladle.task import load_task
from read_sensors_utils.decode import decode_image, joint_positions, why_no_joints

COLOR = load_task("scoop").cameras["camera_1"]
DEPTH = load_task("scoop").cameras["camera_0"]
NAN = float("nan")
JOINT_NAMES = [f"panda_joint{n}" for n in range(1, 8)]
RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def image(pixels: np.ndarray, encoding: str, *, padding: int = 0, big_endian: bool = False) -> SimpleNamespace:
    """A sensor_msgs/Image whose rows end in `padding` bytes."""
    rows = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">")) if big_endian else pixels)
    rows = rows.view(np.uint8).reshape(pixels.shape[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)))
    return SimpleNamespace(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1], step=data.shape[1],
                           is_bigendian=int(big_endian), data=data.reshape(-1))


@pytest.mark.parametrize(("pixels", "encoding"), [
    (RGB, "rgb8"), (RGB[..., ::-1], "bgr8"), (np.dstack([RGB, RGB[..., :1]]), "rgba8"),
    (np.dstack([RGB[..., ::-1], RGB[..., :1]]), "bgra8"),
])
@pytest.mark.parametrize("padding", [0, 5])
def test_colour_becomes_rgb(pixels, encoding, padding):
    """Channel order, alpha and padded rows are undone."""
    np.testing.assert_array_equal(decode_image(image(pixels, encoding, padding=padding), COLOR, "/c"), RGB)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_depth_keeps_its_ticks(encoding, big_endian):
    """16 bits, either byte order."""
    ticks = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    decoded = decode_image(image(ticks, encoding, padding=4, big_endian=big_endian), DEPTH, "/d")
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, ticks)


def test_depth_in_metres_becomes_ticks():
    """Not a number, negative and out of range are invalid, hence 0."""
    depth_m = np.array([[0.5, np.nan, -1.0], [np.inf, 7.0, 0.00012]], np.float32)
    decoded = decode_image(image(depth_m, "32FC1"), DEPTH, "/d")
    np.testing.assert_array_equal(decoded, [[5000, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize(("message", "camera", "words"), [
    (image(RGB, "bayer_rggb8"), COLOR, "bayer_rggb8"),
    (image(RGB, "rgb8"), DEPTH, "rgb8"),
    (SimpleNamespace(encoding="rgb8", height=4, width=6, step=18, is_bigendian=0, data=np.zeros(10, np.uint8)), COLOR,
     "10 bytes"),
])
def test_what_is_no_such_image_is_refused(message, camera: CameraConfig, words):
    """The message names the topic and what was found."""
    with pytest.raises(BagError, match=words) as raised:
        decode_image(message, camera, "/some/topic")
    assert "/some/topic" in str(raised.value)


def joint_state(names: list[str], position: list[float]) -> SimpleNamespace:
    """A sensor_msgs/JointState."""
    return SimpleNamespace(name=names, position=np.array(position))


def test_joints_are_found_by_name_from_every_kind_of_message():
    """JointState in any order with others between, franka's nested state, and a flat q."""
    names = ("a", "b")
    np.testing.assert_array_equal(joint_positions(joint_state(["b", "x", "a"], [2, 9, 1]), names), [1, 2])
    nested = SimpleNamespace(measured_joint_state=joint_state(["b", "a"], [2, 1]))
    np.testing.assert_array_equal(joint_positions(nested, names), [1, 2])
    unnamed = SimpleNamespace(measured_joint_state=joint_state([], [1, 2]))
    np.testing.assert_array_equal(joint_positions(unnamed, names), [1, 2])
    np.testing.assert_array_equal(joint_positions(SimpleNamespace(q=[1.0, 2.0]), names), [1, 2])


@pytest.mark.parametrize("message", [
    joint_state(["a"], [1]), joint_state([], [1, 2]), joint_state(["a", "b"], [1]), joint_state(["a", "b"], [1, NAN]),
    joint_state(["a", "b", "a"], [1, 2, 99]), joint_state(["", ""], [1, 2]),
    SimpleNamespace(q=[1.0, 2.0, 3.0]), SimpleNamespace(measured_joint_state=joint_state(["c", "d"], [1, 2])),
])
def test_a_message_without_all_joints_is_not_used(message):
    """Missing names, short positions, numbers that are not finite."""
    assert joint_positions(message, ("a", "b")) is None


@pytest.mark.parametrize(("message", "words"), [
    (joint_state(["a", "b", "a"], [1, 2, 99]), "names a more than once"),
    (joint_state(["b", "a"], [-3.6, 1]), "more than 0.5 rad beyond the task's limits: b -3.600 rad"),
    (SimpleNamespace(q=[99.0, 1.0]), "a 99.000 rad"),
    (SimpleNamespace(measured_joint_state=joint_state([], [NAN, 1.0])), "not finite: a nan"),
    (SimpleNamespace(measured_joint_state=joint_state(["", ""], [9.0, 1.0])), "a 9.000 rad"),
])
def test_positions_that_cannot_be_are_not_used(message, words):
    """Twice the same joint, or farther beyond the limits than any arm gets."""
    believable = Believable((-3.5, -3.5), (3.5, 3.5))
    assert joint_positions(message, ("a", "b"), believable=believable) is None
    assert words in why_no_joints(message, ("a", "b"), believable)


def test_a_joint_a_little_beyond_its_limit_is_used():
    """Calibrations differ; the arm is where it says."""
    limits = load_task("scoop").limits
    assert limits is not None
    beyond = [high + BEYOND_LIMIT_RAD for high in limits.position_upper_rad]
    assert joint_positions(SimpleNamespace(q=beyond), JOINT_NAMES, believable=believable_positions(limits)) is not None
    beyond[3] += 0.01
    assert joint_positions(SimpleNamespace(q=beyond), JOINT_NAMES, believable=believable_positions(limits)) is None
