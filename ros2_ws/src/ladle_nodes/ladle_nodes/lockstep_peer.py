"""The policy node's side of lockstep: say that it is ready, take ticks, answer them."""

from __future__ import annotations

from collections.abc import Iterator

from rclpy.node import Node
from std_msgs.msg import String

from ladle_nodes.inbox import Inbox
from ladle_nodes.lockstep import ACK_TOPIC, TICK_TOPIC, Ack, Tick
from ladle_nodes.process import Spinner
from ladle_nodes.qos import reliable
from real_world_deployment.loop_state import LoopState

READY_PERIOD_S = 0.2
MESSAGES_TIMEOUT_S = 60.0


class LockstepPeer:
    """Its name is "policy"."""

    def __init__(self, node: Node, spinner: Spinner) -> None:
        self._spinner = spinner
        self._acks = node.create_publisher(String, ACK_TOPIC, reliable(100))
        self._ticks: list[Tick] = []
        node.create_subscription(String, TICK_TOPIC, lambda message: self._ticks.append(Tick.from_json(message.data)),
                                 reliable(100))

    def ticks(self) -> Iterator[Tick]:
        """Every reset and tick until the simulator says that it was the last."""
        while not self._ticks:
            self._acks.publish(String(data=Ack("policy", -1).to_json()))
            self._spinner.once(READY_PERIOD_S)
        while True:
            while not self._ticks:
                self._spinner.once()
            tick = self._ticks.pop(0)
            if tick.kind == "quit":
                return
            yield tick

    def wait_for(self, inbox: Inbox, tick: Tick) -> None:
        """Until everything that the tick announces has come."""
        self._spinner.until(lambda: inbox.holds(tick.received_ns), MESSAGES_TIMEOUT_S,
                            lambda: inbox.missing(tick.received_ns))

    def answer(self, tick: Tick, sent: int, state: LoopState, detail: str) -> None:
        """Say that the tick is done with."""
        self._acks.publish(String(data=Ack("policy", tick.number, sent, state.value, detail).to_json()))
