"""A genuine ROS 2 bag of one demonstration, written without ROS.

The bag has the topics of the task file, with every message definition inside, and messages in the order in which they
arrived. It is written under a hidden sibling of its final name and takes that name when it is whole.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ladle.errors import SimulationError
from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig

Storage = Literal["mcap", "db3"]
Floats = NDArray[np.float64]

ROBOT_STATE = "ladle_interfaces/msg/FrankaRobotState"
ROBOT_STATE_TOPIC = "/robot_state"
JPEG_QUALITY = 80  # image_transport's default is 95; the twin is for people
BAG_VERSION = 9  # metadata of Jazzy and later
FOREVER = QosTime(2147483647, 4294967295)  # rmw's infinite duration


def bag_typestore() -> Typestore:
    """ROS 2's message types with the arm's state message added from its .msg file."""
    store = get_typestore(Stores.ROS2_JAZZY)
    text = (resources.files("ladle_interface_definitions") / "FrankaRobotState.msg").read_text()
    store.register(get_types_from_msg(text, ROBOT_STATE))
    return store


def _qos(depth: int, reliability: QosReliability, durability: QosDurability) -> Qos:
    return Qos(
        history=QosHistory.KEEP_LAST, depth=depth, reliability=reliability, durability=durability,
        deadline=FOREVER, lifespan=FOREVER, liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=FOREVER, avoid_ros_namespace_conventions=False,
    )


LATCHED = _qos(1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)
SENSOR = _qos(5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE)
STATE = _qos(10, QosReliability.RELIABLE, QosDurability.VOLATILE)


class BagWriter:
    """Writes one bag; a context manager.

    Leaving the block normally puts the bag at `folder` (`folder/<name>_0.mcap` or `.db3` and metadata.yaml);
    leaving it by an exception leaves nothing. Times are seconds of the demonstration; `start_ns` is their zero.
    """

    def __init__(
        self,
        folder: Path,
        task: TaskConfig,
        start_ns: int,
        storage: Storage = "mcap",
        vertical_fov_rad: Mapping[str, float] | None = None,
    ) -> None:
        """Nothing is written before the block is entered.

        Args:
            vertical_fov_rad: opening angle of the cameras (task keys) that shall have a camera_info topic.

        Raises:
            SimulationError: an unknown storage, a task without joints, or something already at `folder`.
        """
        if storage not in ("mcap", "db3"):
            raise SimulationError(f"unknown bag storage {storage!r}; use mcap or db3")
        if task.joints is None:
            raise SimulationError(f"task {task.name} has no joints to record")
        if folder.exists():
            raise SimulationError(f"{folder} exists already; remove it or choose another output folder")
        self.folder = folder
        self._task = task
        self._joint_names = list(task.joints.names)
        self._start_ns = start_ns
        self._storage = storage
        self._fov_rad = dict(vertical_fov_rad or {})
        self._store = bag_typestore()
        self._types: Any = self._store.types
        self._connections: dict[str, Connection] = {}
        self._waiting: list[tuple[int, int, str, memoryview]] = []
        self._count = 0
        self._partial = folder.with_name(f".partial-{folder.name}")

    def __enter__(self) -> BagWriter:
        """Open the bag under its hidden name."""
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        plugin = StoragePlugin.MCAP if self._storage == "mcap" else StoragePlugin.SQLITE3
        # rosbags names the file after its folder; `ros2 bag` names it <bag>_0.
        self._writer = Writer(self._partial / f"{self.folder.name}_0", version=BAG_VERSION, storage_plugin=plugin)
        if self._storage == "mcap":
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what still waits and give the bag its name, or remove every trace after an exception."""
        try:
            if kind is None:
                self._finish()
            else:
                self._writer.abort()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def write_description(self, urdf: str, receive_s: float) -> None:
        """The robot's URDF on the task's latched description topic."""
        topic = self._task.frames.description_topic if self._task.frames else "/robot_description"
        message = self._types["std_msgs/msg/String"](data=urdf)
        self._put(topic, "std_msgs/msg/String", LATCHED, message, receive_s)

    def write_color(
        self, key: str, image: NDArray[np.uint8], header_s: float, receive_s: float, compressed: bool = False
    ) -> None:
        """An RGB image (H, W, 3) of camera `key`, on request with its jpeg twin on `<topic>/compressed`."""
        camera = self._task.cameras[key]
        self._put_image(key, "rgb8", image, header_s, receive_s)
        if compressed:
            done, jpeg = cv2.imencode(
                ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            )
            assert done
            kind = "sensor_msgs/msg/CompressedImage"
            header = self._header(header_s, camera.frame_id)
            message = self._types[kind](header=header, format="rgb8; jpeg compressed bgr8", data=jpeg.reshape(-1))
            self._put(f"{camera.topic}/compressed", kind, SENSOR, message, receive_s)

    def write_depth(self, key: str, ticks: NDArray[np.uint16], header_s: float, receive_s: float) -> None:
        """A depth image (H, W) of camera `key` in ticks of the task's depth_scale_m."""
        self._put_image(key, "16UC1", ticks, header_s, receive_s)

    def write_joints(
        self, q_rad: Floats, dq_rad_s: Floats, tau_nm: Floats, o_t_ee: Floats, header_s: float, receive_s: float
    ) -> None:
        """One measured state, (7,) each and the tip's (4, 4) transform in the base frame.

        It goes to the joint states topic and, as Franka's own state message, to /robot_state.
        """
        header = self._header(header_s, "")
        kind = "sensor_msgs/msg/JointState"
        message = self._types[kind](
            header=header, name=self._joint_names, position=q_rad, velocity=dq_rad_s, effort=tau_nm
        )
        assert self._task.joints is not None
        self._put(self._task.joints.live_topic, kind, STATE, message, receive_s)
        flat = np.ascontiguousarray(o_t_ee.T).reshape(16)  # column-major, as libfranka has it
        message = self._types[ROBOT_STATE](header=header, q=q_rad, dq=dq_rad_s, tau_j=tau_nm, o_t_ee=flat)
        self._put(ROBOT_STATE_TOPIC, ROBOT_STATE, STATE, message, receive_s)

    def flush(self, before_s: float | None) -> None:
        """Write all messages that arrived before `before_s` (None: all), in the order of their arrival.

        A recorder calls it with the time that the demonstration has reached: nothing arrives earlier any more.
        """
        limit_ns = None if before_s is None else self.stamp_ns(before_s)
        while self._waiting and (limit_ns is None or self._waiting[0][0] < limit_ns):
            receive_ns, _, topic, data = heapq.heappop(self._waiting)
            self._writer.write(self._connections[topic], receive_ns, data)

    def stamp_ns(self, time_s: float) -> int:
        """A time of the demonstration in the bag's clock."""
        return self._start_ns + round(time_s * 1e9)

    def _finish(self) -> None:
        try:
            self.flush(None)
            self._writer.close()
        except BaseException:
            self._writer.abort()  # closes the file when the disk is full
            raise
        self._writer.path.replace(self.folder)

    def _header(self, header_s: float, frame_id: str) -> Any:
        seconds, nanoseconds = divmod(self.stamp_ns(header_s), 1_000_000_000)
        stamp = self._types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
        return self._types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    def _put_image(
        self, key: str, encoding: str, image: NDArray[Any], header_s: float, receive_s: float
    ) -> None:
        camera = self._task.cameras[key]
        if image.shape[:2] != (camera.height_px, camera.width_px):
            raise SimulationError(
                f"{camera.topic}: image is {image.shape[1]}x{image.shape[0]}, "
                f"the task file says {camera.width_px}x{camera.height_px}"
            )
        header = self._header(header_s, camera.frame_id)
        data = np.ascontiguousarray(image).reshape(-1).view(np.uint8)
        kind = "sensor_msgs/msg/Image"
        message = self._types[kind](
            header=header, height=image.shape[0], width=image.shape[1], encoding=encoding, is_bigendian=0,
            step=data.size // image.shape[0], data=data,
        )
        self._put(camera.topic, kind, SENSOR, message, receive_s)
        if key in self._fov_rad:
            self._put_camera_info(camera, self._fov_rad[key], header, receive_s)

    def _put_camera_info(self, camera: CameraConfig, fov_rad: float, header: Any, receive_s: float) -> None:
        """A pinhole with square pixels and the principal point in the middle, as MuJoCo renders."""
        focal_px = 0.5 * camera.height_px / np.tan(0.5 * fov_rad)
        cx, cy = (camera.width_px - 1) / 2, (camera.height_px - 1) / 2
        k = np.array([focal_px, 0, cx, 0, focal_px, cy, 0, 0, 1])
        p = np.array([focal_px, 0, cx, 0, 0, focal_px, cy, 0, 0, 0, 1, 0])
        whole = self._types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        kind = "sensor_msgs/msg/CameraInfo"
        message = self._types[kind](
            header=header, height=camera.height_px, width=camera.width_px, distortion_model="plumb_bob",
            d=np.zeros(5), k=k, r=np.eye(3).reshape(-1), p=p, binning_x=0, binning_y=0, roi=whole,
        )
        self._put(f"{camera.topic.rsplit('/', 1)[0]}/camera_info", kind, SENSOR, message, receive_s)

    def _put(self, topic: str, kind: str, qos: Qos, message: Any, receive_s: float) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store, offered_qos_profiles=[qos]
            )
        data = self._store.serialize_cdr(message, kind)
        # The running number keeps messages of equal time in the order in which they were put.
        heapq.heappush(self._waiting, (self.stamp_ns(receive_s), self._count, topic, data))
        self._count += 1
