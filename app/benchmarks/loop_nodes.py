"""The deployment's own nodes with a stop-watch: python -m app.benchmarks.loop_nodes NODE RESULT --ros-args ...

Nothing of their work is changed but how often the policy is asked: at every tick of the task.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.node import Node

from ladle_nodes.managed_node import ManagedNode
from ladle_nodes.policy_node import PolicyNode
from ladle_nodes.process import run_node
from ladle_nodes.ruckig_node import RuckigNode
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.loop_state import LoopState

Spent = tuple[float, float]  # processor time and wall-clock time, in seconds


class TimedPolicyNode(PolicyNode):
    """Notes, for every command, how long ago the tick was due whose observation it answers."""

    def __init__(self, node: ManagedNode, result: Path) -> None:
        super().__init__(node)
        self._result = result
        self._due_s: float | None = None
        self._next_due_s, self._decisions = 0.0, 0
        self._begun: Spent | None = None
        self._latencies_s: list[float] = []
        self._stamps_s: list[float] = []

    def configure(self) -> None:
        """As ever, and with a stop-watch around the loop."""
        super().configure()
        loop, observations = self._loop, self._loop.observations
        loop.questions.replan_ticks = 1
        tick, add_joints = loop.tick, observations.add_joints

        def timed_tick(now_s: float) -> LoopState:
            self._next_due_s, self._decisions = loop.questions.next_tick_s, loop.counts.decisions
            state = tick(now_s)
            self._note_due()
            if state is LoopState.RUNNING and self._begun is None:
                self._begun = self._spent()
            return state

        def counted(header_s: float | None, receive_s: float, names: Sequence[str], position: Sequence[float],
                    velocity: Sequence[float] = ()) -> None:
            add_joints(header_s, receive_s, names, position, velocity)
            if loop.state is LoopState.RUNNING:
                self._stamps_s.append(float(header_s or 0.0) + self._start_ns * 1e-9)

        loop.tick, observations.add_joints = timed_tick, counted

    def _send(self, message: JtcMessage) -> None:
        super()._send(message)
        self._note_due()  # the answer may have come while its question was being put
        if self._due_s is not None and self._loop.state is LoopState.RUNNING:
            self._latencies_s.append(self._now_s() - self._due_s)

    def _note_due(self) -> None:
        """The tick's time becomes that of the open question once the tick has asked."""
        if self._loop.counts.decisions > self._decisions:
            self._due_s = self._next_due_s

    def close(self) -> None:
        """Tell what was measured."""
        assert self._process is not None
        write(self._result, latencies_s=self._latencies_s, stamps_s=self._stamps_s,
              cpu_share=share(self._begun, self._spent()),
              policy_p50_s=self._process.latency.p50_s, state=self._loop.state.value, detail=self._loop.detail)
        super().close()

    def _spent(self) -> Spent:
        """The policy's own process counts too."""
        assert self._process is not None
        return own_cpu_s() + process_cpu_s(self._process.pid), time.monotonic()


class TimedRuckigNode(RuckigNode):
    """Notes when every set-point has been published."""

    def __init__(self, node: Node, result: Path) -> None:
        super().__init__(node)
        self._result = result
        self._published_s: list[float] = []
        self._begun: list[Spent] = []
        publisher, published, begun = self._setpoints, self._published_s, self._begun

        class Timed:
            """The publisher with a clock behind it."""

            def publish(self, message: Any) -> None:
                """As before."""
                publisher.publish(message)
                published.append(time.monotonic())
                if not begun:
                    begun.append((own_cpu_s(), time.monotonic()))

        self._setpoints = Timed()  # type: ignore[assignment]

    def close(self) -> None:
        """Tell what was measured, without the braking that follows."""
        write(self._result, published_s=self._published_s,
              cpu_share=share(self._begun[0] if self._begun else None, (own_cpu_s(), time.monotonic())))
        super().close()


def share(begun: Spent | None, ended: Spent) -> float:
    """Processor time over wall-clock time between two instants."""
    return 0.0 if begun is None else (ended[0] - begun[0]) / (ended[1] - begun[1])


def own_cpu_s() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def process_cpu_s(pid: int) -> float:
    """Processor time of another process, by /proc (proc(5): utime and stime are fields 14 and 15, in ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def write(path: Path, **values: Any) -> None:
    """One JSON object."""
    path.write_text(json.dumps(values))


def main() -> None:
    """Run the node named by the first argument until SIGINT."""
    kind, result = sys.argv[1], Path(sys.argv[2])

    def make() -> tuple[Node, TimedPolicyNode | TimedRuckigNode]:
        if kind == "policy_node":
            managed = ManagedNode(f"bench_{kind}")
            return managed, TimedPolicyNode(managed, result)
        node = Node(f"bench_{kind}", automatically_declare_parameters_from_overrides=True)
        return node, TimedRuckigNode(node, result)

    run_node(make)


if __name__ == "__main__":
    main()
