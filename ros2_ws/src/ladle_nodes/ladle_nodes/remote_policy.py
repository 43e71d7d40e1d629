"""A policy on another machine, asked through a pair of topics.

It looks like any other policy, and waits for its answers: so it lives in the policy's process of a run
(`ProcessCaller`), for which the control loop never waits. The caller measures the latency, network included, and the
remote policy's silence is that process's: `policy_silent` holds the arm, and after 3 s it is `policy_gone`.
"""

from __future__ import annotations

import time
import uuid

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import UInt8MultiArray

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk, ObservationWindow, RunningChunk
from ladle_nodes.policy_topics import ANSWERS, DEPTH, HELLO, QUESTIONS, SESSION, from_wire, to_wire
from ladle_nodes.qos import reliable
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.policy_answers import (
    ASK,
    FAILED,
    OBSERVE,
    READY,
    RESET,
    WATCH_FAILED,
    Introduced,
    failure_text,
)
from real_world_deployment.policy_messages import to_chunk, window_message, with_running

FOUND_TIMEOUT_S = 60.0
HELLO_EVERY_S = 0.5
WAIT_STEP_S = 0.1


class RemotePolicy(Introduced):
    """The far policy's face."""

    def __init__(self, timeout_s: float = FOUND_TIMEOUT_S) -> None:
        """Find it. Raises DeploymentError: nobody answers."""
        self._session, self._questions = uuid.uuid4().hex, 0
        self._context = Context()
        # Whoever runs this process deals with its signals.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(f"ladle_remote_policy_{self._session[:8]}", context=self._context,
                          use_global_arguments=False, enable_rosout=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._heard: list[ArrayMessage] = []
        self._watch_error: ArrayMessage | None = None
        self._publisher = self._node.create_publisher(UInt8MultiArray, QUESTIONS, reliable(DEPTH))
        self._node.create_subscription(UInt8MultiArray, ANSWERS, self._hear, reliable(DEPTH))
        self.hear_introduction(self._find(timeout_s))

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._watch_error = None
        self._say(ArrayMessage(RESET, {"seed": seed}))

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """Ask, and wait for the answer however long it takes. Raises DeploymentError with what the policy raised."""
        return self._ask(window, None)

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        """As `predict`, continuing a chunk."""
        return self._ask(window, running)

    def observe(self, window: ObservationWindow) -> None:
        """Show a tick; what the policy raised at an earlier one is raised here."""
        self._executor.spin_once(timeout_sec=0.0)
        self._say(window_message(OBSERVE, window, window.streams, number=self._questions))
        error, self._watch_error = self._watch_error, None
        if error is not None:
            raise DeploymentError(failure_text(error))

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _ask(self, window: ObservationWindow, running: RunningChunk | None) -> ActionChunk:
        self._questions += 1
        self._heard.clear()
        self._say(with_running(window_message(ASK, window, window.streams, number=self._questions), running))
        while not self._heard:
            self._executor.spin_once(timeout_sec=WAIT_STEP_S)
        answer = self._heard.pop()
        if answer.kind == FAILED:
            raise DeploymentError(failure_text(answer))
        return to_chunk(answer)

    def _find(self, timeout_s: float) -> ArrayMessage:
        """Both topics must be matched before an answer can come, so the greeting is repeated."""
        give_up_s, said_s = time.monotonic() + timeout_s, -float("inf")
        while not self._heard:
            now_s = time.monotonic()
            if now_s > give_up_s:
                self.close()
                raise DeploymentError(f"waited {timeout_s:.0f} s for a policy on {QUESTIONS}; start one with `ladle "
                                      "serve CHECKPOINT` where it is to run, with the same ROS_DOMAIN_ID")
            if now_s - said_s > HELLO_EVERY_S:
                self._say(ArrayMessage(HELLO))
                said_s = now_s
            self._executor.spin_once(timeout_sec=WAIT_STEP_S)
        return self._heard.pop()

    def _say(self, message: ArrayMessage) -> None:
        self._publisher.publish(to_wire(ArrayMessage(message.kind, {**message.values, SESSION: self._session},
                                                     message.arrays)))

    def _hear(self, wire: UInt8MultiArray) -> None:
        """Answers to others, and to questions that are not open any more, are passed over."""
        message = from_wire(wire)
        if message.values.get(SESSION) != self._session:
            return
        if message.kind == WATCH_FAILED:
            self._watch_error = message
        elif message.values.get("number") == self._questions or (message.kind == READY and self._questions == 0):
            self._heard = [message]
