"""A trajectory controller of whom it is known who else commands it, and whether it listens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import ReliabilityPolicy

from real_world_deployment.config import WatchdogBounds
from real_world_deployment.controllers import AcknowledgedJtc, JtcMessage
from real_world_deployment.safety.alarms import Alarm, Trouble

log = logging.getLogger("ladle.jtc")

LOOK_EVERY_S = 0.02
UNKNOWN = "_UNKNOWN_"  # in names of what ROS has discovered in part
AT_ONCE = Duration(nanoseconds=0)


class WatchedJtc(AcknowledgedJtc):
    """Its topic's readers and writers are looked at, at most every LOOK_EVERY_S of the wall clock, and whether they
    acknowledge what is sent.

    A reader that asks for best effort acknowledges nothing, and counts as one that has heard everything: that is how a
    JTC reads under Fast DDS (its `SystemDefaultsQoS`). There the joints alone tell of a plan that was lost.
    """

    def __init__(self, joint_names: tuple[str, ...], send: Callable[[JtcMessage], None], node: Node,
                 publisher: Publisher, bounds: WatchdogBounds) -> None:
        super().__init__(joint_names, self._publish, self._all_acknowledged, self._may_still_come, bounds)
        self._send_on, self._published_s = send, float("-inf")
        self._lives_s = publisher.qos_profile.lifespan.nanoseconds * 1e-9 or float("inf")
        self._node, self._publisher, self._topic = node, publisher, publisher.topic_name
        self._controller = self._topic.rsplit("/", 1)[0]  # /NODE/joint_trajectory
        self._looked_s, self._trouble = float("-inf"), None
        self._has_read = self._has_told = False
        self._can_ask = True

    def problem(self) -> Trouble | None:
        """That nobody reads the trajectories, or somebody else sends some; None if all is well."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s, self._trouble = now_s, self._reader_missing() or self._rival()
        return self._trouble

    def _publish(self, message: JtcMessage) -> None:
        self._send_on(message)
        self._published_s = time.monotonic()

    def _reader_missing(self) -> Trouble | None:
        """A recorder that reads too is no controller."""
        readers = self._node.get_subscriptions_info_by_topic(self._topic)
        names = _full_names(readers)
        self._tell_best_effort(readers)
        is_known = not any(UNKNOWN in name for name in names)
        if self._has_read and is_known and self._controller not in names:
            return Trouble(Alarm.CONTROLLER_DEAD, f"{self._controller} reads {self._topic} no more")
        self._has_read = self._has_read or self._controller in names
        return None if names else Trouble(Alarm.CONTROLLER_DEAD, f"nobody reads {self._topic}")

    def _rival(self) -> Trouble | None:
        if self._node.count_publishers(self._topic) <= 1:
            return None
        names = _full_names(self._node.get_publishers_info_by_topic(self._topic))
        own = self._node.get_fully_qualified_name()
        others = sorted({name for name in names if name != own and UNKNOWN not in name}) or ["another program"]
        return Trouble(Alarm.OTHER_COMMANDER, f"{', '.join(others)} commands the arm too, on {self._topic} (one that "
                                              "was killed counts for 20 s)")

    def _tell_best_effort(self, readers: Sequence[Any]) -> None:
        if not self._has_told and any(reader.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
                                      for reader in readers):
            self._has_told = True
            log.info("%s is read with best effort: a trajectory that is lost will be seen by the joints alone",
                     self._topic)

    def _all_acknowledged(self) -> bool:
        """What has outlived its lifespan is not missed by the writer any more, but has not been heard for that."""
        return self._is_acknowledged() and (self._lives() or not self._can_ask)

    def _may_still_come(self) -> bool:
        return self._lives() and not self._is_acknowledged()

    def _lives(self) -> bool:
        return time.monotonic() - self._published_s < self._lives_s

    def _is_acknowledged(self) -> bool:
        """By the writer, which does not miss what has outlived its lifespan; true where it cannot be asked."""
        if not self._can_ask:
            return True
        try:
            return bool(self._publisher.wait_for_all_acked(AT_ONCE))
        except rclpy_implementation.RCLError as error:
            self._can_ask = False
            log.warning("acknowledgements cannot be had (%s): a trajectory that is lost will be seen by the joints "
                        "alone", error)
            return True


def _full_names(endpoints: Sequence[Any]) -> list[str]:
    return [f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}" for endpoint in endpoints]
