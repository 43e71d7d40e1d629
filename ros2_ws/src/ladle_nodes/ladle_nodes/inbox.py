"""Sensor messages on their way from callbacks to the observation buffer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, JointState

from ladle.errors import DeploymentError, ObservationError
from ladle.joints_by_name import speaks_of, why_unusable
from ladle.task import TaskConfig
from ladle_nodes.images import stamp_ns, to_array
from ladle_nodes.lockstep import DEPTH
from ladle_nodes.process import waiting_messages
from ladle_nodes.qos import sensor_reader
from real_world_deployment.observation import JOINTS, ObservationBuffer

log = logging.getLogger("ladle.inbox")

NS = 1e-9
IMAGE_DEPTH = 30


@dataclass(frozen=True)
class _Arrival:
    message: Image | JointState
    receive_ns: int


class Inbox:
    """Subscribes to what the buffer needs, and hands over in order of receipt.

    Times are counted from the run's start in integer nanoseconds and turned into seconds only then, so that a run
    gives the same numbers wherever on the clock it lies.

    Attributes:
        skipped: joint states that were passed over, as they do not speak of all of the arm's joints.
    """

    def __init__(self, node: Node, task: TaskConfig, observations: ObservationBuffer, lockstep: bool,
                 refuse: Callable[[str, ObservationError], None] | None = None) -> None:
        """
        Args:
            refuse: told of samples that the buffer does not take, with their stream; without it they are raised.
        """
        if task.joints is None:
            raise DeploymentError(f"task {task.name} has no joints; a run needs them")
        self._node, self._observations, self._lockstep = node, observations, lockstep
        self._joint_names = task.joints.names
        self.skipped = 0
        self._refuse = refuse
        self._subscriptions: list[Subscription[Any]] = []
        self._waiting: dict[str, list[_Arrival]] = {}
        self._takes: dict[str, Callable[[], None]] = {}
        self._subscribe(JointState, JOINTS, task.joints.live_topic, DEPTH)
        for key in observations.camera_keys:
            self._subscribe(Image, key, task.cameras[key].topic, IMAGE_DEPTH if lockstep else 5)
        topics = [task.joints.live_topic, *(task.cameras[key].topic for key in observations.camera_keys)]
        self.has_writers: Callable[[], bool] = lambda: all(node.count_publishers(topic) > 0 for topic in topics)

    def clear(self) -> None:
        """Forget what has not been handed over."""
        for arrivals in self._waiting.values():
            arrivals.clear()

    def close(self) -> None:
        """Subscribe to nothing any more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def holds(self, received_ns: Mapping[str, list[int]]) -> bool:
        """Whether as many messages of each stream have come as were announced."""
        return all(len(arrivals) >= len(received_ns.get(stream, [])) for stream, arrivals in self._waiting.items())

    def missing(self, received_ns: Mapping[str, list[int]]) -> str:
        """Which announced messages have not come."""
        wanted = {stream: len(times_ns) for stream, times_ns in received_ns.items() if stream in self._waiting}
        return ", ".join(f"{stream} ({len(self._waiting[stream])} of {count} messages)"
                         for stream, count in wanted.items() if len(self._waiting[stream]) < count)

    def hand_over_announced(self, received_ns: Mapping[str, list[int]], start_ns: int) -> None:
        """Lockstep: the announced messages with the simulator's receive times."""
        for stream, arrivals in self._waiting.items():
            times_ns = received_ns.get(stream, [])
            for arrival, time_ns in zip(arrivals[: len(times_ns)], times_ns, strict=True):
                self._add(stream, arrival.message, time_ns, start_ns)
            del arrivals[: len(times_ns)]

    def hand_over(self, start_ns: int) -> None:
        """Otherwise: everything, with the times at which the callbacks saw it."""
        for stream, arrivals in self._waiting.items():
            for arrival in arrivals:
                self._add(stream, arrival.message, arrival.receive_ns, start_ns)
            arrivals.clear()

    def take_joints(self) -> None:
        """Take what is there, without the executor: it builds its wait set anew for every callback."""
        self._takes[JOINTS]()

    def take_images(self, key: str) -> None:
        """As above, of one camera."""
        self._takes[key]()

    def _subscribe(self, kind: type[Image] | type[JointState], stream: str, topic: str, depth: int) -> None:
        arrivals = self._waiting.setdefault(stream, [])

        def keep(message: Image | JointState) -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            arrivals.append(_Arrival(message, now_ns))
            arrivals.extend(_Arrival(more, now_ns) for more in waiting_messages(subscription))

        def take() -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            arrivals.extend(_Arrival(message, now_ns) for message in waiting_messages(subscription))

        subscription = self._node.create_subscription(kind, topic, keep, sensor_reader(depth, self._lockstep))
        self._subscriptions.append(subscription)
        self._takes[stream] = take

    def _add(self, stream: str, message: Image | JointState, receive_ns: int, start_ns: int) -> None:
        try:
            self._take(stream, message, receive_ns, start_ns)
        except ObservationError as error:
            if self._refuse is None:
                raise
            self._refuse(stream, error)

    def _take(self, stream: str, message: Image | JointState, receive_ns: int, start_ns: int) -> None:
        header_ns = stamp_ns(message.header.stamp)
        header_s = (header_ns - start_ns) * NS if header_ns else None  # 0: the driver does not fill it in
        receive_s = (receive_ns - start_ns) * NS
        if isinstance(message, JointState):
            names, position = list(message.name), list(message.position)
            if speaks_of(self._joint_names, names, position):
                self._observations.add_joints(header_s, receive_s, names, position, message.velocity)
                return
            self.skipped += 1  # a gripper's driver may publish on the same topic
            if self.skipped == 1:
                log.info("joint states without all joints are passed over; the first %s",
                         why_unusable(self._joint_names, names, position))
        else:
            self._observations.add_frame(stream, header_s, receive_s, to_array(message))
