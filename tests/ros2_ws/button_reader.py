"""Helper process: prints each change of a joystick's first button, as long as it lives: `button_reader.py TOPIC`."""

import sys

import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Joy

from ladle_nodes.qos import sensor_reader

rclpy.init()
node = rclpy.create_node("button_reader")
last = -1


def see(message: Joy) -> None:
    """Say it if it is new."""
    global last
    if message.buttons[0] != last:
        last = message.buttons[0]
        sys.stdout.write(f"{last}\n")
        sys.stdout.flush()


node.create_subscription(Joy, sys.argv[1], see, sensor_reader(1, lockstep=False))
executor = SingleThreadedExecutor()
executor.add_node(node)
executor.spin()
