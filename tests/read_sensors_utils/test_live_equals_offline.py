"""What the robot sees while a recording is made is bit for bit what extraction and conversion store of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ladle.episode import EpisodeFolder
from ladle.joints_by_name import speaks_of
from ladle.kinematics import KinematicChain
from ladle.recording_limits import Complaint, RecordingLimits
from ladle.task import TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.decode import decode_image, header_ns
from read_sensors_utils.extract import extract_bag
from read_sensors_utils.find_bags import BagSource, find_bags
from real_world_deployment.observation import ObservationBuffer
from simulation.bag_writer import BagWriter
from training.real_data_conversion import convert_episodes

DURATION_S = 8.0
START_NS = 1_750_000_000_123_456_789
UNSTAMPED = float("nan")
HOUR_S = 3600.0
Fault = Callable[[str, int, float], float]  # (stream, number of the sample, true header time) -> header time

FAULTS: dict[str, Fault] = {
    "none": lambda stream, n, header_s: header_s,
    "some unstamped": lambda stream, n, header_s: UNSTAMPED if n % 9 == 0 else header_s,
    "joints unstamped": lambda stream, n, header_s: UNSTAMPED if stream == "joints" else header_s,
    "clocks ahead": lambda stream, n, header_s: header_s + (0.1 if stream == "joints" else 0.03),
    "wrong stamps": lambda stream, n, header_s: header_s + {0: -5.0, 20: 1.5, 40: 0.4, 60: HOUR_S}.get(n, 0.0),
    "clocks an hour behind": lambda stream, n, header_s: header_s - HOUR_S,
    "joints without names": lambda stream, n, header_s: header_s,
}
KEYS = ("eef", "joints", "camera_1", "camera_0", "depth_0")


@pytest.fixture
def task(small_task) -> TaskConfig:
    """Cameras of 14.2 Hz whose stamps are 40 ms late, joints with a latency and an offset of their own."""
    cameras = {key: dataclasses.replace(camera, rate_hz=14.2, latency_s=0.04, transport_s=0.0, clock_offset_s=0.002)
               for key, camera in small_task.cameras.items()}
    joints = dataclasses.replace(small_task.joints, latency_s=0.0013, clock_offset_s=-0.0007,
                                 sources=("/joint_states",))
    allowed: tuple[Complaint, ...] = ("order", "drops", "gap", "clock_offset", "stamps", "strays")
    accept = {name: allowed for name in ("joints", "camera_0", "camera_1")}  # noqa: C420  (typed by the values)
    return dataclasses.replace(small_task, cameras=cameras, joints=joints, stages=None,
                               recording=RecordingLimits(accept=accept))


class FaultyWriter(BagWriter):
    """Leaves out the stamp of a header at UNSTAMPED, and all joints but the first n_names, or at 0 their names."""

    n_names = 7

    def _header(self, header_s: float, frame_id: str) -> Any:
        header = super()._header(0.0 if np.isnan(header_s) else header_s, frame_id)
        if np.isnan(header_s):
            header.stamp.sec, header.stamp.nanosec = 0, 0
        return header

    def _put(self, topic: str, kind: str, qos: Any, message: Any, receive_s: float) -> None:
        if kind == "sensor_msgs/msg/JointState":
            message.name = message.name[: self.n_names]
            message.position = message.position[: self.n_names or 7]
        super()._put(topic, kind, qos, message, receive_s)


def record(folder: Path, task: TaskConfig, urdf: str, seed: int, fault: str) -> BagSource:
    """A bag of jittered, overtaken and lost samples."""
    rng, stamp_of = np.random.default_rng(seed), FAULTS[fault]
    bag = FaultyWriter(folder / "rosbag_0", task, START_NS)
    with bag:
        bag.write_description(urdf, 0.0)
        for key in ("camera_1", "camera_0"):
            camera = task.cameras[key]
            for n, true_s in enumerate(header_times_s(rng, camera.rate_hz)):
                header_s, receive_s = stamp_of(key, n, true_s), true_s + 0.004 + rng.exponential(0.06)
                if camera.kind == "depth":
                    image = rng.integers(0, 9000, (camera.height_px, camera.width_px), np.uint16)
                    bag.write_depth(key, image, header_s, receive_s)
                else:
                    color = rng.integers(0, 256, (camera.height_px, camera.width_px, 3), np.uint8)
                    bag.write_color(key, color, header_s, receive_s)
        assert task.joints is not None
        for n, true_s in enumerate(header_times_s(rng, task.joints.rate_hz)):
            q = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.8]) + 0.3 * np.sin(true_s + np.arange(7))
            bag.n_names = {1: 0, 2: 3}.get(n % 5, 7) if fault == "joints without names" else 7
            header_s = stamp_of("joints", n, true_s)
            receive_s = true_s + 0.08 + rng.exponential(0.02)  # often later than the images of the same instant
            bag.write_joints(q, np.zeros(7), np.zeros(7), np.eye(4), header_s, receive_s)
    [source] = find_bags(folder)
    return source


def header_times_s(rng: np.random.Generator, rate_hz: float) -> Iterator[float]:
    """Jittered by a fifth of the period, one in ten lost."""
    for n in range(int(DURATION_S * rate_hz)):
        if rng.random() > 0.1:
            yield 0.05 + (n + rng.uniform(-0.2, 0.2)) / rate_hz


def live_windows(source: BagSource, task: TaskConfig, chain: KinematicChain, decisions_s: np.ndarray,
                 late_s: float) -> Iterator[Any]:
    """The robot's windows at the decisions, asked for late_s after each, with all that had come in by then."""
    buffer = ObservationBuffer(task, chain)
    assert task.joints is not None
    stream_of = {"/joint_states": "joints", **{task.cameras[key].topic: key for key in buffer.camera_keys}}
    with Bag(source) as bag:
        waiting = list(decisions_s)
        for topic, receive_ns, message in bag.messages(stream_of):
            receive_s = float(receive_ns - bag.start_ns) * 1e-9
            while waiting and waiting[0] + late_s < receive_s:
                yield buffer.window([waiting.pop(0)], KEYS)
            stamp_ns, key = header_ns(message), stream_of[topic]
            header_s = float(stamp_ns - bag.start_ns) * 1e-9 if stamp_ns else None
            if key == "joints":
                if speaks_of(task.joints.names, message.name, message.position):
                    buffer.add_joints(header_s, receive_s, message.name, message.position)
            else:
                buffer.add_frame(key, header_s, receive_s, decode_image(message, task.cameras[key], topic))
        yield from (buffer.window([decision_s], KEYS) for decision_s in waiting)


