"""What is written reads back, message for message, with an independent reader and its own type definitions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

from ladle.errors import SimulationError
from ladle.task import load_task
from simulation.bag_writer import ROBOT_STATE, BagWriter

TASK = load_task("scoop")
START_NS = 1_700_000_000_000_000_000
POSE = np.arange(16.0).reshape(4, 4)


def write_sample_bag(folder, storage="mcap"):
    """A bag with one message per topic and call, put in another order than they arrive."""
    random = np.random.default_rng(0)
    color = random.integers(0, 255, (120, 240, 3), np.uint8)
    ticks = random.integers(0, 9000, (120, 240)).astype(np.uint16)
    with BagWriter(folder, TASK, START_NS, storage, {"camera_1": 1.0}) as bag:
        bag.write_description("<robot/>", 0.0)
        bag.write_color("camera_1", color, 0.030, 0.045, compressed=True)
        bag.write_depth("camera_0", ticks, 0.030, 0.041)
        for cycle in range(5):
            bag.write_joints(np.arange(7.0), -np.arange(7.0), np.ones(7), POSE, cycle * 0.01, cycle * 0.01 + 0.0007)
    return color, ticks


def read_all(folder):
    """[(topic, receive_ns, message)] in the file's order of time, and the connections by topic."""
    with AnyReader([folder]) as reader:
        messages = [
            (connection.topic, stamp, reader.deserialize(data, connection.msgtype))
            for connection, stamp, data in reader.messages()
        ]
        return messages, {connection.topic: connection for connection in reader.connections}


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_a_bag_reads_back_as_it_was_written(tmp_path, storage):
    """Images, depth and joints are equal to the last bit, with header and receive stamps kept apart."""
    color, ticks = write_sample_bag(tmp_path / "rosbag_3", storage)
    messages, _ = read_all(tmp_path / "rosbag_3")
    found = {topic: (stamp, message) for topic, stamp, message in messages}
    stamp_ns, image = found["/camera/color/image_raw"]
    assert stamp_ns == START_NS + 45_000_000
    assert (image.header.stamp.sec, image.header.stamp.nanosec) == (1_700_000_000, 30_000_000)
    assert image.encoding == "rgb8"
    np.testing.assert_array_equal(image.data.reshape(120, image.step)[:, :720].reshape(120, 240, 3), color)
    depth = found["/camera/depth/image_raw"][1]
    assert depth.encoding == "16UC1"
    np.testing.assert_array_equal(depth.data.view(np.uint16).reshape(120, 240), ticks)
    assert found["/robot_description"][1].data == "<robot/>"
    joints = found["/joint_states"][1]
    assert joints.name == list(TASK.joints.names)
    np.testing.assert_array_equal(joints.velocity, -np.arange(7.0))
    assert [stamp for topic, stamp, _ in messages] == sorted(stamp for _, stamp, _ in messages)


def test_robot_state_carries_its_own_definition(tmp_path):
    """A reader without our message package decodes the state; the pose is column-major as libfranka's."""
    write_sample_bag(tmp_path / "rosbag_0")
    messages, connections = read_all(tmp_path / "rosbag_0")
    assert connections["/robot_state"].msgtype == ROBOT_STATE
    assert "float64[7] tau_j" in connections["/robot_state"].msgdef.data
    states = [message for topic, _, message in messages if topic == "/robot_state"]
    assert len(states) == 5
    np.testing.assert_array_equal(states[0].q, np.arange(7.0))
    np.testing.assert_array_equal(states[0].o_t_ee.reshape(4, 4).T, POSE)
    assert states[1].header.stamp.nanosec == 10_000_000


def test_the_compressed_twin_shows_the_same_picture(tmp_path):
    """The jpeg decodes to colours in the right order."""
    red = np.zeros((120, 240, 3), np.uint8)
    red[..., 0] = 200
    with BagWriter(tmp_path / "rosbag_0", TASK, START_NS) as bag:
        bag.write_color("camera_1", red, 0.0, 0.01, compressed=True)
    messages, _ = read_all(tmp_path / "rosbag_0")
    twin = next(m for topic, _, m in messages if topic == "/camera/color/image_raw/compressed")
    bgr = cv2.imdecode(twin.data, cv2.IMREAD_COLOR)
    np.testing.assert_allclose(bgr.reshape(-1, 3).mean(axis=0), [0, 0, 200], atol=4)


def test_the_description_is_latched(tmp_path):
    """A late subscriber of a replayed bag still gets the robot's description."""
    write_sample_bag(tmp_path / "rosbag_0")
    _, connections = read_all(tmp_path / "rosbag_0")
    (profile,) = connections["/robot_description"].ext.offered_qos_profiles
    assert profile.durability is QosDurability.TRANSIENT_LOCAL


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_the_folder_looks_as_ros2_bag_makes_it(tmp_path, storage):
    """The file is <bag>_0 in a folder of the bag's name and nothing else lies about."""
    write_sample_bag(tmp_path / "rosbag_7", storage)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rosbag_7"]
    assert sorted(p.name for p in (tmp_path / "rosbag_7").iterdir()) == ["metadata.yaml", f"rosbag_7_0.{storage}"]
    assert f"rosbag_7_0.{storage}" in (tmp_path / "rosbag_7" / "metadata.yaml").read_text()


def test_mcap_chunks_are_compressed(tmp_path):
    """Even grey images take a small part of their size."""
    with BagWriter(tmp_path / "rosbag_0", TASK, START_NS) as bag:
        for index in range(40):
            bag.write_color("camera_1", np.full((120, 240, 3), 90, np.uint8), index / 30, index / 30 + 0.01)
    assert (tmp_path / "rosbag_0" / "rosbag_0_0.mcap").stat().st_size < 40 * 120 * 240 * 3 / 20


def test_a_recording_that_fails_leaves_nothing(tmp_path):
    """An exception inside the block removes the half-written bag."""
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "rosbag_0", TASK, START_NS) as bag:
        bag.write_description("<robot/>", 0.0)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bag_is_not_overwritten(tmp_path):
    """The error names the folder."""
    (tmp_path / "rosbag_0").mkdir()
    with pytest.raises(SimulationError, match="rosbag_0 exists"):
        BagWriter(tmp_path / "rosbag_0", TASK, START_NS)


def test_an_image_of_the_wrong_size_is_refused(tmp_path):
    """The error says what the task file expects."""
    with (
        pytest.raises(SimulationError, match="60x40, the task file says 240x120"),
        BagWriter(tmp_path / "rosbag_0", TASK, START_NS) as bag,
    ):
        bag.write_color("camera_1", np.zeros((40, 60, 3), np.uint8), 0.0, 0.0)
