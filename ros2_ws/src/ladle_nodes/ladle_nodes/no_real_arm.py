"""A simulated arm shares its domain with no real one."""

from __future__ import annotations

import os

from rclpy.node import Node

from ladle.errors import DeploymentError

CONTROLLER_MANAGER = "controller_manager"


def refuse_real_arm(node: Node, joint_topic: str) -> None:
    """To be asked before simulated time begins: until then nobody sends the arm anything.

    The set-points and trajectories of a simulated run would be read by the controllers of a real arm, which have the
    same names, and its policy would read the real arm's joints.

    Raises:
        DeploymentError: a driver of ros2_control, or another source of the joints, is in this domain.
    """
    names = {f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces()
             if name == CONTROLLER_MANAGER}
    own = (node.get_name(), node.get_namespace())
    names |= {f"{writer.node_namespace.rstrip('/')}/{writer.node_name}"
              for writer in node.get_publishers_info_by_topic(joint_topic)
              if (writer.node_name, writer.node_namespace) != own}
    if names:
        raise DeploymentError(f"a robot's driver, or another simulation, is in ROS_DOMAIN_ID "
                              f"{os.environ.get('ROS_DOMAIN_ID', '0')} ({', '.join(sorted(names))}), and would follow "
                              "this simulation's set-points; choose another ROS_DOMAIN_ID, or unset it")
