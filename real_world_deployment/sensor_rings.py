"""Rings through which a process that hears the drivers feeds `RealEnv` in another: one a camera, one for joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ObservationError
from ladle.images import to_task_size
from ladle.joints_by_name import believable_positions, joints_by_name, why_unusable
from ladle.task import TaskConfig
from real_world_deployment.frame_ring import RingWriter
from real_world_deployment.ring_layout import RingLayout

IMAGE, JOINTS = "image", "q"  # the arrays of a camera's and of the joints' records
CAMERA_SLOTS, JOINT_SLOTS = 32, 2048  # a second or more of either


def camera_ring(task: TaskConfig, key: str) -> str:
    """Name of a camera's ring."""
    return f"{task.name}-{key}"


def joints_ring(task: TaskConfig) -> str:
    """Name of the joints' ring."""
    return f"{task.name}-joints"


class SensorRings:
    """Writes what the drivers send, brought to the task's size and order; a ring is made at its first record."""

    def __init__(self, task: TaskConfig) -> None:
        if task.joints is None:
            raise ObservationError(f"task {task.name} has no joints, so there is no arm to write rings for")
        self._task, self._names = task, task.joints.names
        self._believable = believable_positions(task.limits)
        self._writers: dict[str, RingWriter] = {}

    def frame(self, key: str, image: NDArray[Any], header_ns: int, receive_ns: int) -> None:
        """One decoded frame of a camera, RGB uint8 or depth ticks uint16.

        Raises:
            ObservationError: a wrong kind of image, or another process writes this ring.
        """
        name = camera_ring(self._task, key)
        self._put(name, {IMAGE: to_task_size(image, self._task.cameras[key])}, CAMERA_SLOTS, header_ns, receive_ns)

    def joints(self, names: Sequence[str], position: Sequence[float], header_ns: int, receive_ns: int) -> None:
        """One joint state; joints are found by name.

        Raises:
            ObservationError: a joint is missing, or a position cannot be.
        """
        q = joints_by_name(self._names, names, position, self._believable)
        if q is None:
            raise ObservationError(f"a joint state {why_unusable(self._names, names, position, self._believable)}")
        self._put(joints_ring(self._task), {JOINTS: q}, JOINT_SLOTS, header_ns, receive_ns)

    def close(self) -> None:
        """Let readers know that nothing comes any more."""
        for writer in self._writers.values():
            writer.close()

    def _put(self, name: str, arrays: Mapping[str, NDArray[np.generic]], slots: int, header_ns: int,
             receive_ns: int) -> None:
        if name not in self._writers:
            self._writers[name] = RingWriter(name, RingLayout.like(arrays, slots))
        self._writers[name].put(arrays, header_ns, receive_ns)
