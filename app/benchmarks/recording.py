"""A recording of two RGB + depth cameras and an arm, as large and as noisy as a lab's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore

from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig, load_task

FileKind = Literal["mcap", "db3", "ros1"]
FILE_KINDS: tuple[FileKind, ...] = ("mcap", "db3", "ros1")

WIDTH_PX, HEIGHT_PX = 640, 480
CAMERA_HZ, JOINTS_HZ = 30, 1000
DISTINCT_FRAMES = 64
COLOR_NOISE = 2.5  # grey levels, one standard deviation: a small sensor indoors
DEPTH_NOISE_TICKS = 2.0
HOLE_SHARE = 0.04
START_NS = 1_700_000_000_000_000_000
CAMERA_DELAY_NS = 12_000_000
JOINTS_DELAY_NS = 500_000
STAMP_AT = 4  # both of the CDR encapsulation and of ROS 1's seq, four bytes come before the stamp

MIDDLE_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.8])  # a Panda's usual posture, far from its limits
JOINT_NAMES = tuple(f"panda_joint{n}" for n in range(1, 8))
IMAGE, JOINT_STATE, STRING = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "std_msgs/msg/String"
CAMERAS = {
    "camera_1": "/camera/color/image_raw", "camera_0": "/camera/depth/image_raw",
    "camera_3": "/camera_front/color/image_raw", "camera_2": "/camera_front/depth/image_raw",
}


def benchmark_task(width_px: int, height_px: int) -> TaskConfig:
    """The scoop task with two RGB + depth cameras kept at this size, and joints at 1 kHz."""
    scoop = load_task("scoop")
    assert scoop.joints is not None
    color, depth = scoop.cameras["camera_1"], scoop.cameras["camera_0"]

    def camera(key: str, like: CameraConfig) -> CameraConfig:
        ticks_key = key.replace("camera", "depth") if like.kind == "depth" else None
        return dataclasses.replace(like, topic=CAMERAS[key], width_px=width_px, height_px=height_px,
                                   ticks_key=ticks_key, extract=True)

    cameras = {key: camera(key, color if key in ("camera_1", "camera_3") else depth) for key in CAMERAS}
    joints = dataclasses.replace(scoop.joints, rate_hz=float(JOINTS_HZ))
    return dataclasses.replace(scoop, cameras=cameras, joints=joints, mass=False)


def color_frames(seed: int, count: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint8]:
    """(count, H, W, 3) RGB: a textured scene that drifts under a moving hand, with the sensor's read noise."""
    rng = np.random.default_rng(seed)
    backdrop = cv2.GaussianBlur(rng.uniform(0, 255, (height_px + count, width_px + count, 3)).astype(np.float32),
                                (0, 0), 9)
    backdrop = cv2.normalize(backdrop, backdrop, 20, 235, cv2.NORM_MINMAX)
    frames = np.empty((count, height_px, width_px, 3), np.uint8)
    for n in range(count):
        image = np.ascontiguousarray(backdrop[n : n + height_px, n : n + width_px])
        cv2.circle(image, _hand_at(n, count, width_px, height_px), height_px // 6, (190, 150, 120), -1)
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(COLOR_NOISE)
        frames[n] = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return frames


def depth_frames(seed: int, count: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> NDArray[np.uint16]:
    """(count, H, W) ticks of 0.1 mm: a sloping table, a moving hand, noise of a few ticks, holes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    table = 3000 + 2500 * rows / height_px + 150 * np.sin(columns / 60)
    frames = np.empty((count, height_px, width_px), np.uint16)
    for n in range(count):
        image = table.astype(np.float32)
        cv2.circle(image, _hand_at(n, count, width_px, height_px), height_px // 6, (2200.0,), -1)
        image += rng.standard_normal(image.shape, np.float32) * np.float32(DEPTH_NOISE_TICKS)
        blobs = cv2.resize(rng.random((height_px // 12, width_px // 12), np.float32), (width_px, height_px))
        image[blobs > np.quantile(blobs, 1 - HOLE_SHARE)] = 0
        frames[n] = np.rint(image).astype(np.uint16)
    return frames


def write_recording(folder: Path, kind: FileKind, seconds: float, *, size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX),
                    distinct_frames: int = DISTINCT_FRAMES) -> Path:
    """Write one recording into the folder; returns its path.

    Messages lie uncompressed in the order of receipt, the defaults of the recorders.
    """
    store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
    path = folder / ("0.bag" if kind == "ros1" else "rosbag_0")
    folder.mkdir(parents=True, exist_ok=True)
    plugin = StoragePlugin.SQLITE3 if kind == "db3" else StoragePlugin.MCAP
    writer: Any = Ros1Writer(path) if kind == "ros1" else Ros2Writer(path, version=9, storage_plugin=plugin)
    build = _Serialised(store, kind == "ros1", size_px, distinct_frames)
    with writer:
        topics = {"/robot_description": STRING, "/joint_states": JOINT_STATE, **dict.fromkeys(CAMERAS.values(), IMAGE)}
        connections = {topic: writer.add_connection(topic, name, typestore=store) for topic, name in topics.items()}
        for receive_ns, topic, raw in _messages(build, seconds):
            writer.write(connections[topic], receive_ns, raw)
    return path


def _hand_at(n: int, count: int, width_px: int, height_px: int) -> tuple[int, int]:
    angle_rad = 2 * np.pi * n / count
    return int(width_px * (0.5 + 0.3 * np.cos(angle_rad))), int(height_px * (0.5 + 0.3 * np.sin(angle_rad)))


class _Serialised:
    """Messages as bytes; frames are serialised once and get their stamp when they are written."""

    def __init__(self, store: Any, ros1: bool, size_px: tuple[int, int], distinct_frames: int) -> None:
        self._types = store.types
        self._serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
        self._ros1 = ros1
        color = [color_frames(seed, distinct_frames, *size_px) for seed in (0, 1)]
        depth = [depth_frames(seed, distinct_frames, *size_px) for seed in (2, 3)]
        pools = (color[0], depth[0], color[1], depth[1])
        self._frames = {topic: [self._image(frame) for frame in pool]
                        for topic, pool in zip(CAMERAS.values(), pools, strict=True)}

    def frame(self, topic: str, n: int, stamp_ns: int) -> bytearray:
        frames = self._frames[topic]
        raw = frames[n % len(frames)]
        raw[STAMP_AT : STAMP_AT + 8] = np.array(divmod(stamp_ns, 1_000_000_000), "<u4").tobytes()
        return raw

    def joints(self, n: int, stamp_ns: int) -> bytes:
        phase = 2 * np.pi * (0.2 * n / JOINTS_HZ + np.arange(7) / 7)
        message = self._types[JOINT_STATE](header=self._header(stamp_ns, "panda_link0"), name=list(JOINT_NAMES),
                                           position=MIDDLE_RAD + 0.5 * np.sin(phase), velocity=np.cos(phase),
                                           effort=np.zeros(7))
        return bytes(self._serialise(message, JOINT_STATE))

    def description(self) -> bytes:
        return bytes(self._serialise(self._types[STRING](data=_urdf()), STRING))

    def _image(self, pixels: NDArray[Any]) -> bytearray:
        height, width = pixels.shape[:2]
        message = self._types[IMAGE](
            header=self._header(0, "camera_optical_frame"), height=height, width=width,
            encoding="rgb8" if pixels.ndim == 3 else "16UC1", is_bigendian=0, step=pixels[0].nbytes,
            data=np.ascontiguousarray(pixels).view(np.uint8).reshape(-1))
        return bytearray(self._serialise(message, IMAGE))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp_ns, 1_000_000_000)
        stamp = self._types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        sequence = {"seq": 0} if self._ros1 else {}
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **sequence)


def _messages(build: _Serialised, seconds: float) -> Iterator[tuple[int, str, bytes | bytearray]]:
    yield START_NS, "/robot_description", build.description()
    frame, n_frames = 0, int(seconds * CAMERA_HZ)
    for n in range(int(seconds * JOINTS_HZ)):
        stamp_ns = START_NS + n * (1_000_000_000 // JOINTS_HZ)
        receive_ns = stamp_ns + JOINTS_DELAY_NS
        while frame < n_frames and START_NS + frame * 1_000_000_000 // CAMERA_HZ + CAMERA_DELAY_NS <= receive_ns:
            taken_ns = START_NS + frame * 1_000_000_000 // CAMERA_HZ
            for topic in CAMERAS.values():
                yield taken_ns + CAMERA_DELAY_NS, topic, build.frame(topic, frame, taken_ns)
            frame += 1
        yield receive_ns, "/joint_states", build.joints(n, stamp_ns)


def _urdf() -> str:
    """A chain of seven revolute joints from panda_link0 to panda_hand."""
    links = [f"panda_link{n}" for n in range(8)] + ["panda_hand"]
    parts = [f'<link name="{name}"/>' for name in links]
    for n, name in enumerate(JOINT_NAMES, start=1):
        parts.append(f'<joint name="{name}" type="revolute"><parent link="panda_link{n - 1}"/><child '
                     f'link="panda_link{n}"/><origin xyz="0 0.02 0.1"/><axis xyz="{"0 0 1" if n % 2 else "0 1 0"}"/>'
                     '<limit lower="-3" upper="3" effort="1" velocity="1"/></joint>')
    parts.append('<joint name="hand" type="fixed"><parent link="panda_link7"/><child link="panda_hand"/></joint>')
    return f'<robot name="arm">{"".join(parts)}</robot>'