def fitted(task: TaskConfig, fault: str) -> TaskConfig:
    """What the task file has to say about the fault."""
    assert task.joints is not None
    joints = dataclasses.replace(task.joints, order_when_unnamed=fault == "joints without names")
    if fault != "clocks an hour behind":
        return dataclasses.replace(task, joints=joints)
    joints = dataclasses.replace(joints, clock_offset_s=joints.clock_offset_s + HOUR_S)
    cameras = {key: dataclasses.replace(camera, clock_offset_s=camera.clock_offset_s + HOUR_S)
               for key, camera in task.cameras.items()}
    return dataclasses.replace(task, joints=joints, cameras=cameras)


@pytest.mark.parametrize(("fault", "seed", "late_s"), [("none", 0, 0.0), ("none", 1, 0.05),
                                                       *((fault, 2, 0.0) for fault in FAULTS if fault != "none")])
def test_live_windows_are_the_rows_of_the_replay_buffer(synthetic, tmp_path, task, fault, seed, late_s):
    """Times, ages, joints, poses and images, with every sample jittered, some overtaken, lost or wrongly stamped."""
    task = fitted(task, fault)
    source = record(tmp_path / "in", task, synthetic.urdf(), seed, fault)
    episodes = EpisodeFolder(tmp_path / "out")
    extract_bag(source, task, episodes, 12.5)
    episode, stamps = episodes.load(0), episodes.stamps(0)
    data: Any = zarr.open_group(str(convert_episodes(tmp_path / "out")), mode="r")["data"]
    chain = KinematicChain.from_urdf(synthetic.urdf(), "panda_link0", "panda_hand")
    overtaken = episode.description["streams"]["camera_1"]["health"]["out_of_order"]
    assert overtaken > 5, "the recording is too well-behaved to show anything"
    windows = list(live_windows(source, task, chain, episode.decision_s, late_s))
    assert len(windows) == len(episode) > 60
    times_s = np.array([window.observation_times_s[0] for window in windows])
    np.testing.assert_array_equal(times_s, episode.observation_s)
    np.testing.assert_array_equal(episode.decision_s - times_s, stamps["age_s"])
    live = {key: np.concatenate([window.streams[key] for window in windows]) for key in KEYS}
    np.testing.assert_array_equal(live["joints"], episode.joints)
    np.testing.assert_array_equal(live["eef"], episode.eef)
    np.testing.assert_array_equal(live["eef"].astype(np.float32), data["eef"][:])
    for key in ("camera_1", "camera_0", "depth_0"):
        assert live[key].dtype == data[key].dtype
        np.testing.assert_array_equal(live[key], data[key][:])
