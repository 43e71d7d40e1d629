"""The pair of topics between a run and a policy on another machine; messages are those of the policy's process.

A question carries its frames (two of 240x120 in colour are 173 kB). Both sides use reliable topics, as what a policy
keeps from tick to tick must not depend on what was lost.
"""

from __future__ import annotations

from array import array

from std_msgs.msg import UInt8MultiArray

from real_world_deployment.array_message import ArrayMessage

QUESTIONS, ANSWERS = "/ladle/policy/questions", "/ladle/policy/answers"
DEPTH = 32  # windows that wait while the policy thinks, ten a second
HELLO = "hello"
SESSION = "session"  # who asks: one run, from its configuring to its end


def to_wire(message: ArrayMessage) -> UInt8MultiArray:
    """As ROS carries it; an array.array is copied at once, anything else byte by byte."""
    return UInt8MultiArray(data=array("B", message.to_bytes()))


def from_wire(wire: UInt8MultiArray) -> ArrayMessage:
    """The inverse. Raises DeploymentError for what is no whole message."""
    return ArrayMessage.from_bytes(bytes(wire.data))
