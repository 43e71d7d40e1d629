"""`ladle control`: an operator's keys for a run, through its node's services and /diagnostics."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from ladle.errors import DeploymentError
from ladle_bringup.description import environment
from ladle_nodes.operator_services import COMMANDS, service_name
from ladle_nodes.run_diagnostics import STATUS_NAME, TOPIC

KEYS = {"s": "stop", "h": "home", "r": "resume", "f": "clear_fault"}
PATIENCE_S = 5.0
HELP = "c start or resume, s stop, h home, r resume, f clear fault, q quit"


class Operator:
    """A node that asks and listens; within its block."""

    def __init__(self) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("ladle_control")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._clients = {name: self._node.create_client(Trigger, service_name(name)) for name in COMMANDS}
        self._node.create_subscription(DiagnosticArray, TOPIC, self._see, 10)
        self.state, self.reason = "", ""

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        self._executor.spin_once(timeout_sec=seconds)

    def ask(self, command: str) -> str:
        """What has become of it.

        Raises:
            DeploymentError: nobody answers, or what is asked for cannot be.
        """
        client = self._clients[command]
        self._wait(client.service_is_ready, command)
        future = client.call_async(Trigger.Request())
        self._wait(future.done, command)
        answer: Any = future.result()
        if not answer.success:
            raise DeploymentError(f"{command}: {answer.message}")
        return f"{command}: {answer.message}"

    def hand_over(self) -> str:
        """C of the Diffusion Policy code: the policy moves the arm, from HOLD or from the start."""
        return self.ask("resume" if self.state == "HOLD" else "start")

    def _wait(self, is_there: Callable[[], bool], command: str) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_there():
            if time.monotonic() > give_up_s:
                raise DeploymentError(f"nobody answers {service_name(command)} in ROS_DOMAIN_ID "
                                      f"{os.environ.get('ROS_DOMAIN_ID', '0')}; is the run up, with the same one?")
            self.spin(0.05)

    def _see(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == STATUS_NAME:
                self.reason = status.message
                self.state = next((item.value for item in status.values if item.key == "state"), "")


def control(word: str, robot: str) -> str:
    """Do one thing, or with an empty word serve the keyboard until q; the last word on it.

    Raises:
        DeploymentError: an unknown word, nobody answers, or what is asked for cannot be.
    """
    if word and word not in COMMANDS:
        raise DeploymentError(f"{word!r} is none of {', '.join(COMMANDS)}")
    if not word and not sys.stdin.isatty():
        raise DeploymentError(f"the keyboard needs a terminal; give one of {', '.join(COMMANDS)}")
    for name, value in environment(robot).items():
        os.environ.setdefault(name, value)
    operator = Operator()
    try:
        return operator.ask(word) if word else _serve_keys(operator)
    finally:
        operator.close()


def _serve_keys(operator: Operator) -> str:
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        _show(HELP)
        shown = ""
        while (key := _key()) != "q":
            operator.spin(0.05)
            if key == "c" or key in KEYS:
                try:
                    _show(operator.hand_over() if key == "c" else operator.ask(KEYS[key]))
                except DeploymentError as error:
                    _show(str(error))
            now = f"{operator.state}: {operator.reason}" if operator.state else "no word of a run yet"
            if now != shown:
                _show(shown := now)
    except KeyboardInterrupt:
        return "left"
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
    return "left"


def _key() -> str:
    """What was pressed, in lower case; empty if nothing was."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.0)
    return sys.stdin.read(1).lower() if ready else ""


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
