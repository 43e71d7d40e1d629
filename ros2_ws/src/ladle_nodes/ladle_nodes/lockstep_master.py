"""The simulator's side of lockstep: announce a tick, wait for the answers."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import String

from ladle_nodes.lockstep import ACK_TOPIC, TICK_TOPIC, Ack, Tick
from ladle_nodes.process import Spinner
from ladle_nodes.qos import reliable
from ladle_nodes.sensor_publisher import SensorPublisher

# Loading a checkpoint and importing torch on two busy cores.
START_TIMEOUT_S = 120.0
ACK_TIMEOUT_S = 120.0
QUIT_TIMEOUT_S = 10.0
ENDED = ("STOPPED", "FAULT")


class LockstepMaster:
    """Counts ticks over all scenes, so that an old answer is never taken for a new one.

    Attributes:
        trajectories: sent by the policy in this scene.
        peer_state, peer_detail: what the policy said last.
    """

    def __init__(self, node: Node, spinner: Spinner) -> None:
        self._spinner = spinner
        self._ticks = node.create_publisher(String, TICK_TOPIC, reliable(100))
        node.create_subscription(String, ACK_TOPIC, self._keep, reliable(100))
        self._peers: tuple[str, ...] = ()
        self._acks: dict[str, Ack] = {}
        self._number = 0

    @property
    def trajectories(self) -> int:
        """Sent by the policy in this scene."""
        return self._acks["policy"].sent if "policy" in self._acks else 0

    @property
    def sent(self) -> int:
        """Messages that the last process before the arm has sent in this scene; 0 before the first."""
        return self._acks[self._peers[-1]].sent if self._acks else 0

    @property
    def peer_state(self) -> str:
        """The policy's state."""
        return self._acks["policy"].state if "policy" in self._acks else ""

    @property
    def peer_detail(self) -> str:
        """Why the policy is in its state."""
        return self._acks["policy"].detail if "policy" in self._acks else ""

    @property
    def stopped(self) -> bool:
        """Whether the policy node has given up this scene."""
        return self.peer_state in ENDED

    def wait_for_peers(self, peers: tuple[str, ...], publisher: SensorPublisher, needed: tuple[str, ...]) -> None:
        """Until every process has said that it is ready and the needed streams are read.

        Args:
            peers: in the order of data flow.

        Raises:
            DeploymentError: one does not come.
        """
        self._peers = peers
        self._spinner.until(
            lambda: set(peers) <= set(self._acks) and self._ticks.get_subscription_count() >= len(peers)
            and all(publisher.readers(stream) > 0 for stream in needed),
            START_TIMEOUT_S,
            lambda: f"{', '.join(sorted(set(peers) - set(self._acks))) or 'subscriptions'} to be ready")

    def reset(self, start_ns: int, cycles: int, seed: int) -> None:
        """Begin a scene; returns when all have forgotten the old one."""
        self._announce(Tick("reset", self._number + 1, start_ns, cycles, seed))
        self._wait()

    def tick(self, time_ns: int, cycles: int, received_ns: dict[str, list[int]]) -> None:
        """Ask for a decision; returns when it has been made and its messages are on their way."""
        self._announce(Tick("tick", self._number + 1, time_ns, cycles, 0, received_ns))
        self._wait()

    def quit(self) -> None:
        """Let the others end."""
        self._announce(Tick("quit", self._number + 1))
        self._spinner.until(lambda: self._ticks.get_subscription_count() == 0, QUIT_TIMEOUT_S,
                            lambda: "the other nodes to end")

    def _announce(self, tick: Tick) -> None:
        self._number = tick.number
        self._ticks.publish(String(data=tick.to_json()))

    def _wait(self) -> None:
        self._spinner.until(lambda: all(self._answered(peer) for peer in self._peers), ACK_TIMEOUT_S,
                            lambda: f"the answer of {', '.join(p for p in self._peers if not self._answered(p))}")

    def _answered(self, peer: str) -> bool:
        return self._acks[peer].number == self._number

    def _keep(self, message: String) -> None:
        ack = Ack.from_json(message.data)
        known = self._acks.get(ack.node)
        if known is None or ack.number >= known.number:
            self._acks[ack.node] = ack
