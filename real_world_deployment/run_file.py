"""The file of a recorded run: a ROS 2 bag (mcap, zstd) that every ROS tool opens, written without ROS.

Frames stand in it once each, as images; the questions that show them refer to them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.controllers import JtcMessage

RECORD_TOPIC = "/ladle/run/record"
SENT_TOPIC = "/ladle/run/sent"
JOINTS_TOPIC = "/ladle/run/joints"
FRAMES_TOPIC = "/ladle/run/frames/"
RECORD = "ladle_interfaces/msg/RunRecord"
ENCODINGS = {("|u1", 3): "rgb8", ("<u2", 2): "16UC1"}
KNOWN_FRAMES = 64  # a frame is shown to the policy at a few ticks in a row, then never again
NS = 1_000_000_000


class RunFile:
    """Writes one run; call from one thread.

    rosbags is imported here only: a robot that records nothing does not need it.
    """

    def __init__(self, folder: Path) -> None:
        """Create the bag's folder. Raises rosbags' WriterError where there is something already."""
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        self._store = get_typestore(Stores.ROS2_JAZZY)
        text = (resources.files("ladle_interface_definitions") / "RunRecord.msg").read_text()
        self._store.register(get_types_from_msg(text, RECORD))
        self._types: Any = self._store.types
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[str, Any] = {}
        self._frames: dict[str, OrderedDict[bytes, int]] = {}
        self._frame_counts: dict[str, int] = {}

    def record(self, time_ns: int, message: ArrayMessage, images: Mapping[str, NDArray[Any]]) -> None:
        """One event with the frames that it shows: stream -> (To, H, W[, 3])."""
        if images:
            frames = {key: {"numbers": [self._frame(time_ns, key, frame) for frame in stack], "dtype": stack.dtype.str,
                            "shape": stack.shape[1:]} for key, stack in images.items()}
            message = ArrayMessage(message.kind, {**message.values, "frames": frames}, message.arrays)
        data = np.frombuffer(message.to_bytes(), np.uint8)
        self._put(RECORD_TOPIC, RECORD, time_ns, stamp=self._time(time_ns), kind=message.kind, data=data)

    def sent(self, time_ns: int, stamp_ns: int, plan: JtcMessage) -> None:
        """A plan as it went out; its stamp and its points on the ROS clock."""
        kind = "trajectory_msgs/msg/JointTrajectory"
        point = self._types["trajectory_msgs/msg/JointTrajectoryPoint"]
        rows = zip(plan.times_from_start_s, plan.positions, plan.velocities, plan.accelerations, strict=True)
        points = [point(positions=q, velocities=dq, accelerations=ddq, effort=np.empty(0),
                        time_from_start=self._duration(float(time_s))) for time_s, q, dq, ddq in rows]
        self._put(SENT_TOPIC, kind, time_ns, header=self._header(stamp_ns), joint_names=list(plan.joint_names),
                  points=points)

    def joints(self, time_ns: int, header_ns: int, names: tuple[str, ...], q_rad: NDArray[np.float64]) -> None:
        """A measured state (J,)."""
        self._put(JOINTS_TOPIC, "sensor_msgs/msg/JointState", time_ns, header=self._header(header_ns),
                  name=list(names), position=q_rad, velocity=np.empty(0), effort=np.empty(0))

    def close(self) -> None:
        """Write what still waits and the bag's metadata."""
        self._writer.close()

    def _frame(self, time_ns: int, key: str, frame: NDArray[Any]) -> int:
        """The frame's number on its topic; written where it was not shown just before."""
        known = self._frames.setdefault(key, OrderedDict())
        frame = np.ascontiguousarray(frame)
        digest = hashlib.blake2b(frame.data, digest_size=16).digest()
        if digest not in known:
            known[digest] = self._frame_counts.get(key, 0)
            self._frame_counts[key] = known[digest] + 1
            if len(known) > KNOWN_FRAMES:
                known.popitem(last=False)
            kind = frame.dtype.newbyteorder("<").str
            encoding = ENCODINGS.get((kind, frame.ndim), f"{kind}{list(frame.shape[2:])}")
            self._put(FRAMES_TOPIC + key, "sensor_msgs/msg/Image", time_ns, header=self._header(time_ns, key),
                      height=frame.shape[0], width=frame.shape[1], is_bigendian=0, step=frame[0].nbytes,
                      encoding=encoding, data=frame.reshape(-1).view(np.uint8))
        return known[digest]

    def _put(self, topic: str, message_type: str, time_ns: int, /, **fields: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=self._store)
        data = self._store.serialize_cdr(self._types[message_type](**fields), message_type)
        self._writer.write(self._connections[topic], time_ns, data)

    def _time(self, time_ns: int) -> Any:
        return self._types["builtin_interfaces/msg/Time"](*divmod(time_ns, NS))

    def _duration(self, seconds: float) -> Any:
        return self._types["builtin_interfaces/msg/Duration"](*divmod(round(seconds * 1e9), NS))

    def _header(self, time_ns: int, frame_id: str = "") -> Any:
        return self._types["std_msgs/msg/Header"](stamp=self._time(time_ns), frame_id=frame_id)
