"""`ladle control`: an operator's keys for a run, through its node's services and /diagnostics."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

from app.held_key import HeldKey
from ladle.errors import DeploymentError
from ladle_bringup.environment import environment
from ladle_nodes.operator_services import COMMANDS, service_name
from ladle_nodes.qos import reliable
from ladle_nodes.run_diagnostics import STATUS_NAME, TOPIC

KEYS = {"s": "stop", "h": "home", "r": "resume", "f": "clear_fault"}
HOLD_KEY = " "
# ECMA-48, 5.3 and 5.4: what a terminal sends for arrows, Home, F1, Alt with a key.
SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
TELL_EVERY_S = 0.03
PATIENCE_S = 5.0
HELP = "c start or resume, s stop, h home, r resume, f clear fault, q quit"
HOLD_HELP = "keep the space bar pressed: the arm moves only meanwhile"


class Operator:
    """A node that asks and listens, and tells of the key held where it is given a topic for that."""

    def __init__(self, hold_topic: str = "") -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("ladle_control")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._clients = {name: self._node.create_client(Trigger, service_name(name)) for name in COMMANDS}
        self._node.create_subscription(DiagnosticArray, TOPIC, self._see, 10)
        self._hold = self._node.create_publisher(Joy, hold_topic, reliable(1)) if hold_topic else None
        self._told_s = float("-inf")
        self.state, self.reason = "", ""

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        self._executor.spin_once(timeout_sec=seconds)

    def tell_held(self, is_held: bool, now_s: float) -> None:
        """As a joystick with one button would, again and again: who falls silent has let go."""
        if self._hold is not None and now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._hold.publish(Joy(buttons=[int(is_held)]))

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


def control(word: str, robot: str, hold_topic: str = "") -> str:
    """Do one thing, or with an empty word serve the keyboard until q; the last word on it.

    Args:
        hold_topic: where to tell whether the space bar is held, as button 0 of a sensor_msgs/Joy; empty tells nobody.
            Only with an empty word.

    Raises:
        DeploymentError: an unknown word, nobody answers, or what is asked for cannot be.
    """
    if word and word not in COMMANDS:
        raise DeploymentError(f"{word!r} is none of {', '.join(COMMANDS)}")
    if word and hold_topic:
        raise DeploymentError(f"--hold-topic tells of a key that is held, for which {word!r} does not wait; leave one "
                              "of them out")
    if not word and not sys.stdin.isatty():
        raise DeploymentError(f"the keyboard needs a terminal; give one of {', '.join(COMMANDS)}")
    for name, value in environment(robot).items():
        os.environ.setdefault(name, value)
    operator = Operator(hold_topic)
    try:
        return operator.ask(word) if word else _serve_keys(operator, bool(hold_topic))
    finally:
        operator.close()


def _serve_keys(operator: Operator, holds: bool) -> str:
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        _show(f"{HELP}; {HOLD_HELP}" if holds else HELP)
        shown, held = "", HeldKey()
        while True:
            keys = _keys()
            if HOLD_KEY in keys:  # once, for what has queued up says nothing of now
                held.strike(time.monotonic())
            for key in keys:
                if key == "q":
                    return "left"
                if key == "c" or key in KEYS:
                    _show(_done(operator, key))
            operator.tell_held(held.is_held(time.monotonic()), time.monotonic())
            operator.spin(0.02)
            now = f"{operator.state}: {operator.reason}" if operator.state else "no word of a run yet"
            if now != shown:
                _show(shown := now)
    except KeyboardInterrupt:
        return "left"
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _done(operator: Operator, key: str) -> str:
    """What has become of what a key asks for."""
    try:
        return operator.hand_over() if key == "c" else operator.ask(KEYS[key])
    except DeploymentError as error:
        return str(error)


def _keys() -> str:
    """All that was pressed since the last call, in lower case, and a q where the terminal is gone.

    Arrows and their like come as sequences of letters, which are no keys of ours.
    """
    pressed, is_open = b"", True
    while is_open and select.select([sys.stdin], [], [], 0.0)[0]:
        try:
            more = os.read(sys.stdin.fileno(), 4096)
        except OSError:
            more = b""
        is_open = bool(more)
        pressed += more
    keys = SEQUENCE.sub("", pressed.decode(errors="replace")).lower()
    return keys if is_open else keys + "q"


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
