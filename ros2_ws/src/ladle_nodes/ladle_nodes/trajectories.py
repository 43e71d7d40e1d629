"""trajectory_msgs/JointTrajectory to and from arrays, and to the bytes that go over the wire.

A message object of twenty points is sixty arrays and twenty durations: making and serialising it costs rclpy most of a
millisecond, for which the arm waits. The bytes themselves are one numpy array (XCDR1, OMG DDS-XTypes 7.4.1: little
endian, doubles on multiples of 8 behind the 4 bytes that tell the encoding).
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ladle_nodes.images import stamp, stamp_ns
from real_world_deployment.controllers import JtcMessage

Floats = NDArray[np.float64]

LITTLE_ENDIAN = bytes((0, 1, 0, 0))
STAMP, STAMP_AT = struct.Struct("<iI"), len(LITTLE_ENDIAN)
COUNT = struct.Struct("<I")


def to_message(message: JtcMessage, start_ns: int) -> JointTrajectory:
    """A plan on the run's clock, which began at `start_ns` of the ROS clock."""
    out = JointTrajectory(joint_names=list(message.joint_names))
    out.header.stamp = stamp(start_ns + round(message.stamp_s * 1e9))
    rows = (message.positions, message.velocities, message.accelerations)
    out.points = [
        JointTrajectoryPoint(positions=array("d", q.tobytes()), velocities=array("d", dq.tobytes()),
                             accelerations=array("d", ddq.tobytes()), time_from_start=_duration(float(time_s)))
        for time_s, q, dq, ddq in zip(message.times_from_start_s, *map(np.ascontiguousarray, rows), strict=True)
    ]
    return out


class TrajectoryBytes:
    """Plans as serialised messages of one arm.

    Attributes:
        is_exact: whether rclpy reads an example as it was meant; else plans become message objects, as ever.
    """

    def __init__(self, joint_names: tuple[str, ...]) -> None:
        self._joint_names = joint_names
        width = len(joint_names)
        row = 8 * width
        # A point begins 4 bytes behind a multiple of 8; the numbers of an array follow its length on the next one.
        at = [0, 4, 4 + row, 12 + row, 12 + 2 * row, 20 + 2 * row, 20 + 3 * row, 24 + 3 * row, 28 + 3 * row]
        rows = f"({width},)<f8"
        self._point = np.dtype({
            "names": ["n_q", "q", "n_dq", "dq", "n_ddq", "ddq", "n_effort", "sec", "nanosec"],
            "formats": ["<u4", rows, "<u4", rows, "<u4", rows, "<u4", "<i4", "<u4"],
            "offsets": at, "itemsize": 32 + 3 * row})
        self._names = _names(joint_names)
        # Where the first point begins on a multiple of 8, as the others do not, its numbers are 4 bytes farther off.
        self._gap = 0 if (STAMP.size + len(self._names) + COUNT.size) % 8 else 4
        self.is_exact = sys.byteorder == "little" and self._agrees()

    def of(self, message: JtcMessage, start_ns: int) -> bytes | JointTrajectory:
        """What a publisher takes, for a plan on the run's clock, which began at `start_ns` of the ROS clock."""
        return self._serialised(message, start_ns) if self.is_exact else to_message(message, start_ns)

    def _serialised(self, message: JtcMessage, start_ns: int) -> bytes:
        n = len(message.times_from_start_s)
        points = np.zeros(n, self._point)
        points["n_q"] = points["n_dq"] = points["n_ddq"] = len(self._joint_names)
        points["q"], points["dq"], points["ddq"] = message.positions, message.velocities, message.accelerations
        times_ns = np.rint(message.times_from_start_s * 1e9).astype(np.int64)
        points["sec"], points["nanosec"] = np.divmod(times_ns, 1_000_000_000)
        stamp_bytes = STAMP.pack(*divmod(start_ns + round(message.stamp_s * 1e9), 1_000_000_000))
        data = points.tobytes()
        return b"".join((LITTLE_ENDIAN, stamp_bytes, self._names, COUNT.pack(n), data[:COUNT.size],
                         bytes(self._gap), data[COUNT.size:]))

    def plan(self, data: bytes, start_ns: int) -> JtcMessage:
        """The inverse, for whatever a publisher has sent; as `to_plan` where it is not of our making."""
        at = STAMP_AT + STAMP.size + len(self._names)
        if self.is_exact and data[:STAMP_AT] == LITTLE_ENDIAN and data[at - len(self._names):at] == self._names:
            (n,) = COUNT.unpack_from(data, at)
            first = at + COUNT.size
            points = data[first:first + COUNT.size] + data[first + COUNT.size + self._gap:]
            if len(points) >= n * self._point.itemsize:
                read = np.frombuffer(points, self._point, n)
                width = len(self._joint_names)
                if all((read[name] == width).all() for name in ("n_q", "n_dq", "n_ddq")) and not read["n_effort"].any():
                    return self._read(data, read, start_ns)
        return to_plan(deserialize_message(data, JointTrajectory), start_ns)

    def _read(self, data: bytes, points: NDArray[Any], start_ns: int) -> JtcMessage:
        sec, nanosec = STAMP.unpack_from(data, STAMP_AT)
        return JtcMessage((sec * 1_000_000_000 + nanosec - start_ns) * 1e-9, self._joint_names,
                          points["sec"] + points["nanosec"] * 1e-9,
                          *(np.ascontiguousarray(points[name]) for name in ("q", "dq", "ddq")))

    def _agrees(self) -> bool:
        """By an example with fractions and negative numbers in it."""
        rows = np.linspace(-3.0, 3.0, 3 * len(self._joint_names)).reshape(3, -1)
        plan = JtcMessage(12.025, self._joint_names, np.array([0.025, 1.05, 2.5]), rows, -rows, 2.0 * rows)
        start_ns = 1_700_000_000_123_456_789
        read = deserialize_message(self._serialised(plan, start_ns), JointTrajectory)
        return bool(read == to_message(plan, start_ns))


def _names(joint_names: tuple[str, ...]) -> bytes:
    """What lies between the stamp and the number of points: an empty frame_id, and the names."""
    out = COUNT.pack(1) + bytes(4) + COUNT.pack(len(joint_names))
    for name in joint_names:
        text = name.encode() + b"\0"
        out += COUNT.pack(len(text)) + text + bytes(-len(text) % COUNT.size)
    return out


def to_plan(message: JointTrajectory, start_ns: int) -> JtcMessage:
    """The inverse of `to_message`; every point must carry positions, velocities and accelerations."""
    points = message.points
    return JtcMessage(
        (stamp_ns(message.header.stamp) - start_ns) * 1e-9, tuple(message.joint_names), times_s(message),
        np.array([p.positions for p in points]), np.array([p.velocities for p in points]),
        np.array([p.accelerations for p in points]))


def times_s(message: JointTrajectory) -> Floats:
    """(n,) time from start of each point."""
    return np.array([p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points])


def _duration(seconds: float) -> Duration:
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)
