"""A trajectory controller of whom it is known whether anybody listens."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.publisher import Publisher

from real_world_deployment.controllers import JtcController, JtcMessage

LOOK_EVERY_S = 0.02


class WatchedJtc(JtcController):
    """Its topic's subscriptions are counted, at most every LOOK_EVERY_S of the wall clock."""

    def __init__(self, joint_names: tuple[str, ...], send: Callable[[JtcMessage], None], publisher: Publisher) -> None:
        super().__init__(joint_names, send)
        self._publisher = publisher
        self._looked_s, self._readers = float("-inf"), 0

    def problem(self) -> str | None:
        """That nobody reads the trajectories; None if somebody does."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s, self._readers = now_s, self._publisher.get_subscription_count()
        return None if self._readers else f"nobody reads {self._publisher.topic_name}"
