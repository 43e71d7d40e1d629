"""Fast reading of raw images gives what decoding gives, bit for bit, or the message itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from ladle.errors import BagError
from ladle.task import load_task
from read_sensors_utils.decode import decode_image, header_ns
from read_sensors_utils.image_layout import ImageLayout, RawImage

CAMERAS = {"rgb8": load_task("scoop").cameras["camera_1"], "bgr8": load_task("scoop").cameras["camera_1"],
           "16UC1": load_task("scoop").cameras["camera_0"]}


class Topic:
    """Builds and decodes the images of one topic, and counts what was decoded."""

    def __init__(self, *, ros1: bool) -> None:
        self.ros1, self.decoded = ros1, 0
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)

    def raw(self, image: np.ndarray, encoding: str, stamp_ns: int, *, frame_id: str = "camera",
            padding: int = 0) -> bytes:
        types, (sec, nanosec) = self.store.types, divmod(stamp_ns, 1_000_000_000)
        stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        sequence = {"seq": stamp_ns % 1000} if self.ros1 else {}
        rows = image.view(np.uint8).reshape(len(image), -1)
        data = np.pad(rows, ((0, 0), (0, padding))).reshape(-1)
        message = types["sensor_msgs/msg/Image"](
            header=types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **sequence), height=image.shape[0],
            width=image.shape[1], encoding=encoding, is_bigendian=0, step=rows.shape[1] + padding, data=data)
        serialise = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        return bytes(serialise(message, "sensor_msgs/msg/Image"))

    def decode(self, data: Any) -> Any:
        self.decoded += 1
        read = self.store.deserialize_ros1 if self.ros1 else self.store.deserialize_cdr
        try:
            return read(data, "sensor_msgs/msg/Image")
        except Exception as error:
            raise BagError("cannot decode") from error

    def layout(self, encoding: str) -> ImageLayout:
        return ImageLayout(self.decode, lambda message: decode_image(message, CAMERAS[encoding], "/t"))


def read_alike(topic: Topic, layout: ImageLayout, data: bytes, encoding: str) -> bool:
    """Whether it was read without decoding; stamp and image must be what decoding gives."""
    message = topic.decode(data)
    found = layout(memoryview(data))
    if not isinstance(found, RawImage):
        return False
    expected = decode_image(message, CAMERAS[encoding], "/t")
    assert found.stamp_ns == header_ns(message)
    assert found.image.dtype == expected.dtype
    np.testing.assert_array_equal(found.image, expected)
    return True


def picture(rng: np.random.Generator, encoding: str, height: int = 6, width: int = 8) -> np.ndarray:
    if encoding == "16UC1":
        return rng.integers(0, 65536, (height, width), np.uint16)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("ros1", [False, True])
@pytest.mark.parametrize("encoding", ["rgb8", "16UC1"])
def test_images_after_the_first_are_read_without_decoding(ros1, encoding):
    """Only stamp, running number and pixels differ."""
    topic, rng = Topic(ros1=ros1), np.random.default_rng(0)
    layout = topic.layout(encoding)
    read = []
    for n in range(10):
        data = topic.raw(picture(rng, encoding), encoding, 5_000_000_001 + 33_000_000 * n)
        read.append(read_alike(topic, layout, data, encoding))
    assert read == [False] + [True] * 9
    assert topic.decoded == 11


def test_what_is_no_plain_image_is_decoded():
    """Another order of colours (also behind a black image), padded rows, another size or frame."""
    topic, rng = Topic(ros1=False), np.random.default_rng(1)
    for encoding, options in (("bgr8", {}), ("rgb8", {"padding": 4})):
        layout = topic.layout(encoding)
        for n in range(3):
            image = picture(rng, encoding) if n else np.zeros((6, 8, 3), np.uint8)
            assert not read_alike(topic, layout, topic.raw(image, encoding, 10**9 + n, **options), encoding)
    layout = topic.layout("rgb8")
    for n, (height, frame_id) in enumerate(((6, "camera"), (5, "camera"), (6, "another"))):
        data = topic.raw(picture(rng, "rgb8", height), "rgb8", 10**9 + n, frame_id=frame_id)
        assert not read_alike(topic, layout, data, "rgb8")


@settings(max_examples=150, deadline=None)
@given(bit=st.integers(0, 8 * 300 - 1), ros1=st.booleans(), first_ns=st.integers(0, 2**31 * 10**9 - 1))
def test_a_flipped_bit_is_read_as_decoding_reads_it(bit, ros1, first_ns):
    """In the head or in the pixels; also where the first message bore no stamp."""
    topic, rng = Topic(ros1=ros1), np.random.default_rng(2)
    layout = topic.layout("rgb8")
    read_alike(topic, layout, topic.raw(picture(rng, "rgb8"), "rgb8", first_ns), "rgb8")
    broken = bytearray(topic.raw(picture(rng, "rgb8"), "rgb8", 7_000_000_007))
    broken[bit // 8 % len(broken)] ^= 1 << bit % 8
    try:
        read_alike(topic, layout, bytes(broken), "rgb8")
    except BagError:
        with pytest.raises(BagError):
            layout(bytes(broken))
