"""Lockstep: what the processes tell each other so that an evaluation does not depend on the machine's speed.

The simulator stands at a tick. It has published every sensor message received by then, and announces them in a
`Tick` together with their receive times. The policy node takes in exactly these, decides, sends what it has to
send, and answers with an `Ack` that says how many trajectories it has sent since the scene began. The simulated
JTC (or the Ruckig node) waits until it has got that many; only then does the simulator advance to the next tick.
A chunk is due `latency_s` of simulation time after its decision, however long the computation took.

Messages are JSON in std_msgs/String: they cross a process, not a control loop, and can be read with ros2 topic echo.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ladle.errors import DeploymentError

TICK_TOPIC = "/ladle/tick"
ACK_TOPIC = "/ladle/ack"
# Newest messages that a lockstep reader may have to take in between two ticks.
DEPTH = 2000


@dataclass(frozen=True)
class Tick:
    """Said by the simulator.

    Attributes:
        kind: "reset" starts a scene, "tick" asks for a decision, "quit" ends the run.
        number: ticks since the scene began.
        time_ns: simulation time; for a reset the scene's start, from which all processes count.
        cycles: 1 ms control cycles until the next tick.
        seed: of the scene, for the policy's own randomness.
        received_ns: stream -> receive times of the messages published since the tick before, in order.
    """

    kind: Literal["reset", "tick", "quit"]
    number: int = 0
    time_ns: int = 0
    cycles: int = 0
    seed: int = 0
    received_ns: Mapping[str, list[int]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Tick:
        """Raises DeploymentError for a message of another version."""
        return Tick(**_fields(text, TICK_TOPIC, Tick))


@dataclass(frozen=True)
class Ack:
    """Answer of one process to a tick.

    Attributes:
        node: "policy" or "ruckig".
        number: of the tick that is answered; -1 before the first scene: ready.
        sent: trajectories (policy) or set-points (Ruckig) sent since the scene began.
        state: the loop's state, for logs and for the simulator to know when a run stopped.
        detail: why it stopped, stage and age of the newest observation.
    """

    node: str
    number: int
    sent: int = 0
    state: str = ""
    detail: str = ""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Ack:
        """Raises DeploymentError for a message of another version."""
        return Ack(**_fields(text, ACK_TOPIC, Ack))


def _fields(text: str, topic: str, kind: type[Tick] | type[Ack]) -> dict[str, Any]:
    values = json.loads(text)
    unknown = set(values) - set(kind.__dataclass_fields__)
    if unknown:
        raise DeploymentError(f"{topic} carries unknown fields {sorted(unknown)}; start all nodes from one version")
    return values
