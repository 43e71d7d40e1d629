"""A process between a sensor's driver and the deployment, which can die, stall and lie.

The driver publishes on a remapped topic, and the relay forwards to the topic that the deployment reads. Killing it is
the driver's death, SIGSTOP and SIGCONT make a stall; what else can go wrong is commanded on FAULT_TOPIC as
"STREAM MODE [NUMBER]":

| mode | what is forwarded |
|---|---|
| pass | everything as it comes; bytes are not looked at, but images flicker |
| loss SHARE | all but a random share |
| frozen | images: the last picture before the command, with the stamps of the later ones |
| nan | joints: positions that are no numbers |
| step SECONDS | clock: times that much later |

Simulated cameras have no noise: a scene at rest would look like a frozen camera. So every second picture that passes
has another least bit in its last byte.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import ConfigError
from ladle.script import run_script
from ladle_nodes.images import stamp, stamp_ns
from ladle_nodes.qos import reliable

FAULT_TOPIC = "/ladle/fault"
# As many as a stall of 2 s may leave waiting.
DEPTH = 1000
KINDS: dict[str, Any] = {"clock": Clock, "image": Image, "joints": JointState, "trajectory": JointTrajectory}


def commands() -> QoSProfile:
    """Of FAULT_TOPIC: a relay that hears it late hears all of it, in order."""
    return QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Relay:
    """Forwards one stream, as it was last told to.

    Args:
        publish: sends serialized messages on.
    """

    def __init__(self, stream: str, kind: type[Any], publish: Callable[[bytes], None]) -> None:
        self._stream, self._kind, self._publish = stream, kind, publish
        self._loss = random.Random(0)
        self._mode, self._number = "pass", 0.0
        self._last = b""
        self._flickers = False

    def command(self, message: String) -> None:
        """Another mode, if this stream is meant."""
        stream, mode, *number = message.data.split()
        if stream == self._stream:
            self._mode, self._number = mode, float(number[0]) if number else 0.0

    def forward(self, serialized: bytes) -> None:
        """One message of the driver."""
        if self._mode == "loss" and self._loss.random() < self._number:
            return
        if self._mode not in ("frozen", "nan", "step"):
            self._last = self._flickered(serialized) if self._kind is Image else serialized
            self._publish(self._last)
            return
        message = deserialize_message(serialized, self._kind)
        if isinstance(message, Clock):
            message.clock = stamp(stamp_ns(message.clock) + round(self._number * 1e9))
        elif isinstance(message, JointState):
            message.position = array("d", [float("nan")] * len(message.position))
        elif isinstance(message, Image):
            frozen = deserialize_message(self._last or serialized, Image)
            frozen.header = message.header
            message = frozen
        self._publish(serialize_message(message))

    def _flickered(self, serialized: bytes) -> bytes:
        """The pixels are a message's last field."""
        self._flickers = not self._flickers
        return serialized[:-1] + bytes([serialized[-1] ^ self._flickers])


def main() -> None:
    """STREAM KIND FROM_TOPIC TO_TOPIC, until the process is ended."""
    stream, kind_name, from_topic, to_topic = sys.argv[1:5]
    if kind_name not in KINDS:
        raise ConfigError(f"a relay of {kind_name!r} is unknown; known: {', '.join(KINDS)}")
    kind = KINDS[kind_name]
    rclpy.init(args=[])
    node = rclpy.create_node(f"fault_relay_{stream}")
    relay = Relay(stream, kind, node.create_publisher(kind, to_topic, reliable(DEPTH)).publish)
    node.create_subscription(String, FAULT_TOPIC, relay.command, commands())
    node.create_subscription(kind, from_topic, relay.forward, reliable(DEPTH), raw=True)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    run_script(main)
