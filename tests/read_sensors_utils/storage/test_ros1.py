"""ROS 1 bags: what is readable is read, whatever has happened to the rest."""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from rosbags.rosbag1 import Reader, Writer
from rosbags.typesys import Stores, get_typestore

from ladle.errors import BagError
from read_sensors_utils.storage import chunked
from read_sensors_utils.storage.message_runs import one_by_one
from read_sensors_utils.storage.opening import open_storage
from read_sensors_utils.storage.records import MessageRun
from read_sensors_utils.storage.ros1 import Ros1Storage
from read_sensors_utils.storage.source import LeftBytes

MAGIC = b"#ROSBAG V2.0\n"
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"none": bytes, "bz2": bz2.compress, "lz4": lz4.frame.compress}
START_NS = 1_700_000_000_000_000_000
COUNT = 60


def record(fields: dict[str, bytes], data: bytes = b"") -> bytes:
    header = b"".join(struct.pack("<I", len(name) + 1 + len(value)) + name.encode() + b"=" + value
                      for name, value in fields.items())
    return struct.pack("<I", len(header)) + header + struct.pack("<I", len(data)) + data


def bag_header(index_pos: int = 0, **more: bytes) -> bytes:
    counts = {"conn_count": bytes(4), "chunk_count": bytes(4)}
    return record({"op": b"\3", "index_pos": struct.pack("<Q", index_pos), **counts, **more}, b" " * 100)


def connection(key: int, topic: str) -> bytes:
    inner = record({"topic": topic.encode(), "type": b"std_msgs/String", "message_definition": b"string data"})
    return record({"op": b"\7", "conn": struct.pack("<I", key), "topic": topic.encode()}, inner[4:-4])


def message(key: int, time_s: int, data: bytes) -> bytes:
    return record({"op": b"\2", "conn": struct.pack("<I", key), "time": struct.pack("<II", time_s, 5)}, data)


def chunk(records: list[bytes], compression: str = "none") -> bytes:
    raw = b"".join(records)
    fields = {"op": b"\5", "compression": compression.encode(), "size": struct.pack("<I", len(raw))}
    return record(fields, COMPRESSORS[compression](raw))


def opened(folder: Path, data: bytes) -> Ros1Storage:
    path = folder / "x.bag"
    path.write_bytes(data)
    return Ros1Storage(path)


