"""Messages are decoded by the recording's own definitions, and no damaged length costs time or memory."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import BagError
from read_sensors_utils.message_types import MessageTypes
from read_sensors_utils.storage.records import Channel

CDR_HEAD = b"\x00\x01\x00\x00"
HUGE = struct.pack("<I", 2**32 - 1)
KNOWN = ["sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "nav_msgs/msg/Path",
         "diagnostic_msgs/msg/DiagnosticArray", "visualization_msgs/msg/MarkerArray"]


def channel(definition: str, type_name: str = "pack/msg/Kind", encoding="cdr", kind="msg") -> Channel:
    """A channel of one type."""
    return Channel(1, "/topic", type_name, encoding, definition, kind if definition else "none")


def test_the_recordings_definition_comes_before_the_distributions():
    """std_msgs/String with a number in it."""
    decode = MessageTypes().decoder(channel("int32 data", "std_msgs/msg/String"))
    assert decode(CDR_HEAD + struct.pack("<i", -5)).data == -5


def test_types_of_the_distribution_need_no_definition():
    """Both byte orders; bytes behind the end are ignored."""
    decode = MessageTypes().decoder(channel("", "std_msgs/msg/Int32"))
    assert decode(CDR_HEAD + struct.pack("<i", 7) + b"rest").data == 7
    assert decode(memoryview(b"\x00\x00\x00\x00" + struct.pack(">i", 7))).data == 7


def test_a_definition_that_cannot_be_parsed_gives_way_to_the_distributions():
    """Damage in a schema costs nothing where the type is known, else it is named."""
    assert MessageTypes().decoder(channel("int32 )data", "std_msgs/msg/Int32"))(CDR_HEAD + bytes(4)).data == 0
    with pytest.raises(BagError, match="pack/msg/Kind has a definition in the recording that cannot be parsed"):
        MessageTypes().decoder(channel("int32 )data"))


@pytest.mark.parametrize("layout", ["pack/msg", "deep/down/pack/msg", "pack"])
def test_definitions_can_be_given(tmp_path, layout):
    """Kinds of one package name each other without the package."""
    folder = tmp_path / layout
    folder.mkdir(parents=True)
    (folder / "Part.msg").write_text("float64 x\n")
    (folder / "Kind.msg").write_text("Part[2] parts\nstd_msgs/Int32 number\n")
    decode = MessageTypes([tmp_path]).decoder(channel(""))
    message = decode(CDR_HEAD + struct.pack("<ddi", 1.0, 2.0, 3))
    assert [part.x for part in message.parts] == [1.0, 2.0]
    assert message.number.data == 3


def test_what_is_missing_is_named(tmp_path):
    """The remedy is in the message."""
    with pytest.raises(BagError, match=r"pack/msg/Kind is not defined in the recording; give its \.msg file"):
        MessageTypes().decoder(channel(""))
    with pytest.raises(BagError, match="pack/msg/Other, which pack/msg/Kind needs, is not defined"):
        MessageTypes().decoder(channel("Other other"))
    with pytest.raises(BagError, match="no message definition at"):
        MessageTypes([tmp_path])


@pytest.mark.parametrize("encoding", ["cdr", "ros1"])
@pytest.mark.parametrize("field", ["string[] a", "float64[] a", "uint8[] a", "geometry_msgs/Point[] a", "string a",
                                   "std_msgs/String[] a", "std_msgs/ColorRGBA[] a"])
def test_a_damaged_length_is_refused_at_once(encoding, field):
    """Four thousand million elements in eight bytes."""
    decode = MessageTypes().decoder(channel(field, encoding=encoding))
    with pytest.raises(BagError, match="cannot be read as pack/msg/Kind"):
        decode((CDR_HEAD if encoding == "cdr" else b"") + HUGE + bytes(8))


def test_lists_of_messages_without_content_cannot_run_away():
    """In ROS 1 they take no bytes; in ROS 2 one byte each."""
    with pytest.raises(BagError, match="list of messages without content"):
        MessageTypes().decoder(channel("std_msgs/Empty[] a", encoding="ros1"))
    with pytest.raises(BagError, match="list of messages without content"):
        MessageTypes().decoder(channel("Outer[] a\n" + "=" * 80 + "\nMSG: pack/Outer\nstd_msgs/Empty inner\n",
                                       encoding="ros1"))
    with pytest.raises(BagError, match="cannot be read as"):
        MessageTypes().decoder(channel("std_msgs/Empty[] a"))(CDR_HEAD + HUGE + bytes(8))


@pytest.mark.parametrize("definition", ["std_msgs/Header[4000000000] a", "string[4000000000] a", "Kind a", "Kind[] a"])
def test_definitions_that_explode_are_refused(definition):
    """Types that hold themselves, or arrays for which no memory would do."""
    with pytest.raises(BagError, match="pack/msg/Kind"):
        MessageTypes().decoder(channel(definition))(CDR_HEAD + bytes(8))


def test_types_without_fields_are_read():
    """std_msgs/Empty of a definition with no line."""
    for encoding in ("cdr", "ros1"):
        nothing = Channel(1, "/topic", "pack/msg/Nothing", encoding, "int32 NAME=3\n", "msg")
        assert MessageTypes().decoder(nothing)(CDR_HEAD + b"\x00") is not None


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x07\x00\x00" + bytes(8), b"\xff\x01\x00\x00" + bytes(8)])
def test_other_ways_of_serialising_are_refused(data):
    """Parameter lists and XCDR2 would be read as nonsense."""
    with pytest.raises(BagError, match="not how CDR begins"):
        MessageTypes().decoder(channel("", "std_msgs/msg/Int32"))(data)


TYPES = MessageTypes()


@settings(deadline=None)
@given(name=st.sampled_from(KNOWN), encoding=st.sampled_from(["cdr", "ros1"]), body=st.binary(max_size=300))
def test_any_bytes_give_a_message_or_a_bag_error(name, encoding, body):
    """Nothing else comes out of random bytes."""
    decode = TYPES.decoder(channel("", name, encoding))
    with contextlib.suppress(BagError):
        assert decode(CDR_HEAD + body) is not None


def test_arrays_are_not_copied():
    """An image of 900 kB is a view of what was read."""
    decode = MessageTypes().decoder(channel("uint8[] a"))
    data = bytearray(CDR_HEAD + struct.pack("<I", 4) + b"\x01\x02\x03\x04")
    message = decode(data)
    data[-1] = 9
    assert np.array_equal(message.a, [1, 2, 3, 9])


def test_the_products_own_types_are_known_from_a_checkout():
    """Recordings of the arm's state in db3 carry no definitions before Iron."""
    if not (Path(__file__).parents[2] / "ros2_ws/src/ladle_interfaces").is_dir():
        pytest.skip("no ros2_ws beside the package")
    assert MessageTypes().decoder(channel("", "ladle_interfaces/msg/FrankaRobotState")) is not None
