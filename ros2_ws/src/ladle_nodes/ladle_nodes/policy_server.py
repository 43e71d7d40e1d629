"""Answers for a policy through topics, on the machine where the policy is to run.

    ros2 run ladle_nodes policy_server --ros-args -p policy:=checkpoint -p task:=scoop -p checkpoint:=FOLDER ...

The run that greeted last is served; whoever asks without having greeted, as after a restart of this node, is told so.
"""

from __future__ import annotations

import logging

from rclpy.node import Node
from std_msgs.msg import UInt8MultiArray

from ladle.errors import DeploymentError
from ladle_nodes.policy_topics import ANSWERS, DEPTH, HELLO, QUESTIONS, SESSION, from_wire, to_wire
from ladle_nodes.process import Spinner, run_node
from ladle_nodes.qos import reliable
from ladle_nodes.run_parameters import recipe_of
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.policy_answers import ASK, OBSERVE, failure, introduction
from real_world_deployment.policy_messages import to_window
from real_world_deployment.policy_process import reply

log = logging.getLogger("ladle.policy")


class PolicyServer:
    """One policy, one run at a time."""

    def __init__(self, node: Node) -> None:
        self._policy = recipe_of(node).make()
        self._session: str | None = None
        self._spinner = Spinner(node)
        self._publisher = node.create_publisher(UInt8MultiArray, ANSWERS, reliable(DEPTH))
        node.create_subscription(UInt8MultiArray, QUESTIONS, self._hear, reliable(DEPTH))
        log.info("the policy answers on %s", QUESTIONS)

    def run(self) -> None:
        """Until the process is asked to end."""
        while True:
            self._spinner.once()

    def close(self) -> None:
        """Stop answering."""
        self._spinner.close()

    def _hear(self, wire: UInt8MultiArray) -> None:
        try:
            message = from_wire(wire)
        except DeploymentError as error:
            log.error("%s: %s", QUESTIONS, error)
            return
        answer = self._answer(message)
        if answer is not None:
            values = {**answer.values, SESSION: message.values.get(SESSION)}
            self._publisher.publish(to_wire(ArrayMessage(answer.kind, values, answer.arrays)))

    def _answer(self, message: ArrayMessage) -> ArrayMessage | None:
        if message.kind == HELLO:
            self._session = message.values.get(SESSION)
            return introduction(self._policy)
        if message.values.get(SESSION) == self._session:
            return reply(self._policy, message, lambda question: to_window(question, {}))
        if message.kind not in (ASK, OBSERVE):
            return None
        return failure(message.kind, DeploymentError("the policy was restarted, or serves another run, and knows "
                                                     "nothing of this one; configure and activate the run's node "
                                                     "again"), message.values["number"])


def main() -> None:
    """Entry point of ladle_nodes policy_server."""
    def make() -> tuple[Node, PolicyServer]:
        node = Node("ladle_policy_server", automatically_declare_parameters_from_overrides=True)
        return node, PolicyServer(node)

    run_node(make)


if __name__ == "__main__":
    main()
