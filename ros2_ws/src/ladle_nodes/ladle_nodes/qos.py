"""Quality of service of every topic, in one place.

A robot's sensors may publish best effort; a reader that asks for best effort matches every writer. In lockstep no
message may be lost, and the simulator writes reliably, so there the readers ask for reliable.
"""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def latched() -> QoSProfile:
    """For what is said once and read by whoever comes later: /robot_description."""
    return QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL)


def reliable(depth: int) -> QoSProfile:
    """For commands, and for everything in lockstep; depth covers what is sent between two acknowledgements."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.VOLATILE)


def fresh_command(lifespan_s: float) -> QoSProfile:
    """For a plan of the arm: the newest alone, and never later than it could still be followed.

    A reliable writer sends again what was lost. After an outage of the network the controller would be given plans
    of long ago, from which it has departed: a step.

    Args:
        lifespan_s: of the wall clock.
    """
    profile = reliable(1)
    profile.lifespan = Duration(nanoseconds=round(lifespan_s * 1e9))
    return profile


def sensor_reader(depth: int, lockstep: bool) -> QoSProfile:
    """For readers of cameras and joints."""
    if lockstep:
        return reliable(depth)
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT,
                      durability=DurabilityPolicy.VOLATILE)
