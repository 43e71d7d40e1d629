"""Small recordings, written with rosbags: every image tells its own capture time, joint 1 is the time in 10 s."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from ladle.task import TaskConfig, load_task

START_NS = 1_700_000_000_000_000_000
WIDTH_PX, HEIGHT_PX = 24, 12
ROBOT_STATE_TYPE = "ladle_interfaces/msg/FrankaRobotState"
ROBOT_STATE = "std_msgs/Header header\nfloat64[7] q\nfloat64[7] dq\nfloat64[7] tau_j\nfloat64[16] o_t_ee\n"
NESTED_STATE_TYPE = "franka_msgs/msg/FrankaRobotState"
NESTED_STATE = "std_msgs/Header header\nsensor_msgs/JointState measured_joint_state\n"
JOINT_NAMES = [f"panda_joint{i}" for i in range(1, 8)]


@dataclass(frozen=True)
class BagPlan:
    """What a recording holds. Delays are from header to receipt, the jitter's seed is fixed."""

    duration_s: float = 2.0
    camera_hz: float = 30.0
    joints_hz: float = 100.0
    camera_delay_s: float = 0.03
    joints_delay_s: float = 0.001
    jitter_s: float = 0.002
    clock_shift_s: float = 0.0  # header clock minus receive clock
    joints: str = "joint_states"  # or "robot_state", "nested"
    compressed: bool = False
    storage: str = "mcap"  # or "db3", "ros1"
    without: tuple[str, ...] = ()
    tip: str = "panda_hand"
    joints_start_s: float = 0.0
    stamped: bool = True
    broken_images: tuple[int, ...] = ()  # colour frames with too few bytes
    empty_joints: tuple[int, ...] = ()  # joint states without a name or position
    kept_s: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # topic -> when its messages were received


def urdf(tip: str = "panda_hand") -> str:
    """Seven joints about alternating axes, 0.1 m apart."""
    links = ["panda_link0", *(f"panda_link{i}" for i in range(1, 8)), tip]
    parts = [f'<link name="{name}"/>' for name in links]
    for i in range(1, 8):
        axis = "0 0 1" if i % 2 else "0 1 0"
        parts.append(f'<joint name="panda_joint{i}" type="revolute"><parent link="{links[i - 1]}"/>'
                     f'<child link="{links[i]}"/><origin xyz="0 0.02 0.1" rpy="0 0 0"/><axis xyz="{axis}"/>'
                     '<limit lower="-9" upper="9" effort="1" velocity="1"/></joint>')
    parts.append(f'<joint name="hand" type="fixed"><parent link="panda_link7"/><child link="{tip}"/>'
                 '<origin xyz="0 0 0.1" rpy="0 0 0"/></joint>')
    return f'<robot name="seven">{"".join(parts)}</robot>'


def joints_at(time_s: np.ndarray) -> np.ndarray:
    """(T,) capture times in s from the bag's start -> (T, 7) rad: linear, so that interpolation is exact."""
    return np.asarray(time_s)[:, None] * np.linspace(0.1, 0.3, 7)[None, :]


def image_of(time_ms: int) -> np.ndarray:
    """(H, W, 3) uint8 whose first pixels spell the capture time in ms."""
    image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = time_ms // 256, time_ms % 256, 7
    return image


def time_ms_of(images: np.ndarray) -> np.ndarray:
    """Inverse of image_of for (T, H, W, 3)."""
    first = images[:, 0, 0].astype(int)
    return first[:, 0] * 256 + first[:, 1]


@pytest.fixture(scope="session")
def small_task() -> TaskConfig:
    """The scoop task with cameras of 24x12 pixels, and joints that turn as far as `joints_at` lets them."""
    task = load_task("scoop")
    cameras = {key: dataclasses.replace(camera, width_px=WIDTH_PX, height_px=HEIGHT_PX)
               for key, camera in task.cameras.items()}
    assert task.limits is not None
    wide = dataclasses.replace(task.limits, position_lower_rad=(-99.0,) * 7, position_upper_rad=(99.0,) * 7)
    return dataclasses.replace(task, cameras=cameras, limits=wide)


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    """This module: BagPlan, write_bag(path, plan), urdf, joints_at, image_of, time_ms_of."""
    return sys.modules[__name__]


@pytest.fixture
def recordings(tmp_path: Path) -> Callable[..., Path]:
    """Write several recordings rosbag_<N> and their data.csv: numbers, plan -> folder."""

    def write(numbers: list[int], plan: BagPlan | None = None) -> Path:
        folder = tmp_path / "recordings"
        folder.mkdir(exist_ok=True)
        for number in numbers:
            write_bag(folder / f"rosbag_{number}", plan or BagPlan())
        rows = "".join(f"{number},{10 + number}\n" for number in numbers)
        (folder / "data.csv").write_text("index,mass\n" + rows)
        return folder

    return write


