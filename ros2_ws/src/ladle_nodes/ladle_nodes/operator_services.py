"""What an operator can ask for: start, stop, home, resume, clear_fault."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import Trigger

from ladle.errors import DeploymentError
from real_world_deployment.loop import DeploymentLoop

START, STOP, HOME, RESUME, CLEAR_FAULT = "start", "stop", "home", "resume", "clear_fault"
COMMANDS = (START, STOP, HOME, RESUME, CLEAR_FAULT)


def service_name(command: str) -> str:
    """Where a command is asked for."""
    return f"/ladle/{command}"


def carry_out(loop: DeploymentLoop, command: str, now_s: float, seed: int) -> None:
    """Do one of COMMANDS to a run; the seed is that of one to be started. Raises DeploymentError: it cannot be."""
    actions: dict[str, Callable[[], None]] = {
        START: lambda: loop.start(seed), HOME: loop.home, RESUME: lambda: loop.resume(now_s),
        CLEAR_FAULT: lambda: loop.clear_fault(now_s), STOP: lambda: loop.stop(now_s, "stopped by an operator")}
    actions[command]()


def serve(node: Node, answer: Callable[[str], str]) -> None:
    """Offer every command; `answer` says what has become of it, or raises DeploymentError with why nothing has."""
    for command in COMMANDS:
        node.create_service(Trigger, service_name(command), _handler(command, answer))


def _handler(command: str, answer: Callable[[str], str]) -> Callable[[Trigger.Request, Trigger.Response],
                                                                       Trigger.Response]:
    def handle(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message, response.success = answer(command), True
        except DeploymentError as error:
            response.message, response.success = str(error), False
        return response

    return handle
