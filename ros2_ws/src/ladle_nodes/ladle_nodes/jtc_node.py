"""The simulated JointTrajectoryController: trajectories from its topic, set-points to the simulated arm.

On a robot this is a controller of ros2_control; here it is a process of its own between the policy and the arm. It has
the parameters that the controller of its distribution has, so that a run reads and checks them as on a robot.
"""

from __future__ import annotations

import logging
import threading
from typing import cast

import numpy as np
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import DeploymentError
from ladle.task import load_task
from ladle_nodes.controller_messages import from_message
from ladle_nodes.process import run_node, text_parameter
from ladle_nodes.qos import reliable
from simulation.jtc_model import Distribution, JtcModel, JtcParameters
from simulation.jtc_parameters import declared_parameters
from simulation.reflex_model import CYCLE_S
from simulation.served_link import SetpointRequest, answer_requests

log = logging.getLogger("ladle.jtc")

# The policy may think for minutes on a loaded machine; time stands still meanwhile.
TRAJECTORY_TIMEOUT_S = 280.0


class JtcNode:
    """Receives in one thread, answers the arm in another; the model belongs to the answering thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        joints = load_task(text_parameter(node, "task")).joints
        if joints is None:
            raise DeploymentError("a controller needs a task with joints")
        self._joint_names = joints.names
        self._distribution: Distribution = cast("Distribution", text_parameter(node, "distribution"))
        # Master's blending cannot be streamed into; on a robot the user turns it off.
        self._parameters = JtcParameters(allow_trajectory_replacement=False)
        for name, value in declared_parameters(self._distribution, self._joint_names, self._parameters).items():
            node.declare_parameter(name, value)
        self._model: JtcModel | None = None
        self._arrived = threading.Condition()
        self._messages: list[JointTrajectory] = []
        self._taken = 0
        node.create_subscription(JointTrajectory, text_parameter(node, "trajectory_topic"), self._keep, reliable(100))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._spinning = threading.Thread(target=self._spin, name="jtc-spin")

    def run(self) -> None:
        """Serve the arm until it hangs up."""
        self._spinning.start()
        answer_requests(text_parameter(self._node, "arm_socket"), self._answer)

    def close(self) -> None:
        """Stop receiving."""
        self._executor.shutdown()
        if self._spinning.is_alive():
            self._spinning.join()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _keep(self, message: JointTrajectory) -> None:
        with self._arrived:
            self._messages.append(message)
            self._arrived.notify()

    def _answer(self, request: SetpointRequest) -> NDArray[np.float64]:
        measured = np.array(request.measured_rad)
        arrived = self._newly_arrived(request.trajectories)
        if request.kind == "reset":
            with self._arrived:
                self._taken = 0  # and what arrived belongs to the old scene
            self._model = JtcModel(self._distribution, self._joint_names, measured, self._parameters)
            return np.zeros((0, len(measured)))
        assert self._model is not None, "the arm resets before it asks for set-points"
        for message in arrived:
            reason = self._model.accept(from_message(message), request.first_ns * 1e-9)
            if reason is not None:
                log.warning("trajectory refused: %s", reason)
        return self._model.setpoints(request.times_s(CYCLE_S), measured, np.array(request.measured_rad_s))

    def _newly_arrived(self, at_least: int) -> list[JointTrajectory]:
        """All messages not taken yet; waits until `at_least` have come since the reset."""
        with self._arrived:
            def count() -> int:
                return self._taken + len(self._messages)

            if not self._arrived.wait_for(lambda: count() >= at_least, TRAJECTORY_TIMEOUT_S):
                raise DeploymentError(f"{at_least} trajectories were announced, {count()} came")
            new, self._messages = self._messages, []
            self._taken += len(new)
            return new


def main() -> None:
    """Entry point of ladle_nodes jtc_node."""
    def make() -> tuple[Node, JtcNode]:
        node = Node("joint_trajectory_controller", automatically_declare_parameters_from_overrides=True)
        return node, JtcNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
