"""Helper process: writes every joint state as one line of JSON until it is ended."""

import json
import sys

import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState

from ladle_nodes.images import stamp_ns
from ladle_nodes.qos import reliable

rclpy.init()
node = rclpy.create_node("joint_watcher")


def keep(message: JointState) -> None:
    """Simulation time and joint velocities."""
    line = {"time_s": stamp_ns(message.header.stamp) / 1e9, "dq_rad_s": list(message.velocity)}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


node.create_subscription(JointState, "/joint_states", keep, reliable(1000))
executor = SingleThreadedExecutor()
executor.add_node(node)
try:
    executor.spin()
except KeyboardInterrupt:
    pass
finally:
    node.destroy_node()
    rclpy.try_shutdown()
