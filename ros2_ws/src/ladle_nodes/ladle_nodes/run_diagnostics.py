"""The run's state on /diagnostics: at every change, and ten times a second."""

from __future__ import annotations

from dataclasses import asdict

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from ladle_nodes.images import stamp
from ladle_nodes.qos import reliable
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import LoopState

TOPIC = "/diagnostics"
STATUS_NAME = "ladle: run"
PERIOD_NS = 100_000_000


class RunDiagnostics:
    """One status; its keys are state, alarm, since_s, detection_bound_s and the loop's counts."""

    def __init__(self, node: Node, task: str) -> None:
        self._task = task
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, reliable(10))
        self._told: tuple[object, ...] | None = None
        self._told_ns = 0

    def tell(self, loop: DeploymentLoop, start_ns: int, now_ns: int) -> None:
        """Publish where something has changed or it is time to.

        Args:
            start_ns: where the loop's times count from, on the node's clock.
        """
        run = loop.run
        now = run.state, run.alarm, run.since_s
        if now == self._told and 0 <= now_ns - self._told_ns < PERIOD_NS:
            return
        self._told, self._told_ns = now, now_ns
        alarm = run.alarm
        values = {
            "state": run.state.value, "alarm": alarm.value if alarm else "",
            "since_s": f"{start_ns * 1e-9 + run.since_s:.6f}",
            "detection_bound_s": f"{loop.bound_s(alarm):.3f}" if alarm else "",
            **{name: str(count) for name, count in asdict(loop.counts).items()},
        }
        message = DiagnosticArray(status=[DiagnosticStatus(
            level=level_of(loop), name=STATUS_NAME, message=run.detail, hardware_id=self._task,
            values=[KeyValue(key=key, value=value) for key, value in values.items()])])
        message.header.stamp = stamp(now_ns)
        self._publisher.publish(message)


def level_of(loop: DeploymentLoop) -> bytes:
    """How bad the run's state is."""
    if loop.state is LoopState.FAULT or (loop.state is LoopState.STOPPED and loop.run.is_failure):
        return DiagnosticStatus.ERROR
    return DiagnosticStatus.WARN if loop.state is LoopState.HOLD else DiagnosticStatus.OK
