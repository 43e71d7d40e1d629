"""Another node's parameters, through the services that every node has."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node

from ladle.errors import DeploymentError
from ladle_nodes.process import Spinner
from real_world_deployment.jtc_parameters import check_controller, parameter_names

log = logging.getLogger("ladle.jtc")

SERVICE_TIMEOUT_S = 30.0
VALUE_FIELDS = {
    ParameterType.PARAMETER_BOOL: "bool_value", ParameterType.PARAMETER_INTEGER: "integer_value",
    ParameterType.PARAMETER_DOUBLE: "double_value", ParameterType.PARAMETER_STRING: "string_value",
    ParameterType.PARAMETER_BOOL_ARRAY: "bool_array_value",
    ParameterType.PARAMETER_INTEGER_ARRAY: "integer_array_value",
    ParameterType.PARAMETER_DOUBLE_ARRAY: "double_array_value",
    ParameterType.PARAMETER_STRING_ARRAY: "string_array_value",
}


def read_parameters(node: Node, spinner: Spinner, controller: str, wanted: Collection[str]) -> dict[str, object]:
    """Name -> value of those of `wanted` that the controller has.

    They are listed first: rclcpp answers a question for a name that it does not know with nothing at all.

    Raises:
        DeploymentError: the controller's node does not answer.
    """
    listed = _call(node, spinner, ListParameters, f"{controller}/list_parameters", ListParameters.Request())
    names = [name for name in listed.result.names if name in wanted]
    got = _call(node, spinner, GetParameters, f"{controller}/get_parameters", GetParameters.Request(names=names))
    found: dict[str, object] = {}
    for name, value in zip(names, got.values, strict=True):
        field = VALUE_FIELDS.get(value.type)
        if field is not None:
            item = getattr(value, field)
            found[name] = list(item) if field.endswith("array_value") else item
    return found


def check_fed_controller(node: Node, spinner: Spinner, trajectory_topic: str, joint_names: Sequence[str],
                         following_error_rad: float, distribution: str) -> None:
    """Read the parameters of the controller behind a topic; one that cannot be fed ends the run before it begins.

    Args:
        distribution: what the user says of it; empty to find out.

    Raises:
        DeploymentError: it does not answer, or does not go with streaming.
    """
    controller = trajectory_topic.rsplit("/", 1)[0]  # /NODE/joint_trajectory
    parameters = read_parameters(node, spinner, controller, parameter_names(joint_names))
    feeding = check_controller(parameters, joint_names, following_error_rad, controller, os.environ.get("ROS_DISTRO"),
                               distribution or None)
    log.info("%s is a JTC of %s", controller, feeding.distribution)
    for note in feeding.notes:
        log.info("%s: %s", controller, note)


def _call(node: Node, spinner: Spinner, kind: Any, name: str, request: Any) -> Any:
    client = node.create_client(kind, name)
    try:
        spinner.until(client.service_is_ready, SERVICE_TIMEOUT_S, lambda: f"service {name}; is the controller loaded?")
        future = client.call_async(request)
        spinner.until(future.done, SERVICE_TIMEOUT_S, lambda: f"an answer of {name}")
        answer = future.result()
        if answer is None:
            raise DeploymentError(f"{name} failed: {future.exception()}")
        return answer
    finally:
        node.destroy_client(client)
