"""What a recording holds is told without decoding it, and agrees with what decoding tells."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import BagError
from read_sensors_utils.bags import Bag
from read_sensors_utils.decode import header_ns
from read_sensors_utils.find_bags import BagSource, find_bags
from read_sensors_utils.inspection import BagReport, inspect_bag, recordings_below

COLOR = "/camera/color/image_raw"


def inspected(path: Path, **options: bool) -> BagReport:
    """The one recording at a path."""
    source, = find_bags(path)
    return inspect_bag(source, **options)


@pytest.mark.parametrize("storage", ["mcap", "db3", "ros1"])
def test_counts_rates_and_offsets_are_those_of_the_messages(synthetic, tmp_path: Path, storage: str) -> None:
    """The header stamps read from the first bytes give the offset that was put in."""
    name = "rosbag_0.bag" if storage == "ros1" else "rosbag_0"
    bag = synthetic.write_bag(tmp_path / name, synthetic.BagPlan(storage=storage, camera_delay_s=0.04, jitter_s=0.0))
    report = inspected(bag)
    topics = {topic.topic: topic for topic in report.topics}
    assert {name: topic.count for name, topic in topics.items()} == {
        COLOR: 60, "/camera/depth/image_raw": 60, "/joint_states": 200, "/robot_description": 1}
    assert report.messages == 321
    assert report.start_ns == synthetic.START_NS
    health = topics[COLOR].health
    assert health is not None
    assert health.rate_hz == pytest.approx(30.0, abs=0.5)
    assert health.clock_offset_s == pytest.approx(0.04, abs=1e-6)
    assert report.losses == []
    assert all(topic.reason == "" for topic in report.topics)


def test_stamps_read_from_the_first_bytes_are_the_decoded_ones(shared_data: Path) -> None:
    """For every topic with a header in genuine recordings of both kinds, all stamps agree."""
    for name in ("ros2_mcap/rerun_all_sensor_msgs", "ros1/turtlesim_none.bag"):
        source, = find_bags(shared_data / "bags" / name)
        report = inspect_bag(source)
        assert report.messages > 0
        with Bag(source) as bag:
            stamps: dict[str, list[int]] = {}
            for topic, receive_ns, message in bag.messages(list(bag.topics)):
                stamps.setdefault(topic, []).append(receive_ns - header_ns(message) if header_ns(message) else 0)
        for topic in report.topics:
            if topic.health is not None and topic.health.clock == "system" and topic.health.strays == 0:
                assert topic.health.clock_offset_s == pytest.approx(min(stamps[topic.topic]) * 1e-9, abs=1e-9)


def test_a_gap_and_a_cut_are_told(synthetic, tmp_path: Path) -> None:
    """Half a file: what is left is counted, what is lost is said."""
    bag = synthetic.write_bag(tmp_path / "rosbag_0", synthetic.BagPlan(duration_s=4.0))
    storage = next(bag.glob("*.mcap"))
    (tmp_path / "rosbag_1.mcap").write_bytes(storage.read_bytes()[: storage.stat().st_size // 2])
    whole, cut = inspected(bag), inspected(tmp_path / "rosbag_1.mcap")
    assert 0 < cut.messages < whole.messages
    assert whole.losses == []
    assert any("lost" in loss for loss in cut.losses)


def test_messages_that_cannot_be_decoded_are_counted_with_the_reason(shared_data: Path) -> None:
    """One broken topic sinks nothing."""
    report = inspected(shared_data / "bags/broken/ros2_mcap/service_events", decode_all=True)
    broken = {topic.topic: topic.undecodable for topic in report.topics if topic.reason}
    assert broken == {"/test_service1/_service_event": 4, "/test_service2/_service_event": 4}
    assert report.messages == 10


def test_a_recording_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "rosbag_0.mcap").write_bytes(b"no recording")
    with pytest.raises(BagError, match=r"rosbag_0\.mcap"):
        inspected(tmp_path / "rosbag_0.mcap")


def test_recordings_are_found_with_and_without_numbers(synthetic, tmp_path: Path) -> None:
    """Files that are parts of one recording are one; others in the same folder are each their own."""
    one = next(synthetic.write_bag(tmp_path / "made", synthetic.BagPlan(duration_s=0.2)).glob("*.mcap"))
    for name in ("parts/day_0.mcap", "parts/day_1.mcap", "loose/a.mcap", "loose/b.mcap", "single/x.mcap"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one, tmp_path / "all" / name)
    found = recordings_below(tmp_path / "all")
    assert [source.path.relative_to(tmp_path / "all").as_posix() for source in found] == [
        "loose/a.mcap", "loose/b.mcap", "parts", "single"]
    assert [len(source.files) for source in found] == [1, 1, 2, 1]
    assert recordings_below(one) == [BagSource(0, one, (one,))]
    counts = np.array([inspect_bag(source).messages for source in found])
    np.testing.assert_array_equal(counts, counts[0] * np.array([1, 1, 2, 1]))


def test_links_to_folders_are_not_followed_and_the_depth_is_bounded(synthetic, tmp_path: Path) -> None:
    """A link back to the top, and a tree too deep to belong to one set of recordings."""
    one = next(synthetic.write_bag(tmp_path / "made", synthetic.BagPlan(duration_s=0.2)).glob("*.mcap"))
    for name in ("a/b/x.mcap", "a/1/2/3/4/5/6/7/8/too_deep.mcap"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one, tmp_path / "all" / name)
    (tmp_path / "all/a/b/back").symlink_to(tmp_path / "all")
    (tmp_path / "all/linked").symlink_to(tmp_path / "made")
    assert [source.path.relative_to(tmp_path / "all").as_posix() for source in recordings_below(tmp_path / "all")] == [
        "a/b"]


@pytest.mark.parametrize(("storage", "kind"), [("mcap", "mcap"), ("ros1", "ROS 1")])
def test_the_kind_is_told_by_the_content(synthetic, tmp_path: Path, storage: str, kind: str) -> None:
    """Whatever the file is called."""
    bag = synthetic.write_bag(tmp_path / "0.bag", synthetic.BagPlan(storage=storage, duration_s=0.2))
    file = bag if bag.is_file() else next(bag.glob("*.mcap"))
    renamed = file.rename(tmp_path / "rosbag_0.db3")
    assert inspect_bag(BagSource(0, renamed, (renamed,))).kind == kind
