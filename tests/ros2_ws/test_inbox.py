"""What the inbox hands on to the buffer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from ladle.errors import ObservationError
from ladle.task import TaskConfig, load_task
from ladle_nodes.inbox import Inbox
from real_world_deployment.observation import ObservationBuffer


class EmptyQueue:
    """A subscription of which nothing waits."""

    msg_type, raw = JointState, False

    def __init__(self) -> None:
        self.handle = MagicMock(**{"take_message.return_value": None})


class FakeNode:
    """Keeps the callbacks; its clock stands at 1 s."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any], None]] = {}

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], None], qos: object) -> object:
        self.callbacks[topic] = callback
        return EmptyQueue()

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=10**9))


HOME_RAD = [0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.8]


def joined(task: TaskConfig) -> tuple[Callable[..., None], Inbox, ObservationBuffer]:
    """A function that lets a joint state arrive, the inbox, and the buffer behind it."""
    assert task.joints is not None
    node, observations = FakeNode(), ObservationBuffer(task, None, camera_keys=())
    inbox = Inbox(node, task, observations, lockstep=False)  # type: ignore[arg-type]
    callback = node.callbacks[task.joints.live_topic]

    def arrive(name: Sequence[str], position: Sequence[float], sec: int = 1) -> None:
        message = JointState(name=list(name), position=list(position))
        message.header.stamp.sec = sec
        callback(message)
        inbox.hand_over(0)

    return arrive, inbox, observations


def test_joint_states_without_all_joints_are_passed_over() -> None:
    """A gripper's, and those with some of the arm's joints, as in the extraction; numbers that cannot be are errors."""
    task = load_task("scoop")
    assert task.joints is not None
    arrive, inbox, observations = joined(task)
    arrive(["finger_joint1", "finger_joint2"], [0.01, 0.01])
    arrive([task.joints.names[0], "finger_joint1"], [0.5, 0.01])
    arrive([], [0.01, 0.01])
    assert observations.newest_joints() is None
    assert inbox.skipped == 3
    arrive(task.joints.names, HOME_RAD)
    assert observations.newest_joints() is not None
    with pytest.raises(ObservationError, match="not finite"):
        arrive(task.joints.names, [float("nan"), *HOME_RAD[1:]])


def test_joints_without_names_are_taken_where_the_task_says_so() -> None:
    """Else they are an error with the reason."""
    task = load_task("scoop")
    assert task.joints is not None
    with pytest.raises(ObservationError, match="7 positions and no names"):
        joined(task)[0]([], HOME_RAD)
    arrive, _, observations = joined(dataclasses.replace(
        task, joints=dataclasses.replace(task.joints, order_when_unnamed=True)))
    arrive([], HOME_RAD)
    np.testing.assert_array_equal(observations.newest_joints(), HOME_RAD)


def test_joints_without_a_stamp_count_as_taken_at_their_receipt() -> None:
    """Not in 1970."""
    task = load_task("scoop")
    assert task.joints is not None
    arrive, _, observations = joined(task)
    arrive(task.joints.names, HOME_RAD, sec=0)
    assert observations.stale(1.0, 0.1, 0.1) is None
