"""Fast reading of joint messages gives what decoding gives, bit for bit, or nothing."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ladle.errors import BagError
from ladle.joints_by_name import Believable
from read_sensors_utils.decode import header_ns, joint_positions
from read_sensors_utils.joint_layout import JointLayouts, JointSample

NESTED_TYPE = "franka_msgs/msg/FrankaRobotState"
NESTED = ("std_msgs/Header header\nuint64 control_time\nfloat64[16] o_t_ee\nfloat32[] torques\nfloat64 load\n"
          "bool in_motion\nsensor_msgs/JointState measured_joint_state\nfloat64[7] q_d\n")
FLAT_TYPE = "ladle_interfaces/msg/FrankaRobotState"
FLAT = "std_msgs/Header header\nfloat64[7] q\nfloat64[7] dq\nfloat64[7] tau_j\nfloat64[16] o_t_ee\n"
NAMES = ("a", "bb", "ccc")


class Topic:
    """Builds, serialises and decodes the messages of one topic."""

    def __init__(self, ros1: bool = False) -> None:
        self.ros1 = ros1
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
        self.store.register(get_types_from_msg(NESTED, NESTED_TYPE))
        self.store.register(get_types_from_msg(FLAT, FLAT_TYPE))
        self.type_name = "sensor_msgs/msg/JointState"
        self.decoded = 0

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        types, (sec, nanosec) = self.store.types, divmod(stamp_ns, 1_000_000_000)
        stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        sequence = {"seq": stamp_ns % 1000} if self.ros1 else {}
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **sequence)

    def joint_state(self, names: list[str], position: np.ndarray, velocity: np.ndarray | None = None,
                    stamp_ns: int = 5, frame_id: str = "base") -> Any:
        velocity = np.zeros(0) if velocity is None else velocity
        return self.store.types["sensor_msgs/msg/JointState"](
            header=self.header(stamp_ns, frame_id), name=names, position=position, velocity=velocity,
            effort=np.zeros(0))

    def raw(self, message: Any) -> bytes:
        serialise = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        return bytes(serialise(message, self.type_name))

    def decode(self, data: Any) -> Any:
        self.decoded += 1
        read = self.store.deserialize_ros1 if self.ros1 else self.store.deserialize_cdr
        try:
            return read(data, self.type_name)
        except (struct.error, UnicodeDecodeError, ValueError, IndexError, SerdeError) as error:
            raise BagError("cannot decode") from error


def layouts_of(topic: Topic, names: tuple[str, ...] = NAMES) -> JointLayouts:
    """A reader of the topic."""
    return JointLayouts(topic.decode, lambda message: joint_positions(message, names))


def read_together(layouts: JointLayouts, messages: list[bytes]) -> list[JointSample | None]:
    """Messages of one length, read as a table."""
    table = np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), -1)
    are_read, stamps_ns, positions_rad = layouts.read_table(table)
    return [JointSample(stamp_ns, tuple(row)) if is_read else None for is_read, stamp_ns, row in
            zip(are_read.tolist(), stamps_ns.tolist(), positions_rad.tolist(), strict=True)]


def agrees(topic: Topic, layouts: JointLayouts, data: bytes, names: tuple[str, ...] = NAMES) -> bool:
    """Whether the message was read without decoding; whatever was read must equal what decoding gives."""
    found = layouts.read(data)
    together = read_together(layouts, [data, data])
    assert together[0] == together[1]
    assert found is None or together[0] == found
    for sample in (found, layouts.read(memoryview(data)), together[0]):
        if sample is not None:
            message = topic.decode(data)
            expected = joint_positions(message, names)
            assert expected is not None
            assert sample[0] == header_ns(message)
            assert np.array(sample[1]).tobytes() == expected.tobytes()
    return found is not None


@pytest.mark.parametrize("ros1", [False, True])
def test_messages_of_one_layout_are_read_without_decoding(ros1):
    """Joints in another order and one too many; after the first message nothing is decoded."""
    topic = Topic(ros1)
    layouts = layouts_of(topic)
    rng = np.random.default_rng(0)
    for n in range(20):
        message = topic.joint_state(["ccc", "finger", "a", "bb"], rng.normal(size=4), rng.normal(size=4), 10**9 * n + n)
        data = topic.raw(message)
        if n == 0:
            layouts.learn(data, message)
        assert agrees(topic, layouts, data)


@pytest.mark.parametrize("ros1", [False, True])
@pytest.mark.parametrize("first", ["zeros", "numbers"])
def test_robot_states_are_read_too(ros1, first):
    """A flat q and a nested joint state, learnt from a message of zeros as well."""
    rng = np.random.default_rng(1)
    topic = Topic(ros1)
    types = topic.store.types

    def numbers(n: int, shape: int) -> np.ndarray:
        return np.zeros(shape) if n == 0 and first == "zeros" else rng.normal(size=shape)

    for type_name in (FLAT_TYPE, NESTED_TYPE):
        topic.type_name, layouts = type_name, layouts_of(topic, tuple("abcdefg"))
        for n in range(5):
            header = topic.header(n * 10**9, "x")
            if type_name == FLAT_TYPE:
                message = types[type_name](header=header, q=numbers(n, 7), dq=numbers(n, 7), tau_j=numbers(n, 7),
                                           o_t_ee=numbers(n, 16))
            else:
                state = topic.joint_state(list("gfedcba"), numbers(n, 7), numbers(n, 7), n + 1)
                message = types[type_name](
                    header=header, control_time=0, o_t_ee=numbers(n, 16), torques=numbers(n, 3).astype(np.float32),
                    load=float(n), in_motion=False, measured_joint_state=state, q_d=numbers(n, 7))
            data = topic.raw(message)
            if n == 0:
                layouts.learn(data, topic.decode(data))
            assert agrees(topic, layouts, data, tuple("abcdefg")), n


def test_other_names_of_the_same_length_are_decoded_in_full():
    """Two publishers take turns, with equally long messages: each is read by its own names."""
    topic = Topic()
    layouts = layouts_of(topic)
    position = np.array([1.0, 2.0, 3.0])
    one, two = (topic.joint_state(names, position) for names in (["a", "bb", "ccc"], ["ccc", "bb", "a"]))
    layouts.learn(topic.raw(one), one)
    assert agrees(topic, layouts, topic.raw(one))
    swapped = topic.raw(topic.joint_state(["b", "aa", "ccc"], np.array([1.0, 2.0, 3.0])))
    assert layouts.read(swapped) is None
    assert not agrees(topic, layouts, topic.raw(two))
    layouts.learn(topic.raw(two), two)
    assert agrees(topic, layouts, topic.raw(two))
    assert agrees(topic, layouts, topic.raw(one))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_left_to_decoding(bad):
    """They are judged by the one rule."""
    topic = Topic()
    layouts = layouts_of(topic)
    good = topic.joint_state(list(NAMES), np.array([1.0, 2.0, 3.0]))
    layouts.learn(topic.raw(good), good)
    assert layouts.read(topic.raw(topic.joint_state(list(NAMES), np.array([1.0, bad, 3.0])))) is None


def test_messages_without_the_joints_teach_nothing():
    """A gripper's messages on the same topic stay the business of decoding."""
    topic = Topic()
    layouts = layouts_of(topic)
    gripper = topic.joint_state(["finger"], np.array([1.0]))
    layouts.learn(topic.raw(gripper), gripper)
    assert layouts.read(topic.raw(gripper)) is None


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ros1=st.booleans())
def test_whatever_comes_is_read_as_decoding_reads_it(data, ros1):
    """Random names, lengths, stamps and values in a row, also cut and with a flipped bit."""
    topic = Topic(ros1)
    layouts = layouts_of(topic)
    doubles = st.floats(width=64)
    for _ in range(data.draw(st.integers(2, 6))):
        extra = data.draw(st.lists(st.text("abc", max_size=3), max_size=2))
        names = data.draw(st.permutations([*NAMES, *extra]))
        position = np.array(data.draw(st.lists(doubles, min_size=len(names), max_size=len(names))))
        width = data.draw(st.sampled_from([0, len(names)]))
        velocity = np.array(data.draw(st.lists(doubles, min_size=width, max_size=width)))
        message = topic.joint_state(names, position, velocity, data.draw(st.integers(0, 2**31 * 10**9 - 1)),
                                    data.draw(st.sampled_from(["", "base"])))
        raw = topic.raw(message)
        agrees(topic, layouts, raw)
        layouts.learn(raw, message)
        agrees(topic, layouts, raw)
        broken = bytearray(raw)
        bit = data.draw(st.integers(0, 8 * len(raw) - 1))
        broken[bit // 8] ^= 1 << bit % 8
        try:
            agrees(topic, layouts, bytes(broken))
        except BagError:
            pytest.fail("a message that cannot be decoded was read")
        assert layouts.read(raw[:-1]) is None or agrees(topic, layouts, raw[:-1])


def test_positions_beyond_belief_are_left_to_the_decoder():
    """The fast way must not take what the slow way refuses; what it learnt serves the messages after it."""
    topic = Topic()
    layouts = JointLayouts(topic.decode, lambda message: joint_positions(message, NAMES),
                           Believable((1.0,) * 3, (2.0,) * 3))
    sound, wrong = (topic.raw(topic.joint_state(list(NAMES), np.array(values))) for values in
                    ([1.1, 1.2, 1.3], [1.1, 99.0, 1.3]))
    layouts(sound)
    assert layouts.read(sound) is not None
    assert layouts.read(wrong) is None
    assert read_together(layouts, [wrong, sound, wrong]) == [None, layouts.read(sound), None]
