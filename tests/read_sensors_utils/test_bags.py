"""Recordings open whatever wrote them; what is broken is left out and counted, or refused in one line."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ladle.errors import BagError
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import find_bags
from read_sensors_utils.storage.decompress import zstd

CDR_HEAD = b"\x00\x01\x00\x00"

# Path below bags/ -> topics, messages, messages that can be decoded.
COUNTS = {
    "ros1/turtlesim_none.bag": (9, 8647, 8647),
    "ros1/turtlesim_bz2.bag": (9, 8647, 8647),
    "ros1/turtlesim_lz4.bag": (9, 8647, 8647),
    "ros1/ros_numpy_images.bag": (9, 9, 9),
    "ros2_db3/ur3_move": (1, 1052, 1052),
    "ros2_db3/all_std_types_jazzy": (94, 188, 188),
    "ros2_db3/crystal_image_no_metadata": (2, 2, 2),
    "ros2_db3/rosbag2_upstream/cdr_test": (2, 7, 7),
    "ros2_db3/rosbag2_upstream/talker": (3, 20, 20),
    "ros2_mcap/rerun_all_sensor_msgs": (32, 194, 194),
    "ros2_mcap/nav2_zstd_file_compressed": (3, 693, 693),
    "ros2_mcap/rosbag2_upstream/talker": (3, 20, 20),
    "realsense_sdk/test_rs.bag": (98, 375, 375),
    "broken/ros1/test_truncated.bag": (1, 3, 3),
    "broken/ros1/example-unsorted-chunks.bag": (1, 3, 3),
    "broken/ros2_db3/no_metadata_3_splits": (1, 3177, 3177),
    "broken/ros2_db3/service_events": (5, 10, 2),
    "broken/ros2_mcap/service_events": (5, 10, 2),
    "broken/ros2_mcap/truncated.mcap": (2, 14, 14),
    "broken/ros2_mcap/bad_cdr_payload.mcap": (1, 3, 0),
}
REFUSED = {"broken/ros1/no-messages.bag": "is empty", "broken/ros1/zero_byte.bag": "is empty",
           "broken/ros2_db3/empty_bag": "is empty"}


def messages_in(path: Path) -> int:
    """How many messages of all topics can be decoded."""
    [source] = find_bags(path)
    with Bag(source) as bag:
        return sum(1 for _ in bag.messages(bag.topics))


@pytest.mark.parametrize("name", [*COUNTS, *REFUSED])
def test_every_shared_recording(shared_data, name):
    """Each opens with its counts, or is refused in one line that names it."""
    path = shared_data / "bags" / name
    if name in REFUSED:
        with pytest.raises(BagError, match=REFUSED[name]) as raised:
            messages_in(path)
        assert path.name in str(raised.value)
        assert "\n" not in str(raised.value)
        return
    [source] = find_bags(path)
    with Bag(source) as bag:
        listed = sum(info.count for info in bag.topics.values())
        raw = sum(1 for _ in bag.raw(bag.topics))
        stamps = [receive_ns for _, receive_ns, _ in bag.messages(bag.topics)]
        assert (len(bag.topics), listed, len(stamps)) == COUNTS[name]
        assert raw == listed
        assert listed - len(stamps) == sum(skipped.count for skipped in bag.skipped.values())
        assert stamps == sorted(stamps)
        assert not stamps or bag.start_ns <= stamps[0] <= stamps[-1] <= bag.end_ns


def test_the_table_names_every_shared_recording(shared_data):
    """A recording that is added needs a line."""
    named = [shared_data / "bags" / name for name in [*COUNTS, *REFUSED]]
    suffixes = (".bag", ".db3", ".mcap", ".zstd")
    files = [path for path in (shared_data / "bags").rglob("*") if path.name.endswith(suffixes)]
    assert [file for file in files if not any(file.is_relative_to(path) for path in named)] == []


def test_one_unparsable_definition_does_not_cost_the_recording(shared_data, caplog):
    """Topics of other types stay readable; the others are skipped, counted and named in the log."""
    [source] = find_bags(shared_data / "bags/broken/ros2_mcap/service_events")
    with Bag(source) as bag:
        assert not bag.can_decode("/test_service1/_service_event")
        with pytest.raises(BagError, match="cannot be parsed"):
            bag.first("/test_service1/_service_event")
        assert bag.skipped == {}
        assert sum(1 for _ in bag.messages(bag.topics)) == 2
        assert bag.skipped["/test_service1/_service_event"].count == 4
    assert "4 messages on /test_service1/_service_event were left out" in caplog.text


def test_what_damage_took_is_said_when_the_recording_is_closed(shared_data, caplog):
    """Nothing is lost in silence."""
    [source] = find_bags(shared_data / "bags/broken/ros2_mcap/truncated.mcap")
    with caplog.at_level(logging.WARNING, "ladle.bags"), Bag(source) as bag:
        assert bag.losses
    assert "truncated.mcap is damaged" in caplog.text


def test_rows_in_a_left_over_write_ahead_log_are_read(synthetic, tmp_path):
    """A recorder that was killed leaves committed rows in the -wal file; the recording itself stays as it is."""
    plan = synthetic.BagPlan(duration_s=0.5, storage="db3")
    folder = synthetic.write_bag(tmp_path / "rosbag_1", plan)
    whole = messages_in(folder)
    file = next(folder.glob("*.db3"))
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("INSERT INTO messages (topic_id, timestamp, data) SELECT topic_id, timestamp + 1000000000, data "
                     "FROM messages WHERE id > 50")
    database.commit()
    killed = tmp_path / "killed" / "rosbag_1"
    shutil.copytree(folder, killed)  # as a kill would leave it: the log is not merged
    database.close()
    before = {path.name: path.stat().st_size for path in killed.iterdir()}
    assert before[file.name + "-wal"] > 0
    assert messages_in(killed) == whole + (whole - 50)
    assert {path.name: path.stat().st_size for path in killed.iterdir()} == before


@pytest.mark.parametrize("change", [
    "CAST(data || x'0000000000000000' AS BLOB)",  # real recorders pad their messages
    "pack(data)",  # compression_mode MESSAGE: each message is a zstd frame
])
def test_padded_and_packed_messages_are_read(synthetic, tmp_path, change):
    """Bytes after the end are ignored; no metadata.yaml is needed to know of the compression."""
    folder = synthetic.write_bag(tmp_path / "rosbag_1", synthetic.BagPlan(duration_s=0.5, storage="db3"))
    whole = messages_in(folder)
    with closing(sqlite3.connect(next(folder.glob("*.db3")))) as database:
        database.create_function("pack", 1, zstd.compress)
        database.execute(f"UPDATE messages SET data = {change}")
        database.commit()
    (folder / "metadata.yaml").unlink()
    assert messages_in(folder) == whole


def test_messages_that_cannot_be_decoded_are_left_out(synthetic, tmp_path, caplog):
    """One damaged message, and a packed one that is cut off: the rest comes."""
    folder = synthetic.write_bag(tmp_path / "rosbag_1", synthetic.BagPlan(duration_s=0.5, storage="db3"))
    whole = messages_in(folder)
    with closing(sqlite3.connect(next(folder.glob("*.db3")))) as database:
        database.execute("UPDATE messages SET data = x'00010000ffffffffffffffffffffffff' WHERE id = 20")
        database.execute("UPDATE messages SET data = ? WHERE id = 21", (zstd.compress(bytes(range(256)))[:-9],))
        database.commit()
    [source] = find_bags(folder)
    with Bag(source) as bag:
        assert sum(1 for _ in bag.messages(bag.topics)) == whole - 2
        assert sum(skipped.count for skipped in bag.skipped.values()) == 2
        assert sum(1 for _ in bag.raw(bag.topics)) == whole - 1
    assert "were left out" in caplog.text


@pytest.fixture
def mixed_split(synthetic, tmp_path):
    """A recording of four files of all kinds that a folder may hold, and their counts."""
    folder = tmp_path / "rosbag_4"
    folder.mkdir()
    counts: dict[str, int] = {}
    for n, (storage, packed) in enumerate([("db3", False), ("mcap", False), ("db3", True), ("mcap", True)]):
        plan = synthetic.BagPlan(duration_s=0.4 + 2 * n, storage=storage)
        part = synthetic.write_bag(tmp_path / f"part_{n}", plan)
        file = next(part.glob(f"*.{storage}"))
        name = f"rosbag_4_{n}.{storage}"
        counts[name + ".zstd" * packed] = messages_in(part)
        content = file.read_bytes()
        (folder / (name + ".zstd" * packed)).write_bytes(zstd.compress(content) if packed else content)
    return folder, counts


def test_a_split_recording_may_mix_all_kinds_of_files(mixed_split):
    """Messages of all files in the order of receipt."""
    folder, counts = mixed_split
    [source] = find_bags(folder)
    assert source.number == 4
    with Bag(source) as bag:
        stamps = [receive_ns for _, receive_ns, _ in bag.messages(bag.topics)]
        assert len(stamps) == sum(counts.values()) == sum(info.count for info in bag.topics.values())
        assert stamps == sorted(stamps)
        assert not bag.losses


def test_a_broken_file_does_not_cost_the_others(mixed_split, caplog):
    """Not a file of zero bytes, nor a packed one that is cut off."""
    folder, counts = mixed_split
    (folder / "rosbag_4_0.db3").write_bytes(b"")
    packed = folder / "rosbag_4_3.mcap.zstd"
    packed.write_bytes(packed.read_bytes()[:-100])
    [source] = find_bags(folder)
    with Bag(source) as bag:
        read = sum(1 for _ in bag.messages(bag.topics))
        assert counts["rosbag_4_1.mcap"] + counts["rosbag_4_2.db3.zstd"] <= read < sum(counts.values())
        assert any("rosbag_4_0.db3" in reason for reason in bag.losses.reasons)
        assert any("rosbag_4_3.mcap.zstd: the compressed file is cut off" in reason for reason in bag.losses.reasons)
    assert "rosbag_4 is damaged" in caplog.text
    packed.write_bytes(b"not zstd at all")
    with pytest.raises(BagError, match="cannot unpack"), Bag(find_bags(packed)[0]):
        pass


def test_a_split_file_that_is_missing_is_a_loss(mixed_split, caplog):
    """metadata.yaml knows of it; the rest is read."""
    folder, counts = mixed_split
    lines = "".join(f"    - {name}\n" for name in counts)
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information:\n  relative_file_paths:\n{lines}")
    (folder / "rosbag_4_1.mcap").unlink()
    [source] = find_bags(folder)
    with Bag(source) as bag:
        assert sum(1 for _ in bag.messages(bag.topics)) == sum(counts.values()) - counts["rosbag_4_1.mcap"]
        assert bag.losses.reasons == ["rosbag_4_1.mcap, which metadata.yaml lists, is missing; copy it again"]
    assert "rosbag_4 is damaged" in caplog.text


def test_what_a_kill_leaves_of_an_unpacked_copy_goes_with_the_next(mixed_split, tmp_path, monkeypatch):
    """That of a living process stays."""
    folder, _ = mixed_split
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    program = f"""
import os, signal
from pathlib import Path
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import find_bags
with Bag(find_bags(Path({str(folder / "rosbag_4_3.mcap.zstd")!r}))[0]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TMPDIR": str(place)}, check=False)
    [left] = place.iterdir()
    assert (left / "rosbag_4_3.mcap").stat().st_size
    with Bag(find_bags(folder / "rosbag_4_3.mcap.zstd")[0]):
        [first] = place.iterdir()
        assert first != left
        with Bag(find_bags(folder / "rosbag_4_2.db3.zstd")[0]):
            assert len(list(place.iterdir())) == 2
    assert not list(place.iterdir())


def test_each_file_is_decoded_by_its_own_definition(tmp_path):
    """The same type name, with another field after a change of the code between two splits."""
    folder = tmp_path / "rosbag_1"
    folder.mkdir()
    for n, text in enumerate(("int32 a", "float64 b\nint32 a")):
        store = get_typestore(Stores.ROS2_HUMBLE)
        store.register(get_types_from_msg(text, "lab/msg/State"))
        with Ros2Writer(tmp_path / f"part_{n}", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection("/state", "lab/msg/State", typestore=store)
            message = store.types["lab/msg/State"](**({"b": 0.5} if n else {}), a=7 + n)
            writer.write(connection, 100 + n, store.serialize_cdr(message, "lab/msg/State"))
        shutil.move(tmp_path / f"part_{n}" / f"part_{n}.mcap", folder / f"rosbag_1_{n}.mcap")
    [source] = find_bags(folder)
    with Bag(source) as bag:
        assert [message.a for _, _, message in bag.messages(["/state"])] == [7, 8]
        with pytest.raises(BagError, match="define lab/msg/State of /state differently"):
            bag.decoder("/state")


def test_definitions_can_be_given(tmp_path):
    """A db3 of Humble stores none."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg("int32 a", "lab/msg/State"))
    with Ros2Writer(tmp_path / "rosbag_1", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        writer.write(writer.add_connection("/state", "lab/msg/State", typestore=store), 5,
                     CDR_HEAD + struct.pack("<i", 3))
    with closing(sqlite3.connect(tmp_path / "rosbag_1/rosbag_1.db3")) as database:
        database.execute("DROP TABLE message_definitions")
        database.commit()
    [source] = find_bags(tmp_path / "rosbag_1")
    with Bag(source) as bag, pytest.raises(BagError, match="lab/msg/State is not defined in the recording"):
        bag.first("/state")
    (tmp_path / "lab/msg").mkdir(parents=True)
    (tmp_path / "lab/msg/State.msg").write_text("int32 a\n")
    with Bag(source, definitions=[tmp_path / "lab"]) as bag:
        assert bag.first("/state").a == 3
        assert bag.decoder("/state")(next(bag.raw(["/state"]))[2]).a == 3
