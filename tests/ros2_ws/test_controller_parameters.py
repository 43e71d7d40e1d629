"""A controller's parameters through the services of a real node."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from app.domain import free_domain
from ladle.errors import DeploymentError
from ladle_nodes import controller_parameters
from ladle_nodes.controller_parameters import check_fed_controller, read_parameters
from simulation.jtc_messages import JtcParameters
from simulation.jtc_parameters import declared_parameters

JOINTS = ("j1", "j2")


class OwnSpinner:
    """As `Spinner`, in the test's own context."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def until(self, reached: Callable[[], bool], timeout_s: float, waiting_for: Callable[[], str]) -> None:
        """Spin until it is reached."""
        for _ in range(int(timeout_s / 0.1)):
            if reached():
                return
            self._executor.spin_once(timeout_sec=0.1)
        raise DeploymentError(f"waited for {waiting_for()}")


@pytest.fixture
def asking() -> Iterator[tuple[Node, OwnSpinner]]:
    """A controller of master with blending on, spinning, and a node that asks it."""
    with free_domain() as domain:
        yield from _asking(domain)


def _asking(domain: int) -> Iterator[tuple[Node, OwnSpinner]]:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    controller = Node("arm_controller", context=context)
    for name, value in declared_parameters("master", JOINTS, JtcParameters(cmd_timeout_s=2.0)).items():
        controller.declare_parameter(name, value)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(controller)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    node = Node("asking", context=context)
    try:
        yield node, OwnSpinner(node)
    finally:
        executor.shutdown()
        thread.join()
        rclpy.try_shutdown(context=context)


def test_parameters_are_read_and_unsuitable_ones_refused(asking: tuple[Node, OwnSpinner],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of every type come over, unknown names are left out; blending is refused; nobody there is said."""
    node, spinner = asking
    wanted = ("joints", "cmd_timeout", "interpolation_method", "allow_trajectory_replacement", "state_publish_rate")
    found = read_parameters(node, spinner, "/arm_controller", wanted)  # type: ignore[arg-type]
    assert found == {"joints": ["j1", "j2"], "cmd_timeout": 2.0, "interpolation_method": "splines",
                     "allow_trajectory_replacement": True}
    with pytest.raises(DeploymentError, match="ros2 param set /arm_controller allow_trajectory_replacement false"):
        check_fed_controller(node, spinner, "/arm_controller/joint_trajectory", JOINTS, 0.2, "")  # type: ignore[arg-type]
    monkeypatch.setattr(controller_parameters, "SERVICE_TIMEOUT_S", 0.3)
    with pytest.raises(DeploymentError, match="is the controller loaded"):
        read_parameters(node, spinner, "/other", wanted)  # type: ignore[arg-type]
