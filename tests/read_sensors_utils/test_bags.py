"""Recordings open whatever wrote them; damaged ones are refused in one line."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from ladle.errors import BagError
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import find_bags


def messages_in(path: Path) -> int:
    """How many messages of all topics can be decoded."""
    [source] = find_bags(path)
    with Bag(source) as bag:
        return sum(1 for _ in bag.messages(bag.topics))


@pytest.mark.parametrize(("name", "count"), [
    ("ros1/turtlesim_lz4.bag", 8647), ("ros1/ros_numpy_images.bag", 9), ("ros2_db3/ur3_move", 1052),
    ("ros2_db3/crystal_image_no_metadata", 2), ("ros2_mcap/nav2_zstd_file_compressed", 693),
    ("ros2_mcap/rerun_all_sensor_msgs", 194), ("broken/ros2_db3/no_metadata_3_splits", 3177),
])
def test_genuine_recordings_are_read_whole(shared_data, name, count):
    """Several distributions, compressions, old type names, folders without metadata."""
    assert messages_in(shared_data / "bags" / name) == count


@pytest.mark.parametrize(("name", "words"), [
    ("ros1/no-messages.bag", "is empty"), ("ros1/zero_byte.bag", "cannot read"),
    ("ros1/test_truncated.bag", "cannot read"), ("ros2_db3/empty_bag", "is empty"),
    ("ros2_mcap/truncated.mcap", "cannot read"), ("ros2_mcap/bad_cdr_payload.mcap", "cannot be read as"),
])
def test_broken_recordings_are_refused_by_name(shared_data, name, words):
    """The message names the file and what is wrong, in one line."""
    path = shared_data / "bags/broken" / name
    with pytest.raises(BagError, match=words) as raised:
        messages_in(path)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_unparsable_definition_does_not_cost_the_recording(shared_data):
    """Topics of other types stay readable."""
    [source] = find_bags(shared_data / "bags/broken/ros2_mcap/service_events")
    with Bag(source) as bag:
        assert not bag.can_decode("/test_service1/_service_event")
        readable = [topic for topic in bag.topics if bag.can_decode(topic)]
        assert sum(1 for _ in bag.messages(readable)) == 2


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


def test_bytes_after_the_end_of_a_message_are_ignored(synthetic, tmp_path):
    """Real recorders pad their messages."""
    folder = synthetic.write_bag(tmp_path / "rosbag_1", synthetic.BagPlan(duration_s=0.5, storage="db3"))
    whole = messages_in(folder)
    with sqlite3.connect(next(folder.glob("*.db3"))) as database:
        database.execute("UPDATE messages SET data = CAST(data || x'0000000000000000' AS BLOB)")
    database.close()
    assert messages_in(folder) == whole