class _Messages:
    """Builds messages of one distribution."""

    def __init__(self, ros1: bool, stamped: bool) -> None:
        self._stamped = stamped
        self.store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
        self.store.register(get_types_from_msg(ROBOT_STATE, ROBOT_STATE_TYPE))
        self.store.register(get_types_from_msg(NESTED_STATE, NESTED_STATE_TYPE))
        self._ros1 = ros1

    def header(self, stamp_ns: int) -> Any:
        types = self.store.types
        stamp_ns = stamp_ns if self._stamped else 0
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        extra = {"seq": 0} if self._ros1 else {}
        return types["std_msgs/msg/Header"](**extra, stamp=stamp, frame_id="")

    def image(self, header: Any, encoding: str, pixels: np.ndarray) -> Any:
        data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
        return self.store.types["sensor_msgs/msg/Image"](
            header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, is_bigendian=0,
            step=data.size // pixels.shape[0], data=data)

    def compressed(self, header: Any, rgb: np.ndarray) -> Any:
        data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].reshape(-1)
        return self.store.types["sensor_msgs/msg/CompressedImage"](header=header, format="rgb8; png", data=data)

    def joints(self, kind: str, header: Any, position: np.ndarray) -> tuple[str, str, Any]:
        types = self.store.types
        if kind == "robot_state":
            message = types[ROBOT_STATE_TYPE](header=header, q=position, dq=np.zeros(7), tau_j=np.zeros(7),
                                              o_t_ee=np.zeros(16))
            return "/robot_state", ROBOT_STATE_TYPE, message
        # Not in the order of the arm, and with a joint too many: only names tell which is which.
        order = [3, 1, 0, 2, 6, 5, 4]
        state = types["sensor_msgs/msg/JointState"](
            header=header, name=["finger", *(JOINT_NAMES[i] for i in order)],
            position=np.concatenate([[9.0], position[order]]), velocity=np.zeros(0), effort=np.zeros(0))
        if kind == "nested":
            nested = types[NESTED_STATE_TYPE](header=header, measured_joint_state=state)
            return "/robot_state", NESTED_STATE_TYPE, nested
        return "/joint_states", "sensor_msgs/msg/JointState", state


def _events(plan: BagPlan, build: _Messages) -> list[tuple[int, str, str, Any]]:
    """(receive_ns, topic, type, message), unsorted."""
    rng = np.random.default_rng(0)
    shift_ns = round(plan.clock_shift_s * 1e9)
    description = build.store.types["std_msgs/msg/String"](data=urdf(plan.tip))
    events: list[tuple[int, str, str, Any]] = [(START_NS, "/robot_description", "std_msgs/msg/String", description)]
    for n in range(int(plan.duration_s * plan.joints_hz)):
        time_s = plan.joints_start_s + n / plan.joints_hz
        header = build.header(START_NS + round(time_s * 1e9) + shift_ns)
        topic, kind, message = build.joints(plan.joints, header, joints_at(np.array([time_s]))[0])
        if n in plan.empty_joints:
            message.name, message.position = [], np.zeros(0)
        events.append((START_NS + round((time_s + plan.joints_delay_s) * 1e9), topic, kind, message))
    for n in range(int(plan.duration_s * plan.camera_hz)):
        time_ms = round(1000 * n / plan.camera_hz)
        header = build.header(START_NS + time_ms * 1_000_000 + shift_ns)
        delay_s = plan.camera_delay_s + float(rng.uniform(0, plan.jitter_s))
        receive_ns = START_NS + time_ms * 1_000_000 + round(delay_s * 1e9)
        color = image_of(time_ms)
        depth = np.full((HEIGHT_PX, WIDTH_PX), 1000 + time_ms, np.uint16)
        if plan.compressed:
            events.append((receive_ns, "/camera/color/image_raw/compressed", "sensor_msgs/msg/CompressedImage",
                           build.compressed(header, color)))
        else:
            events.append((receive_ns, "/camera/color/image_raw", "sensor_msgs/msg/Image",
                           build.image(header, "rgb8", color)))
            if n in plan.broken_images:
                events[-1][3].data = events[-1][3].data[:-5]
        events.append((receive_ns, "/camera/depth/image_raw", "sensor_msgs/msg/Image",
                       build.image(header, "16UC1", depth)))
    return [event for event in events if event[1] not in plan.without and _is_kept(event, plan)]


def _is_kept(event: tuple[int, str, str, Any], plan: BagPlan) -> bool:
    first_s, last_s = plan.kept_s.get(event[1], (0.0, 1e9))
    return first_s <= (event[0] - START_NS) * 1e-9 <= last_s


def write_bag(path: Path, plan: BagPlan) -> Path:
    """Write a recording at the path: a .bag file for ROS 1, else a folder."""
    ros1 = plan.storage == "ros1"
    build = _Messages(ros1, plan.stamped)
    path.parent.mkdir(parents=True, exist_ok=True)
    plugin = StoragePlugin.SQLITE3 if plan.storage == "db3" else StoragePlugin.MCAP
    writer: Any = Ros1Writer(path) if ros1 else Ros2Writer(path, version=9, storage_plugin=plugin)
    with writer:
        connections: dict[str, Any] = {}
        for receive_ns, topic, kind, message in sorted(_events(plan, build), key=lambda event: event[0]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=build.store)
            raw = build.store.serialize_ros1(message, kind) if ros1 else build.store.serialize_cdr(message, kind)
            writer.write(connections[topic], receive_ns, raw)
    return path
