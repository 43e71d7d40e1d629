"""std_msgs/Float64MultiArray of one row as the bytes that go over the wire: at 1 kHz objects cost twice that."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64MultiArray

Floats = NDArray[np.float64]


class SetpointBytes:
    """Serialised set-points of one arm: what rclpy writes of an example, with other numbers at its end.

    Attributes:
        is_exact: whether the example ends with its numbers; else set-points become message objects, as ever.
    """

    def __init__(self, n_joints: int) -> None:
        example: Floats = np.linspace(-3.0, 3.0, n_joints)
        numbers = example.tobytes()
        whole = bytes(serialize_message(_to_message(example)))
        self._head, self._n_joints = whole[:-len(numbers)], n_joints
        self.is_exact = sys.byteorder == "little" and whole[-len(numbers):] == numbers

    def of(self, q_rad: Floats) -> bytes | Float64MultiArray:
        """What a publisher takes, for a set-point (J,)."""
        assert q_rad.shape == (self._n_joints,)
        return self._head + q_rad.tobytes() if self.is_exact else _to_message(q_rad)


def _to_message(q_rad: Floats) -> Float64MultiArray:
    return Float64MultiArray(data=array("d", q_rad.tobytes()))
