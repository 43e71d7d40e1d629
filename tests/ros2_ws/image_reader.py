"""Helper process: from the first frame of image_publisher that arrives, how many of the next arrive whole."""

import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from ladle_nodes.images import stamp_ns, to_array
from ladle_nodes.qos import sensor_reader

FRAMES = 20
rclpy.init()
node = rclpy.create_node("image_reader")
good = []


def keep(message: Image) -> None:
    """Count a frame whose pixels all carry its number."""
    image, number = to_array(message), stamp_ns(message.header.stamp)
    if image.shape == (480, 640, 3) and (image == number).all():
        good.append(number)


node.create_subscription(Image, "/test/image", keep, sensor_reader(30, lockstep=False))
executor = SingleThreadedExecutor()
executor.add_node(node)
until_s = time.monotonic() + 30
while len(good) < FRAMES and time.monotonic() < until_s:
    executor.spin_once(timeout_sec=0.1)
lost = sorted(set(range(good[0], good[0] + FRAMES)) - set(good)) if good else "all"
print(f"lost: {lost}")  # noqa: T201
node.destroy_node()
rclpy.try_shutdown()
