"""The robot of `ladle bench loop`: python -m app.benchmarks.loop_sensors TASK SECONDS.

Publishes what the deployment side needs to run: joints at 1 kHz from a plain thread, and the task's extracted cameras
at 640x480 and 30 Hz. The arm is where the set-points say, for one that does not follow its plan is a fault. Joint
states are stamped on a grid of 1 ms, so that a reader knows which ones it has missed. Messages are serialised once, and
only their stamps and positions are written anew: on a robot the drivers are no Python, and here they must not take the
processor from what is measured.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String

from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig, load_task
from ladle_bringup.description import SETPOINT_TOPIC
from ladle_nodes.images import to_message
from ladle_nodes.lockstep import DEPTH
from ladle_nodes.process import waiting_messages
from ladle_nodes.qos import latched, reliable
from real_world_deployment.config import LimitShares
from real_world_deployment.homing import Homing
from real_world_deployment.safety import MotionLimits

JOINTS_PERIOD_NS = 1_000_000
CAMERA_PERIOD_NS = 33_333_333
WIDTH_PX, HEIGHT_PX = 640, 480
IMAGE_DEPTH = 5
STAMP, STAMP_AT = struct.Struct("<iI"), 4  # a header's stamp comes first, behind the 4 bytes that tell the encoding
SETPOINT_AT = 20  # behind them, an empty layout and the number of set-points, on the next multiple of 8
WAITING_SETPOINTS = 2


def main() -> None:
    """Publish for so long; then one line of JSON: the first stamp and how many joint states there were."""
    task, seconds = load_task(sys.argv[1]), float(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("loop_sensors")
    assert task.joints is not None
    assert task.frames is not None
    description = node.create_publisher(String, task.frames.description_topic, latched())
    description.publish(String(data=panda_urdf()))
    setpoints = node.create_subscription(Float64MultiArray, SETPOINT_TOPIC, lambda _: None, reliable(DEPTH), raw=True)
    joints = node.create_publisher(JointState, task.joints.live_topic, reliable(DEPTH))
    publish_joints = following(joints, setpoints, task.joints.names, home_rad(task))
    start_ns = time.time_ns() // JOINTS_PERIOD_NS * JOINTS_PERIOD_NS
    end_ns = start_ns + round(seconds * 1e9)
    cameras: list[Callable[[int], None]] = []
    for key, camera in task.extracted_cameras.items():
        frame = (np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8) if camera.kind == "color"
                 else np.full((HEIGHT_PX, WIDTH_PX), 3000, np.uint16))
        publisher = node.create_publisher(Image, camera.topic, reliable(IMAGE_DEPTH))
        cameras.append(stamped(publisher, to_message(frame, start_ns, key)))

    def publish_frames(now_ns: int) -> None:
        for publish in cameras:
            publish(now_ns)

    thread = threading.Thread(target=every, args=(CAMERA_PERIOD_NS, start_ns, end_ns, publish_frames))
    thread.start()
    count = every(JOINTS_PERIOD_NS, start_ns, end_ns, publish_joints)
    thread.join()
    sys.stdout.write(json.dumps({"start_ns": start_ns, "joint_states": count}) + "\n")
    rclpy.try_shutdown()


def following(publisher: Publisher, setpoints: Subscription[Any], names: tuple[str, ...],
              home_rad: np.ndarray) -> Callable[[int], None]:
    """Publishes joint states of an arm that takes one set-point each millisecond; it is at home before the first.

    What it overslept it takes up in order, one for each instant: an arm does not stand while its driver is asleep.
    """
    width = home_rad.nbytes
    state = bytes(serialize_message(JointState(name=list(names), position=array("d", home_rad.tobytes()))))
    position_at = state.index(home_rad.tobytes())
    data = bytearray(state)
    waiting: deque[bytes] = deque()

    def publish(now_ns: int) -> None:
        waiting.extend(waiting_messages(setpoints))
        behind = (time.time_ns() - now_ns) // JOINTS_PERIOD_NS
        if waiting:
            data[position_at:position_at + width] = waiting.popleft()[SETPOINT_AT:SETPOINT_AT + width]
        while len(waiting) > behind + WAITING_SETPOINTS:
            waiting.popleft()
        STAMP.pack_into(data, STAMP_AT, *divmod(now_ns, 1_000_000_000))
        publisher.publish(bytes(data))
    return publish


def stamped(publisher: Publisher, message: Image) -> Callable[[int], None]:
    """Publishes a message with another stamp each time."""
    data = bytes(serialize_message(message))
    head, tail = data[:STAMP_AT], data[STAMP_AT + STAMP.size:]

    def publish(now_ns: int) -> None:
        publisher.publish(b"".join((head, STAMP.pack(*divmod(now_ns, 1_000_000_000)), tail)))
    return publish


def every(period_ns: int, start_ns: int, end_ns: int, act: Callable[[int], None]) -> int:
    """Call at each instant of the grid; instants that were overslept are caught up with. How often it was."""
    due_ns, count = start_ns, 0
    while due_ns < end_ns:
        wait_ns = due_ns - time.time_ns()
        if wait_ns > 0:
            time.sleep(wait_ns * 1e-9)
        act(due_ns)
        due_ns, count = due_ns + period_ns, count + 1
    return count


def home_rad(task: TaskConfig) -> np.ndarray:
    """(J,) the task's home: where no rule objects to an arm."""
    assert task.frames is not None
    assert task.limits is not None
    assert task.joints is not None
    assert task.home is not None
    chain = KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)
    return Homing(chain, task.home, MotionLimits(task.limits, LimitShares(), task.joints.names), 0.25).home_rad


if __name__ == "__main__":
    main()
