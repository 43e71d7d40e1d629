"""A process that reads or writes trajectories: ROLE NAME TOPIC, until it is ended."""

from __future__ import annotations

import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from trajectory_msgs.msg import JointTrajectory

from ladle_nodes.qos import reliable


def main() -> None:
    role, name, topic = sys.argv[1:4]
    rclpy.init(args=[])
    node = rclpy.create_node(name)
    if role == "reader":
        node.create_subscription(JointTrajectory, topic, lambda message: None, reliable(100))
    else:
        node.create_publisher(JointTrajectory, topic, reliable(1))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
