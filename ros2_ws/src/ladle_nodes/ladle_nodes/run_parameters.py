"""What the policy node's parameters say of a run."""

from __future__ import annotations

from rclpy.node import Node

from ladle.policy import Guidance
from ladle.task import TaskConfig
from ladle_nodes.arm_conditions import NO_REPORTS
from ladle_nodes.policies import PolicyRecipe
from ladle_nodes.process import parameter, text_parameter
from real_world_deployment.chunking import chunking_from_text
from real_world_deployment.config import HOLD_TO_RUN_S, DeploymentConfig, in_lockstep


def config_of(node: Node, task: TaskConfig) -> DeploymentConfig:
    """The run's configuration, out of the node's parameters and what the task file says of the arm."""
    lockstep = bool(parameter(node, "lockstep"))
    config = DeploymentConfig(
        latency_s=float(parameter(node, "latency_s")) if lockstep else 0.0, home=bool(parameter(node, "home")),
        real_robot=bool(parameter(node, "real_robot")), speed=float(parameter(node, "speed")),
        hold_to_run_s=HOLD_TO_RUN_S if text_parameter(node, "hold_topic") else None,
        tracking_delay_s=task.joints.tracking_delay_s if task.joints else 0.0,
        frozen_camera_check=bool(parameter(node, "frozen_camera_check")),
        arm_condition_required=text_parameter(node, "arm_condition") != NO_REPORTS,
        chunking=chunking_from_text(text_parameter(node, "chunking")))
    return in_lockstep(config) if lockstep else config


def recipe_of(node: Node) -> PolicyRecipe:
    """What the node's parameters say of the policy."""
    kind, task, checkpoint, episodes = (text_parameter(node, name)
                                        for name in ("policy", "task", "checkpoint", "episodes"))
    return PolicyRecipe(kind, task, checkpoint, episodes, int(parameter(node, "episode")),
                        int(parameter(node, "policy_threads")), guidance_of(node))


def guidance_of(node: Node) -> Guidance | None:
    """The mass to ask for, unless the parameter is unset or not a number."""
    if not node.has_parameter("target_mass_g"):
        return None
    return Guidance.from_parameters(float(parameter(node, "target_mass_g")), float(parameter(node, "guidance_weight")))
