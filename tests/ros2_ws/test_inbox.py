"""What the inbox hands on to the buffer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from sensor_msgs.msg import JointState

from ladle.errors import ObservationError
from ladle.task import load_task
from ladle_nodes.inbox import Inbox
from real_world_deployment.observation import ObservationBuffer


class FakeNode:
    """Keeps the callbacks; its clock stands at 1 s."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any], None]] = {}

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: object) -> None:
        self.callbacks[topic] = callback

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=10**9))


def test_joints_of_a_gripper_are_ignored() -> None:
    """Without any of the arm's joints a state is passed over; with some of them it is an error as before."""
    task = load_task("scoop")
    assert task.joints is not None
    node, observations = FakeNode(), ObservationBuffer(task, None, camera_keys=())
    inbox = Inbox(node, task, observations, lockstep=False)  # type: ignore[arg-type]
    arrive = node.callbacks[task.joints.live_topic]
    arrive(JointState(name=["finger_joint1", "finger_joint2"], position=[0.01, 0.01]))
    inbox.hand_over(0)
    assert observations.newest_joints() is None
    arrive(JointState(name=list(task.joints.names), position=[0.5] * 7))
    inbox.hand_over(0)
    assert observations.newest_joints() is not None
    arrive(JointState(name=[task.joints.names[0], "finger_joint1"], position=[0.5, 0.01]))
    with pytest.raises(ObservationError, match="lacks"):
        inbox.hand_over(0)
