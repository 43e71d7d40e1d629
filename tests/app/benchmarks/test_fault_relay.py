"""What a relay does to the messages that pass through it."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from app.benchmarks.fault_relay import Relay
from ladle_nodes.images import stamp, stamp_ns


def forwarded(kind: type, stream: str, commands: list[str], messages: list) -> list:
    """What comes out of a relay that is given these commands first."""
    out: list[bytes] = []
    relay = Relay(stream, kind, out.append)
    for command in commands:
        relay.command(String(data=command))
    for message in messages:
        relay.forward(serialize_message(message))
    return [deserialize_message(serialized, kind) for serialized in out]


def image(number: int) -> Image:
    """A picture and its stamp."""
    message = Image(height=1, width=1, encoding="rgb8", step=3, data=array("B", [number] * 3))
    message.header.stamp = stamp(number * 10**9)
    return message


def test_messages_pass_as_they_are_until_this_stream_is_meant() -> None:
    """Also commands for other streams change nothing, and `pass` ends a fault."""
    clocks = [Clock(clock=stamp(number)) for number in range(3)]
    assert forwarded(Clock, "clock", ["other step 1.0", "clock step 1.0", "clock pass"], clocks) == clocks


def test_pictures_of_a_scene_at_rest_differ_in_a_bit() -> None:
    """As those of a real sensor do; stamps and all other pixels are as they were."""
    out = forwarded(Image, "camera_1", [], [image(8)] * 4)
    assert [list(message.data) for message in out] == [[8, 8, 9], [8, 8, 8]] * 2
    assert {stamp_ns(message.header.stamp) for message in out} == {8 * 10**9}


def test_a_frozen_camera_repeats_its_picture_with_fresh_stamps() -> None:
    """Bytes of the last that passed, times of each."""
    out: list[bytes] = []
    relay = Relay("camera_1", Image, out.append)
    relay.forward(serialize_message(image(8)))
    relay.command(String(data="camera_1 frozen"))
    for number in (9, 10):
        relay.forward(serialize_message(image(number)))
    images = [deserialize_message(serialized, Image) for serialized in out]
    assert [list(message.data) for message in images] == [[8, 8, 9]] * 3
    assert [stamp_ns(message.header.stamp) for message in images] == [8 * 10**9, 9 * 10**9, 10 * 10**9]


def test_joints_lose_their_numbers_and_the_clock_steps() -> None:
    """Names stay; a step may go back."""
    joints = JointState(name=["a", "b"], position=[0.1, 0.2], velocity=[1.0, 2.0])
    (out,) = forwarded(JointState, "joints", ["joints nan"], [joints])
    assert out.name == ["a", "b"]
    assert np.isnan(out.position).all()
    (clock,) = forwarded(Clock, "clock", ["clock step -0.5"], [Clock(clock=stamp(10**9))])
    assert stamp_ns(clock.clock) == 5 * 10**8


def test_loss_takes_the_asked_share() -> None:
    """Of 1000 messages about 800 are left, in order."""
    out = forwarded(Clock, "clock", ["clock loss 0.2"], [Clock(clock=stamp(number)) for number in range(1000)])
    assert len(out) == pytest.approx(800, abs=40)
    times = [stamp_ns(message.clock) for message in out]
    assert times == sorted(times)
