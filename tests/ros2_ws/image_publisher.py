"""Helper process: publishes numbered full-size frames at 30 Hz once there is a reader, until it is ended."""

import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image

from ladle_nodes.images import to_message
from ladle_nodes.qos import reliable

rclpy.init()
node = rclpy.create_node("image_publisher")
publisher = node.create_publisher(Image, "/test/image", reliable(30))
while not publisher.get_subscription_count():  # a loaded machine takes its time to start one
    time.sleep(0.01)
for number in range(250):
    publisher.publish(to_message(np.full((480, 640, 3), number, np.uint8), number, "camera"))
    time.sleep(1 / 30)
