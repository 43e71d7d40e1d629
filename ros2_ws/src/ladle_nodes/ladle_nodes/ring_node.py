"""Cameras and joints from topics into shared-memory rings, for scripts that stand on `RealEnv`.

    ros2 run ladle_nodes ring_node --ros-args -p task:=scoop

Receive times are this machine's time.time_ns(), the clock that `RealEnv` reads.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from ladle.errors import ObservationError
from ladle.joints_by_name import speaks_of
from ladle.task import load_task
from ladle_nodes.images import stamp_ns, to_array
from ladle_nodes.process import Spinner, run_node, text_parameter, waiting_messages
from ladle_nodes.qos import sensor_reader
from real_world_deployment.sensor_rings import SensorRings

log = logging.getLogger("ladle.rings")

POLL_S = 0.001
CAMERA_DEPTH, JOINT_DEPTH = 5, 100


class RingNode:
    """Writes until it is stopped; one bad sample is told and passed over."""

    def __init__(self, node: Node) -> None:
        self._task = load_task(text_parameter(node, "task"))
        self._rings = SensorRings(self._task)
        self._spinner = Spinner(node)
        self._said = ""
        assert self._task.joints is not None
        self._names = self._task.joints.names
        self._joint_states = node.create_subscription(JointState, self._task.joints.live_topic, self._joints,
                                                      sensor_reader(JOINT_DEPTH, lockstep=False))
        for key, camera in self._task.extracted_cameras.items():
            node.create_subscription(Image, camera.topic, partial(self._frame, key),
                                     sensor_reader(CAMERA_DEPTH, lockstep=False))

    def run(self) -> None:
        """Until the process is asked to end."""
        while True:
            self._spinner.everything(POLL_S)

    def close(self) -> None:
        """Leave the rings."""
        self._rings.close()
        self._spinner.close()

    def _joints(self, message: JointState) -> None:
        for each in (message, *waiting_messages(self._joint_states)):
            self._joint_state(each)

    def _joint_state(self, message: JointState) -> None:
        names, position = list(message.name), list(message.position)
        if not speaks_of(self._names, names, position):
            return  # a gripper's driver may publish on the same topic
        try:
            self._rings.joints(names, position, stamp_ns(message.header.stamp), time.time_ns())
        except ObservationError as error:
            self._say(error)

    def _frame(self, key: str, message: Image) -> None:
        try:
            self._rings.frame(key, to_array(message), stamp_ns(message.header.stamp), time.time_ns())
        except ObservationError as error:
            self._say(error)

    def _say(self, error: ObservationError) -> None:
        """Each trouble once."""
        if str(error) != self._said:
            self._said = str(error)
            log.warning("passed over: %s", error)


def main() -> None:
    """Entry point of ladle_nodes ring_node."""
    def make() -> tuple[Node, RingNode]:
        node = Node("ladle_rings", automatically_declare_parameters_from_overrides=True)
        return node, RingNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
