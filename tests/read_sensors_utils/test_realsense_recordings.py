"""What Intel's RealSense SDK records: .bag up to 2.57, .db3 from 2.58 on, both with receive stamps that start at 0."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from ladle.errors import BagError
from ladle.task import load_task
from read_sensors_utils.bags import Bag
from read_sensors_utils.decode import decode_image
from read_sensors_utils.find_bags import find_bags
from read_sensors_utils.streams import find_topics

DEPTH, COLOR = "/device_0/sensor_0/Depth_0/image", "/device_0/sensor_1/Color_0/image"
WIDTH_PX, HEIGHT_PX = 64, 48
RGB = (200, 100, 30)
DEPTH_TICKS = 1234
FRAME_NS = 33_333_333


@pytest.fixture
def sdk_task():
    """The scoop task with the topics of the SDK."""
    task = load_task("scoop")
    cameras = {key: dataclasses.replace(camera, topic=(DEPTH if camera.kind == "depth" else COLOR) + "/data")
               for key, camera in task.cameras.items()}
    return dataclasses.replace(task, cameras=cameras)


def write_sdk_db3(path: Path, n_frames: int = 3, joints: bool = False) -> Path:
    """An equivalent of a recording that rs.recorder of pyrealsense2 2.59 made of a software device.

    Tables topics (no type_description_hash) and messages, no definitions, no schema, no metadata. Stamps are ns from
    the recording's start, in the headers too. Images are CompressedImage: depth with the 12-byte head of
    compressedDepth, colour as PNG; frame metadata is one String a frame, file_version a UInt32 of 4.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    kinds = store.types

    def header(stamp_ns: int, frame: str) -> Any:
        stamp = kinds["builtin_interfaces/msg/Time"](sec=0, nanosec=stamp_ns)
        return kinds["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)

    def packed(stamp_ns: int, frame: str, form: str, data: bytes) -> Any:
        return kinds["sensor_msgs/msg/CompressedImage"](
            header=header(stamp_ns, frame), format=form, data=np.frombuffer(data, np.uint8))

    text = kinds["std_msgs/msg/String"]
    rows: list[tuple[str, int, Any]] = [
        ("/file_version", 1, kinds["std_msgs/msg/UInt32"](data=4)),
        ("/device_0/info", 1, text(data="Name=Synthetic D405;Serial Number=123")),
        ("/device_0/sensor_0/option/Depth_Units/value", 1, text(data="0.000100")),
        ("/device_0/sensor_0/Depth_0/tf/ref_1", 1, text(data="rotation=1,0,0,0,1,0,0,0,1;translation=0,0,0")),
    ]
    depth_png = cv2.imencode(".png", np.full((HEIGHT_PX, WIDTH_PX), DEPTH_TICKS, np.uint16))[1].tobytes()
    color_png = cv2.imencode(".png", np.full((HEIGHT_PX, WIDTH_PX, 3), RGB[::-1], np.uint8))[1].tobytes()
    for n in range(n_frames):
        at = 2000 + n * FRAME_NS
        info = kinds["sensor_msgs/msg/CameraInfo"](
            header=header(at, "Depth"), height=HEIGHT_PX, width=WIDTH_PX, distortion_model="plumb_bob",
            d=np.zeros(5), k=np.array([60.0, 0, 32, 0, 60, 24, 0, 0, 1]), r=np.eye(3).ravel(), p=np.zeros(12),
            binning_x=0, binning_y=0, roi=kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False))
        rows += [
            (f"{DEPTH}/data/compressedDepth", at,
             packed(at, "Depth", "16UC1; compressedDepth png", bytes(12) + depth_png)),
            (f"{DEPTH}/metadata", at, text(data=f"Frame number={n};timestamp_domain=System Time;depth_units=0.0001;")),
            (f"{DEPTH}/camera_info", at, info),
            (f"{COLOR}/data/compressed", at, packed(at, "Color", "rgb8; png compressed bgr8", color_png)),
        ]
        if joints:
            state = kinds["sensor_msgs/msg/JointState"](
                header=header(at, ""), name=[f"panda_joint{i}" for i in range(1, 8)], position=np.zeros(7),
                velocity=np.zeros(0), effort=np.zeros(0))
            rows.append(("/joint_states", at, state))
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT NOT NULL,type TEXT NOT NULL,"
                         "serialization_format TEXT NOT NULL,offered_qos_profiles TEXT NOT NULL)")
        database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL,"
                         "timestamp INTEGER NOT NULL, data BLOB NOT NULL)")
        database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        keys: dict[str, int] = {}
        for topic, stamp_ns, message in rows:
            if topic not in keys:
                keys[topic] = len(keys) + 1
                database.execute("INSERT INTO topics VALUES (?, ?, ?, 'cdr', '')",
                                 (keys[topic], topic, message.__msgtype__))
            data = bytes(store.serialize_cdr(message, message.__msgtype__))
            database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
                             (keys[topic], stamp_ns, data))
        database.commit()
    return path


def test_the_sdks_bag_gives_images(shared_data, sdk_task):
    """mono16 depth and rgb8 colour of a D435, with four bytes behind the end of each message."""
    [source] = find_bags(shared_data / "bags/realsense_sdk/test_rs.bag")
    cameras = sdk_task.cameras
    with Bag(source) as bag:
        depth = [decode_image(message, cameras["camera_0"], topic)
                 for topic, _, message in bag.messages([f"{DEPTH}/data"])]
        color = [decode_image(message, cameras["camera_1"], topic)
                 for topic, _, message in bag.messages([f"{COLOR}/data"])]
        assert not bag.skipped
    assert [(len(depth), depth[0].shape, depth[0].dtype), (len(color), color[0].shape, color[0].dtype)] == [
        (6, (480, 640), np.uint16), (5, (480, 640, 3), np.uint8)]
    assert all(np.count_nonzero(image) > image.size // 4 for image in (*depth, *color))


def test_the_sdks_db3_gives_images_and_camera_infos(tmp_path, sdk_task):
    """Types without definitions, stamps without an epoch."""
    with Bag(find_bags(write_sdk_db3(tmp_path / "rs_1.db3", joints=True))[0]) as bag:
        topics = find_topics(bag, sdk_task)
        depth = decode_image(bag.first(topics.cameras["camera_0"]), sdk_task.cameras["camera_0"], "depth")
        color = decode_image(bag.first(topics.cameras["camera_1"]), sdk_task.cameras["camera_1"], "colour")
        info = bag.first(f"{DEPTH}/camera_info")
        assert bag.first("/file_version").data == 4
        assert bag.end_ns - bag.start_ns < 10**9
    assert np.all(depth == DEPTH_TICKS)
    assert np.all(color == RGB)
    assert (info.width, info.k[0]) == (WIDTH_PX, 60.0)


def test_a_recording_of_cameras_alone_is_refused_by_name(shared_data, tmp_path, sdk_task):
    """No arm, no episode: the message says which topics were looked for."""
    recordings = [shared_data / "bags/realsense_sdk/test_rs.bag", write_sdk_db3(tmp_path / "rs_1.db3")]
    for path in recordings:
        with Bag(find_bags(path)[0]) as bag, pytest.raises(BagError, match="no joint topic /robot_state or /joint_sta"):
            find_topics(bag, sdk_task)
