"""Helper process: a driver's joints and colour camera at 100 Hz and 30 Hz, moving with the time, until it is ended."""

import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image, JointState

from ladle.task import load_task
from ladle_nodes.images import stamp, to_message
from ladle_nodes.qos import reliable

task = load_task("scoop")
assert task.joints is not None
assert task.home is not None
rclpy.init()
node = rclpy.create_node("driver")
joints = node.create_publisher(JointState, task.joints.live_topic, reliable(10))
images = {key: node.create_publisher(Image, camera.topic, reliable(5))
          for key, camera in task.extracted_cameras.items()}
for number in range(100_000):
    now_ns = time.time_ns()
    message = JointState(name=["finger", *reversed(task.joints.names)],
                         position=[0.04, *reversed(task.home.posture_rad)])
    message.header.stamp = stamp(now_ns)
    joints.publish(message)
    if number % 3 == 0:
        for key, publisher in images.items():
            shape, kind = ((480, 640, 3), np.uint8) if task.cameras[key].kind == "color" else ((480, 640), np.uint16)
            publisher.publish(to_message(np.full(shape, number % 200, kind), now_ns, key))
    time.sleep(0.01)
