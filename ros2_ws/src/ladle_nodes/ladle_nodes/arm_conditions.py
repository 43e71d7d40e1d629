"""The arm's reports of itself, from a Franka's driver or from the simulator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.subscription import Subscription

from ladle.errors import DeploymentError
from ladle_nodes.qos import sensor_reader
from real_world_deployment.arm_condition import MODES, ArmCondition

log = logging.getLogger("ladle.arm")

SIMULATED, FRANKA, NO_REPORTS = "sim", "franka", "none"
SIMULATED_TOPIC = "/ladle/arm_condition"
FRANKA_TOPIC = "/franka_robot_state_broadcaster/robot_state"
MODE, ERRORS, SUCCESS_RATE = "robot_mode", "current_errors", "control_command_success_rate"
DEPTH = 10


def subscribe(node: Node, source: str, now_s: Callable[[], float],
              see: Callable[[ArmCondition], None]) -> list[Subscription[Any]]:
    """Hand every report to `see`, with the time of its receipt on the run's clock.

    Args:
        source: SIMULATED, FRANKA or NO_REPORTS.

    Raises:
        DeploymentError: as `message_type` does.
    """
    if source == NO_REPORTS:
        return []
    topic, read = (SIMULATED_TOPIC, of_status) if source == SIMULATED else (FRANKA_TOPIC, of_franka)

    def keep(message: Any) -> None:
        try:
            see(read(message, now_s()))
        except DeploymentError as error:  # as good as no report
            log.error("%s", error)

    return [node.create_subscription(message_type(source), topic, keep, sensor_reader(DEPTH, lockstep=False))]


def of_status(message: DiagnosticStatus, stamp_s: float) -> ArmCondition:
    """The simulator's report. Raises DeploymentError for one that cannot be read."""
    values = {item.key: item.value for item in message.values}
    try:
        errors = tuple(name.strip() for name in values[ERRORS].split(",") if name.strip())
        return ArmCondition(values[MODE], errors, float(values[SUCCESS_RATE]), stamp_s)
    except (KeyError, ValueError) as error:
        raise DeploymentError(f"a report on {SIMULATED_TOPIC} cannot be read ({error!r}): {values}") from error


def of_franka(message: Any, stamp_s: float) -> ArmCondition:
    """franka_msgs/FrankaRobotState, of which only these three fields are looked at."""
    if message.robot_mode >= len(MODES):
        raise DeploymentError(f"the arm reports robot_mode {message.robot_mode}; known are 0 to {len(MODES) - 1}")
    return ArmCondition(MODES[message.robot_mode], _set_fields(message.current_errors),
                        float(message.control_command_success_rate), stamp_s)


def _set_fields(errors: Any) -> tuple[str, ...]:
    names: Sequence[str] = list(errors.get_fields_and_field_types())
    return tuple(name for name in names if getattr(errors, name) is True)


def message_type(source: str) -> type:
    """What the source publishes; that of a Franka is imported where one is there only: there is no wheel of it.

    Raises:
        DeploymentError: the messages of a Franka are not installed.
    """
    if source != FRANKA:
        return DiagnosticStatus
    try:
        from franka_msgs.msg import FrankaRobotState  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DeploymentError("franka_msgs is not installed, so the arm's errors and its user's stop would go "
                              "unseen; source the workspace of franka_ros2, or say arm_condition:=none to do "
                              "without") from error
    return FrankaRobotState
