"""What the simulated arm says of itself, as a Franka's driver does: mode, errors, and how many commands reach it."""

from __future__ import annotations

from collections import deque

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.node import Node

from ladle_nodes.arm_conditions import ERRORS, MODE, SIMULATED_TOPIC, SUCCESS_RATE
from ladle_nodes.qos import reliable
from real_world_deployment.arm_condition import IDLE, MOVE, REFLEX
from simulation.served_state import ArmState

PERIOD_S = 0.02
# libfranka's control_command_success_rate speaks of the last 100 commands, 1 ms apart.
SUCCESS_WINDOW_S = 0.1
ROUNDING_S = 1e-6


class ArmConditionPublisher:
    """Publishes robot_mode, current_errors and control_command_success_rate at 50 Hz of simulated time."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(DiagnosticStatus, SIMULATED_TOPIC, reliable(10))
        self._due_s = 0.0
        self._commanded: deque[tuple[float, bool]] = deque()

    def note(self, state: ArmState, is_commanded: bool) -> None:
        """The arm after a step; publishes when it is time to.

        Args:
            is_commanded: whether a controller sent set-points for this step.
        """
        if state.time_s < self._due_s - PERIOD_S:
            self._due_s = 0.0  # another scene has begun
            self._commanded.clear()
        if is_commanded and self._commanded and not self._commanded[-1][1]:
            self._commanded.clear()  # another controller: its own commands count
        self._commanded.append((state.time_s, is_commanded))
        while self._commanded[0][0] <= state.time_s - SUCCESS_WINDOW_S:
            self._commanded.popleft()
        if state.time_s < self._due_s - ROUNDING_S:
            return
        self._due_s = state.time_s + PERIOD_S
        self._publisher.publish(self._message(state, is_commanded))

    def _message(self, state: ArmState, is_commanded: bool) -> DiagnosticStatus:
        mode = robot_mode(state, is_commanded)
        errors = [] if state.reflex is None else [state.reflex.split(" ")[0]]
        share = sum(reached for _, reached in self._commanded) / len(self._commanded)
        values = {MODE: mode, ERRORS: ",".join(errors), SUCCESS_RATE: f"{share:.2f}"}
        level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.OK
        return DiagnosticStatus(level=level, name="arm", message=mode, hardware_id="simulated arm",
                                values=[KeyValue(key=key, value=value) for key, value in values.items()])


def robot_mode(state: ArmState, is_commanded: bool) -> str:
    """In the words of franka_msgs/FrankaState."""
    if state.taken_by is not None:
        return state.taken_by
    if state.reflex is not None:
        return REFLEX
    return MOVE if is_commanded else IDLE
