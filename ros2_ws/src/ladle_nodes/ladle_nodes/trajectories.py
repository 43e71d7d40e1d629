"""trajectory_msgs/JointTrajectory to and from arrays."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from ladle_nodes.images import stamp, stamp_ns
from real_world_deployment.controllers import JtcMessage

Floats = NDArray[np.float64]


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
