"""The deployment's own nodes with a stop-watch: python -m app.benchmarks.loop_nodes NODE RESULT --ros-args ...

Nothing of their work is changed but how often the policy is asked: at every tick of the task.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node

from ladle.policy import ActionChunk
from ladle_nodes.managed_node import ManagedNode
from ladle_nodes.policy_node import PolicyNode
from ladle_nodes.process import run_node
from ladle_nodes.ruckig_node import RuckigNode
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.loop_state import LoopState
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory

Spent = tuple[float, float]  # processor time and wall-clock time, in seconds

# From a tick's due time to the command that answers it: until the tick begins, with all that has come by then; until
# its window has been built and put to the policy; until the answer is there, through the policy's process and back, but
# without the inference itself; until the command has been published.
STEPS = ("wait", "ask", "policy", "motion")


class TimedPolicyNode(PolicyNode):
    """Notes, for every command that answers a tick's observation, how long ago that tick was due, and on what it went.

    A command that only hands the controller the next part of the running plan answers nothing and is not noted.
    """

    policy_factory = "app.benchmarks.loop_policy:from_json"

    def __init__(self, node: ManagedNode, result: Path) -> None:
        super().__init__(node)
        self._result = result
        self._begun: Spent | None = None
        self._due_s = self._next_due_s = self._tick_s = 0.0
        self._marks_s: list[float] = []
        self._is_answer = False
        self._steps_s: list[list[float]] = []
        self._stamps_s: list[float] = []

    def configure(self) -> None:
        """As ever, and with a stop-watch around the loop."""
        super().configure()
        loop, observations = self._loop, self._loop.observations
        loop.questions.replan_ticks = 1
        loop.tick = self._timed(loop.tick)
        observations.add_joints = self._counted(observations.add_joints)
        loop._motion._receding.follow = self._following(loop._motion._receding.follow)
        caller = loop.questions._caller
        caller.ask, caller.answer = self._asking(caller.ask), self._answered(caller.answer)

    def _timed(self, tick: Callable[[float], LoopState]) -> Callable[..., LoopState]:
        def timed_tick(now_s: float) -> LoopState:
            self._next_due_s = self._loop.next_tick_s
            self._tick_s = now_s
            state = tick(now_s)
            if state is LoopState.RUNNING and self._begun is None:
                self._begun = self._spent()
            return state
        return timed_tick

    def _counted(self, add_joints: Callable[..., None]) -> Callable[..., None]:
        def counted(header_s: float | None, receive_s: float, names: Sequence[str], position: Sequence[float],
                    velocity: Sequence[float] = ()) -> None:
            add_joints(header_s, receive_s, names, position, velocity)
            if self._loop.state is LoopState.RUNNING:
                self._stamps_s.append(float(header_s or 0.0) + self._start_ns * 1e-9)
        return counted

    def _asking(self, ask: Callable[..., None]) -> Callable[..., None]:
        def asking(*question: Any) -> None:
            ask(*question)
            self._due_s, self._marks_s = self._next_due_s, [self._tick_s, self._now_s()]
        return asking

    def _answered(self, answer: Callable[[], ActionChunk | None]) -> Callable[[], ActionChunk | None]:
        def answered() -> ActionChunk | None:
            chunk = answer()
            if chunk is not None:
                self._marks_s.append(self._now_s())
            return chunk
        return answered

    def _following(self, follow: Callable[[Splice, float], JointTrajectory]) -> Callable[..., JointTrajectory]:
        def following(splice: Splice, now_s: float) -> JointTrajectory:
            self._is_answer = self._loop.state is LoopState.RUNNING
            try:
                return follow(splice, now_s)
            finally:
                self._is_answer = False
        return following

    def _send(self, message: JtcMessage) -> None:
        super()._send(message)
        if self._is_answer and len(self._marks_s) == len(STEPS) - 1:
            assert self._process is not None
            steps_s = np.diff([self._due_s, *self._marks_s, self._now_s()])
            steps_s[STEPS.index("policy")] -= self._process.inference_s
            self._steps_s.append(steps_s.tolist())

    def close(self) -> None:
        """Tell what was measured."""
        assert self._process is not None
        write(self._result, steps_s=self._steps_s, stamps_s=self._stamps_s, cpu_share=share(self._begun, self._spent()),
              decisions=self._loop.counts.decisions, state=self._loop.state.value, detail=self._loop.detail)
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