def written(folder: Path, compression: str) -> bytes:
    """A bag of COUNT messages in several chunks, by rosbags."""
    path = folder / f"{compression}.bag"
    writer = Writer(path)
    if compression != "none":
        writer.set_compression(getattr(Writer.CompressionFormat, compression.upper()))
    writer.chunk_threshold = 1000
    store = get_typestore(Stores.ROS1_NOETIC)
    with writer:
        places = [writer.add_connection(topic, "std_msgs/msg/String", typestore=store) for topic in ("/a", "/b")]
        for i in range(COUNT):
            writer.write(places[i % 2], START_NS + i // 2, f"message {i} ".encode() * 8)
    return path.read_bytes()


def numbers(storage: Ros1Storage, keys: list[int] | None = None) -> list[int]:
    return [int(bytes(m.data).split()[1]) for m in storage.messages(keys)]


@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_large_messages_can_be_left_in_the_file(tmp_path: Path, monkeypatch, compression: str) -> None:
    """Of a bag without compression; they come in the same order, with the same bytes."""
    monkeypatch.setattr(chunked, "BEGIN_BYTES", 80)
    storage = opened(tmp_path, written(tmp_path, compression))
    [key] = [channel.key for channel in storage.channels if channel.topic == "/a"]
    found = list(storage.messages(None, left=[key]))
    contents = [m.data.read() if isinstance(m.data, LeftBytes) else bytes(m.data) for m in found]
    assert contents == [bytes(m.data) for m in storage.messages()]
    left = {m.channel.key for m in found if isinstance(m.data, LeftBytes)}
    assert left == ({key} if compression == "none" else set())


@pytest.mark.parametrize("left", [[], [1]])
@pytest.mark.parametrize("compression", ["none", "lz4"])
def test_runs_hold_the_same_messages(tmp_path: Path, compression: str, left: list[int]) -> None:
    """Messages of one connection and length that lie side by side come together."""
    path = tmp_path / "runs.bag"
    writer, store = Writer(path), get_typestore(Stores.ROS1_NOETIC)
    if compression != "none":
        writer.set_compression(Writer.CompressionFormat.LZ4)
    writer.chunk_threshold = 2000
    with writer:
        places = [writer.add_connection(topic, "std_msgs/msg/String", typestore=store) for topic in ("/a", "/b")]
        for i in range(60):
            writer.write(places[i % 10 == 9], START_NS + i * 300_000_000, f"message {i:03} ".encode() * (1 + i // 40))
    storage = opened(tmp_path, path.read_bytes())
    [key] = [channel.key for channel in storage.channels if channel.topic == "/a"]
    met = list(storage.messages(None, left, runs=[key]))
    single = [m for item in met for m in one_by_one(item)]
    expected = list(storage.messages())
    assert [(m.channel.key, m.receive_ns, bytes(m.data)) for m in single] == [
        (m.channel.key, m.receive_ns, bytes(m.data)) for m in expected]
    assert sum(isinstance(m.data, MessageRun) for m in met) >= 6
    assert len(met) < 25


@pytest.mark.parametrize("name", [
    "ros1/ros_numpy_images.bag", "ros1/turtlesim_bz2.bag", "ros1/turtlesim_lz4.bag", "ros1/turtlesim_none.bag",
    "broken/ros1/example-unsorted-chunks.bag", "broken/ros1/no-messages.bag", "realsense_sdk/test_rs.bag"])
def test_genuine_files_read_as_rosbags_reads_them(shared_data: Path, name: str) -> None:
    """Same messages, bytes, stamps, types and definitions."""
    path = shared_data / "bags" / name
    reader = Reader(path)
    reader.open()
    expected = [(c.topic, c.msgtype, time_ns, bytes(data)) for c, time_ns, data in reader.messages()]
    storage = open_storage(path)
    assert [(m.channel.topic, m.channel.type_name, m.receive_ns, bytes(m.data)) for m in storage.messages()] == expected
    assert {(c.topic, c.definition) for c in storage.channels} == {(c.topic, c.msgdef.data) for c in reader.connections}
    assert sum(storage.counts.values()) == len(expected)
    assert (storage.start_ns, storage.end_ns) == ((expected[0][2], expected[-1][2]) if expected else (0, 0))
    assert not storage.losses


def test_a_genuine_truncated_file_gives_up_its_part(shared_data: Path) -> None:
    """rosbags refuses it."""
    storage = open_storage(shared_data / "bags" / "broken" / "ros1" / "test_truncated.bag")
    assert len(list(storage.messages())) == 3
    assert storage.losses.reasons == ["the file ends in the middle of a chunk at byte 5992; what is before was read"]


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_all_compressions_indexed_or_not(tmp_path: Path, compression: str) -> None:
    """Without its index, as after a crash, a bag holds the same messages."""
    data = written(tmp_path, compression)
    storage = opened(tmp_path, data)
    assert numbers(storage) == list(range(COUNT))
    assert not storage.losses
    place = data.index(b"index_pos=") + 10
    index_start = int.from_bytes(data[place : place + 8], "little")
    crashed = data[:place] + bytes(8) + data[place + 8 : index_start]
    storage = opened(tmp_path, crashed)
    assert numbers(storage) == list(range(COUNT))
    assert numbers(storage, [storage.channels[1].key]) == list(range(1, COUNT, 2))
    assert [c.type_name for c in storage.channels] == ["std_msgs/msg/String"] * 2
    assert "without an index" in storage.losses.reasons[0]


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_file_cut_anywhere_gives_up_every_whole_chunk(tmp_path: Path, compression: str) -> None:
    """The more of the file there is, the more messages."""
    data = written(tmp_path, compression)
    before = 0
    for cut in range(len(MAGIC), len(data), 61):
        storage = opened(tmp_path, data[:cut])
        found = numbers(storage)
        assert found == list(range(len(found)))
        assert len(found) >= before
        assert storage.losses
        before = len(found)
        storage.close()
    assert before == COUNT


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_the_last_chunk_of_a_recorder_that_died_is_read(tmp_path: Path, compression: str) -> None:
    """Its sizes are still zero, its data stands behind it."""
    raw = b"".join([connection(0, "/a"), *(message(0, i, f"m {i} ".encode() * 9) for i in range(2000))])
    empty = record({"op": b"\5", "compression": compression.encode(), "size": bytes(4)})
    stored = COMPRESSORS[compression](raw)
    data = MAGIC + bag_header() + chunk([connection(1, "/b"), message(1, 0, b"m 0")]) + empty + stored
    found = numbers(opened(tmp_path, data))
    assert found == [0, *range(2000)]


def test_the_part_of_a_cut_compressed_chunk_is_read(tmp_path: Path) -> None:
    """Block by block."""
    records = [connection(0, "/a"), *(message(0, i, f"m {i} ".encode() * 500) for i in range(2000))]
    for compression in ("bz2", "lz4"):
        data = MAGIC + bag_header() + chunk(records, compression)
        storage = opened(tmp_path, data[: len(data) * 4 // 5])
        found = numbers(storage)
        assert 500 < len(found) < 2000
        assert storage.losses.chunks == 1


def test_a_damaged_chunk_costs_its_own_messages_only(tmp_path: Path) -> None:
    """And tells how many."""
    data = bytearray(written(tmp_path, "bz2"))
    place = data.index(b"BZh", data.index(b"BZh") + 1)
    data[place + 20 : place + 30] = bytes(10)
    storage = opened(tmp_path, bytes(data))
    found = numbers(storage)
    assert 0 < len(found) < COUNT
    assert storage.losses.chunks == 1
    assert storage.losses.messages == COUNT - len(found)


def test_a_damaged_chunk_head_is_skipped_by_the_index(tmp_path: Path) -> None:
    """The bag's index knows where the next one begins."""
    data = bytearray(written(tmp_path, "none"))
    second = data.index(b"compression=none", data.index(b"compression=none") + 1)
    data[second - 8 : second + 4] = b"\xff" * 12
    storage = opened(tmp_path, bytes(data))
    found = numbers(storage)
    assert found[0] == 0
    assert found[-1] == COUNT - 1
    assert storage.losses.messages == COUNT - len(found) > 0


@pytest.mark.parametrize(("data", "match"), [
    (b"", "is empty"), (b"#ROSBAG V1.2\n", "'1.2', 2.0 is needed"), (b"#ROSBAG V2", "2.0 is needed"),
    (MAGIC + bag_header(encryptor=b"rosbag/AesCbcEncryptor"), "is encrypted")])
def test_what_cannot_be_read_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    """With the cause and the remedy."""
    path = tmp_path / "x.bag"
    path.write_bytes(data)
    with pytest.raises(BagError, match=match):
        open_storage(path)
