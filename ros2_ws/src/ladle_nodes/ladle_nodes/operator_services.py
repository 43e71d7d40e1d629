"""What an operator can ask for: start, stop, home, resume, clear_fault."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import Trigger

from ladle.errors import DeploymentError

COMMANDS = ("start", "stop", "home", "resume", "clear_fault")


def service_name(command: str) -> str:
    """Where a command is asked for."""
    return f"/ladle/{command}"


def serve(node: Node, carry_out: Callable[[str], str]) -> None:
    """Offer every command; `carry_out` says what has become of it, or raises DeploymentError with why nothing has."""
    for command in COMMANDS:
        node.create_service(Trigger, service_name(command), _handler(command, carry_out))


def _handler(command: str, carry_out: Callable[[str], str]) -> Callable[[Trigger.Request, Trigger.Response],
                                                                       Trigger.Response]:
    def handle(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = carry_out(command), True
        except DeploymentError as error:
            response.message, response.success = str(error), False
        return response

    return handle
