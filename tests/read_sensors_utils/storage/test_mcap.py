"""mcap: what is readable is read, whatever has happened to the rest."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2.storage_mcap import McapReader

from ladle.errors import BagError
from read_sensors_utils.storage import chunked, scan
from read_sensors_utils.storage.mcap import McapStorage
from read_sensors_utils.storage.message_runs import one_by_one
from read_sensors_utils.storage.opening import open_storage
from read_sensors_utils.storage.records import MessageRun
from read_sensors_utils.storage.source import LeftBytes

MAGIC = b"\x89MCAP0\r\n"
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "zstd": zstd.compress, "lz4": lz4.frame.compress}
ROWS = [(1, 10), (2, 11), (1, 20), (2, 20), (1, 30), (2, 31), (1, 40), (2, 41)]


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def record(opcode: int, payload: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(payload)) + payload


def schema(key: int, name: str, encoding: str = "ros2msg", definition: str = "string data") -> bytes:
    return record(3, struct.pack("<H", key) + text(name) + text(encoding) + text(definition))


def channel(key: int, schema_key: int, topic: str, encoding: str = "cdr") -> bytes:
    return record(4, struct.pack("<HH", key, schema_key) + text(topic) + text(encoding) + struct.pack("<I", 0))


def message(key: int, time_ns: int, data: bytes | None = None) -> bytes:
    data = payload(key, time_ns) if data is None else data
    return record(5, struct.pack("<HIQQ", key, 0, time_ns, time_ns) + data)


def payload(key: int, time_ns: int) -> bytes:
    return f"{key} at {time_ns} ".encode() * 20


def chunk(records: list[bytes], compression: str = "", *, crc: int | None = None, index: bool = True,
          shift_ns: int = 0, times: int = 1) -> bytes:
    """A chunk with its message index, which may lie: stamps shifted by shift_ns, each message named several times."""
    raw = b"".join(records)
    stored = COMPRESSORS[compression](raw)
    head = struct.pack("<QQQI", 0, 0, len(raw), zlib.crc32(raw) if crc is None else crc)
    parts = [record(6, head + text(compression) + struct.pack("<Q", len(stored)) + stored)]
    places: dict[int, list[bytes]] = {}
    offset = 0
    for item in records:
        if item[0] == 5:
            key, _, time_ns = struct.unpack_from("<HIQ", item, 9)
            places.setdefault(key, []).extend([struct.pack("<QQ", time_ns + shift_ns, offset)] * times)
        offset += len(item)
    for key, entries in places.items() if index else ():
        parts.append(record(7, struct.pack("<HI", key, 16 * len(entries)) + b"".join(entries)))
    return b"".join(parts)


DECLARED = [schema(1, "std_msgs/String"), channel(1, 1, "/a"), channel(2, 1, "/b")]
START = MAGIC + record(1, text("") + text("test"))
END = record(2, bytes(20)) + MAGIC
MESSAGES = [message(*row) for row in ROWS]


def two_chunks(compression: str = "", *, index: bool = True) -> bytes:
    return (START + chunk([*DECLARED, *MESSAGES[:4]], compression, index=index)
            + chunk(MESSAGES[4:], compression, index=index))


def opened(folder: Path, data: bytes) -> McapStorage:
    path = folder / "x.mcap"
    path.write_bytes(data)
    return McapStorage(path)


def rows(storage: McapStorage, keys: list[int] | None = None) -> list[tuple[int, int]]:
    found = list(storage.messages(keys))
    assert all(bytes(m.data) == payload(m.channel.key, m.receive_ns) for m in found)
    return [(m.channel.key, m.receive_ns) for m in found]


@pytest.mark.parametrize("name", [
    "ros2_mcap/rerun_all_sensor_msgs/rosbag2_2025_09_10-13_03_56_0.mcap",
    "ros2_mcap/rosbag2_upstream/talker/talker.mcap",
    "broken/ros2_mcap/service_events/bag_with_topics_and_service_events.mcap", "broken/ros2_mcap/bad_cdr_payload.mcap"])
def test_genuine_files_read_as_rosbags_reads_them(shared_data: Path, name: str) -> None:
    """Same messages, bytes, stamps, types and definitions."""
    path = shared_data / "bags" / name
    reader = McapReader(path)
    reader.open()
    expected = [(c.topic, c.msgtype, time_ns, bytes(data)) for c, time_ns, data in reader.messages(reader.connections)]
    storage = open_storage(path)
    assert [(m.channel.topic, m.channel.type_name, m.receive_ns, bytes(m.data)) for m in storage.messages()] == expected
    assert {(c.topic, c.definition) for c in storage.channels} == {(c.topic, c.msgdef.data) for c in reader.connections}
    assert sum(storage.counts.values()) == len(expected)
    assert (storage.start_ns, storage.end_ns) == (expected[0][2], expected[-1][2])
    assert not storage.losses


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("index", [True, False])
def test_all_compressions_with_and_without_an_index(tmp_path: Path, compression: str, index: bool) -> None:
    """Equal stamps keep the order of the file; one channel can be had alone."""
    storage = opened(tmp_path, two_chunks(compression, index=index) + END)
    assert rows(storage) == ROWS
    assert rows(storage, [2]) == [row for row in ROWS if row[0] == 2]
    assert storage.counts == {1: 4, 2: 4}
    assert not storage.losses
    assert [c.type_name for c in storage.channels] == ["std_msgs/msg/String"] * 2


def test_messages_outside_of_chunks_and_between_them(tmp_path: Path) -> None:
    """Also a large one among small ones."""
    large = bytes(200_000)
    data = START + b"".join(DECLARED) + message(1, 1) + message(2, 2, large) + chunk([message(1, 3)]) + message(2, 4)
    storage = opened(tmp_path, data + END)
    found = list(storage.messages())
    assert [m.receive_ns for m in found] == [1, 2, 3, 4]
    assert bytes(found[1].data) == large
    assert bytes(found[3].data) == payload(2, 4)


def test_small_messages_outside_of_chunks_do_not_cost_the_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does a record between them confuse their places."""
    large, between = message(2, 2, bytes(200_000)), record(12, b"metadata")
    storage = opened(tmp_path, START + b"".join(DECLARED) + message(1, 1) + between + message(1, 2) + large
                     + message(1, 3) + large + END)
    read, sizes = storage.file.read, list[int]()

    def counted(offset: int, size: int) -> bytes:
        sizes.append(size)
        return read(offset, size)

    monkeypatch.setattr(storage.file, "read", counted)
    assert rows(storage, [1]) == [(1, 1), (1, 2), (1, 3)]
    assert sum(sizes) == 3 * len(message(1, 1))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A chunk is let go after its last message."""
    large = bytes(1 << 20)
    chunks = [chunk([message(1, i, large)]) for i in range(30)]
    storage = opened(tmp_path, START + b"".join(DECLARED) + b"".join(chunks) + END)
    tracemalloc.start()
    assert sum(len(m.data) for m in storage.messages()) == 30 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_chunks_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    """Overlapping chunks are merged by stamp, and the steps back of each topic are counted."""
    data = START + chunk([*DECLARED, message(1, 50), message(2, 60)]) + chunk([message(1, 40), message(2, 60)])
    storage = opened(tmp_path, data + END)
    assert rows(storage) == [(1, 40), (1, 50), (2, 60), (2, 60)]
    assert storage.backsteps == {1: 1, 2: 0}
    assert (storage.start_ns, storage.end_ns) == (40, 60)


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_file_cut_anywhere_gives_up_every_whole_message_in_its_chunks(tmp_path: Path, compression: str) -> None:
    """Never fewer messages than whole chunks hold; uncompressed, never fewer than are whole."""
    data = two_chunks(compression)
    first = len(START) + len(chunk([*DECLARED, *(message(*row) for row in ROWS[:4])], compression, index=False))
    got_part = False
    for cut in range(len(MAGIC), len(data)):
        storage = opened(tmp_path, data[:cut])
        found = rows(storage)
        assert found == ROWS[: len(found)]
        assert storage.losses
        assert len(found) >= (4 if cut >= first else 0)
        got_part |= 4 < len(found) < 8
        whole = sum(cut >= data.index(payload(*row)) + len(payload(*row)) for row in ROWS) if not compression else 0
        assert len(found) >= whole
        storage.close()
    assert got_part or compression  # so little compressed data is one block, all or nothing


def test_a_cut_compressed_chunk_gives_up_its_blocks(tmp_path: Path) -> None:
    """A large chunk's readable part is more than nothing."""
    noise = [random.Random(i).randbytes(50_000) for i in range(40)]
    for compression in ("zstd", "lz4"):
        data = START + chunk([*DECLARED, *(message(1, i, noise[i]) for i in range(40))], compression)
        storage = opened(tmp_path, data[: len(data) // 2])
        found = list(storage.messages())
        assert 15 <= len(found) <= 20
        assert all(bytes(m.data) == noise[m.receive_ns] for m in found)
        assert storage.losses.chunks == 1
        assert "ends in the middle of a chunk at byte" in storage.losses.reasons[0]


def test_a_chunk_with_a_wrong_checksum_is_left_out(tmp_path: Path) -> None:
    """It is counted with its messages, once, and the others are read."""
    data = START + chunk([*DECLARED, *MESSAGES[:4]]) + chunk(MESSAGES[4:6], crc=1) + chunk(MESSAGES[6:])
    storage = opened(tmp_path, data + END)
    assert rows(storage) == rows(storage) == [*ROWS[:4], *ROWS[6:]]
    assert (storage.losses.chunks, storage.losses.messages) == (1, 2)
    assert "checksum" in storage.losses.reasons[0]


def test_an_index_that_lies_is_not_believed(tmp_path: Path) -> None:
    """The chunks are walked instead, nothing is lost or given twice."""
    for lie in (chunk(MESSAGES[4:], shift_ns=1), chunk(MESSAGES[4:], times=2)):
        data = START + chunk([*DECLARED, *MESSAGES[:4]]) + lie + END
        assert rows(opened(tmp_path, data)) == ROWS


def test_a_damaged_record_length_costs_that_record_only(tmp_path: Path) -> None:
    """The chunk's own length leads past it."""
    data = bytearray(two_chunks() + END)
    struct.pack_into("<Q", data, len(START) + 1, 2**60)
    assert rows(opened(tmp_path, bytes(data))) == ROWS


def test_strange_schemas_and_encodings_do_not_cost_the_file(tmp_path: Path) -> None:
    """They stay as channels without a definition."""
    data = (START + schema(1, "a.B", "protobuf", "\0") + schema(2, "std_msgs/String", "ros1msg")
            + channel(1, 1, "/p", "protobuf") + channel(2, 2, "/r", "ros1") + channel(3, 0, "/n")
            + channel(4, 77, "/lost") + b"".join(message(key, key) for key in (1, 2, 3, 4)) + END)
    storage = opened(tmp_path, data)
    kinds = {c.topic: (c.type_name, c.encoding, c.definition_format) for c in storage.channels}
    assert kinds == {"/p": ("a.B (protobuf)", "cdr", "none"), "/r": ("std_msgs/msg/String", "ros1", "msg"),
                     "/n": ("", "cdr", "none"), "/lost": ("", "cdr", "none")}
    assert len(list(storage.messages())) == 4


def test_messages_of_undeclared_channels_are_counted(tmp_path: Path) -> None:
    """Nobody can say what they are."""
    storage = opened(tmp_path, START + b"".join(DECLARED) + message(1, 1) + message(9, 2) + END)
    assert rows(storage) == [(1, 1)]
    assert storage.losses.messages == 1


def test_a_chunk_that_claims_to_be_huge_allocates_nothing(tmp_path: Path) -> None:
    """Lengths of 2**60 and bombs are refused by their numbers."""
    bomb = zstd.compress(bytes(1 << 24))
    for raw, stored, kind in ((2**60, bomb, "zstd"), (1 << 29, bomb[:50], "zstd"), (2**60, message(1, 9), "")):
        body = struct.pack("<QQQI", 0, 0, raw, 0) + text(kind) + struct.pack("<Q", len(stored)) + stored
        storage = opened(tmp_path, START + b"".join(DECLARED) + record(6, body) + message(1, 5) + END)
        assert rows(storage) == [(1, 5)]
        assert storage.losses.chunks == 1


def test_a_chunk_is_not_read_for_channels_that_it_does_not_hold(tmp_path: Path) -> None:
    """Damage in a chunk that is not wanted goes unseen."""
    storage = opened(tmp_path, START + chunk([*DECLARED, message(1, 1)]) + chunk([message(2, 2)], crc=1) + END)
    assert rows(storage, [1]) == [(1, 1)]
    assert not storage.losses


@pytest.mark.parametrize("begin_bytes", [8, 64, 1024])
@pytest.mark.parametrize("kind", ["plain", "no index", "loose", "checksum", "zstd", "cut"])
def test_large_messages_can_be_left_in_the_file(tmp_path: Path, monkeypatch, kind: str, begin_bytes: int) -> None:
    """Where each can be read by itself; all messages are the same, in the same order, however they are stored."""
    monkeypatch.setattr(chunked, "BEGIN_BYTES", begin_bytes)
    whole = chunk([*DECLARED, *MESSAGES], "zstd" if kind == "zstd" else "", crc=None if kind == "checksum" else 0,
                  index=kind != "no index")
    data = START + (b"".join([*DECLARED, *MESSAGES]) if kind == "loose" else whole)
    storage = opened(tmp_path, data[:-400] if kind == "cut" else data + END)
    found = list(storage.messages(None, left=[1]))
    contents = [m.data.read() if isinstance(m.data, LeftBytes) else bytes(m.data) for m in found]
    assert [(m.channel.key, m.receive_ns) for m in found] == rows(storage)
    assert contents == [payload(m.channel.key, m.receive_ns) for m in found]
    left = [m.channel.key for m in found if isinstance(m.data, LeftBytes)]
    stays = kind in ("plain", "no index", "loose") and begin_bytes == 64  # 8: no record's head, 1024: all of it
    assert left == ([key for key, _ in rows(storage) if key == 1] if stays else [])


@pytest.mark.parametrize("left", [[], [2]])
@pytest.mark.parametrize("kind", ["plain", "no index", "loose", "zstd", "cut"])
def test_runs_hold_the_same_messages(tmp_path: Path, kind: str, left: list[int]) -> None:
    """Messages of one channel and length that lie side by side come together, whatever is around them."""
    times = [(1, 2), (1, 3), (1, 4), (2, 5), (1, 6), (1, 7), (2, 8), (1, 9)]
    records = [*DECLARED, *(message(key, time_ns, bytes([time_ns]) * 40) for key, time_ns in times),
               message(1, 10, b"longer than the others before it was"), message(1, 11, b"x")]
    whole = chunk(records, "zstd" if kind == "zstd" else "", index=kind != "no index")
    data = START + (b"".join(records) if kind == "loose" else whole)
    storage = opened(tmp_path, data[:-20] if kind == "cut" else data + END)
    met = list(storage.messages(None, left, runs=[1]))
    single = [m for item in met for m in one_by_one(item)]
    expected = list(storage.messages())
    assert [(m.channel.key, m.receive_ns, bytes(m.data)) for m in single] == [
        (m.channel.key, m.receive_ns, bytes(m.data)) for m in expected]
    assert [len(m.data.receive_ns) for m in met if isinstance(m.data, MessageRun)] == [3, 2]


def test_an_index_with_a_wrong_stamp_is_noticed_in_a_run(tmp_path: Path) -> None:
    """The record says when it was received, and the file is walked."""
    records = [message(1, n, b"abcd") for n in range(1, 6)]
    data = START + chunk([*DECLARED, *records]) + END
    place = data.rindex((3).to_bytes(8, "little"))  # in the index behind the chunk
    storage = opened(tmp_path, data[:place] + (9).to_bytes(8, "little") + data[place + 8 :])
    single = [m for item in storage.messages(None, runs=[1]) for m in one_by_one(item)]
    assert [m.receive_ns for m in single] == [1, 2, 3, 4, 5]


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    """In one line."""
    storage = opened(tmp_path, two_chunks() + END)
    with (tmp_path / "x.mcap").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(BagError, match="became shorter while it was read"):
        list(storage.messages())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 30)), max_size=6), max_size=6),
       st.lists(st.sampled_from(["chunk", "zstd", "no index", "loose"]), min_size=6, max_size=6))
def test_any_layout_comes_out_sorted_and_stable(
    tmp_path: Path, groups: list[list[tuple[int, int]]], kinds: list[str]
) -> None:
    """Chunks of all kinds in any order of time."""
    parts = [START, *DECLARED]
    for group, kind in zip(groups, kinds, strict=False):
        messages = [message(*row) for row in group]
        whole = chunk(messages, "zstd" if kind == "zstd" else "", index=kind != "no index")
        parts += messages if kind == "loose" else [whole]
    storage = opened(tmp_path, b"".join(parts) + END)
    assert rows(storage) == sorted((row for group in groups for row in group), key=lambda row: row[1])
    assert not storage.losses
    storage.close()


@pytest.mark.parametrize("walked", [8, 7, 3])
def test_more_messages_than_a_file_can_hold_are_not_walked(tmp_path, monkeypatch, walked):
    """Else some kB of equal messages would fill the memory with their places."""
    data = two_chunks(index=False)
    monkeypatch.setattr(scan, "WALKED_FLOOR", walked - len(data) // scan.BYTES_A_MESSAGE)
    assert rows(storage := opened(tmp_path, data)) == ROWS[:walked]
    assert storage.losses.chunks == {8: 0, 7: 1, 3: 2}[walked]
