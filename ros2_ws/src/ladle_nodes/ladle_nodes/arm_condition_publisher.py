"""The simulated arm's report of itself, at 50 Hz of simulated time."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.node import Node

from ladle_nodes.arm_conditions import ERRORS, MODE, SIMULATED_TOPIC, SUCCESS_RATE
from ladle_nodes.qos import reliable
from real_world_deployment.arm_condition import MOVE, REFLEX
from simulation.served_state import ArmState

PERIOD_S = 0.02


class ArmConditionPublisher:
    """Says "reflex" with its cause once the reflex model has stopped the arm, else "move"."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(DiagnosticStatus, SIMULATED_TOPIC, reliable(10))
        self._due_s = 0.0

    def reset(self) -> None:
        """Another scene: its time begins at 0."""
        self._due_s = 0.0

    def tell(self, state: ArmState) -> None:
        """Publish if it is time to."""
        if state.time_s < self._due_s - 1e-9:
            return
        self._due_s = state.time_s + PERIOD_S
        values = {MODE: MOVE if state.reflex is None else REFLEX, ERRORS: state.reflex or "", SUCCESS_RATE: "1.0"}
        level = DiagnosticStatus.OK if state.reflex is None else DiagnosticStatus.ERROR
        self._publisher.publish(DiagnosticStatus(
            level=level, name="ladle: arm", message=state.reflex or "follows its set-points", hardware_id="simulation",
            values=[KeyValue(key=key, value=value) for key, value in values.items()]))
