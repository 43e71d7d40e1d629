"""All limits of a task together: what every motion of a run is checked against."""

from __future__ import annotations

from dataclasses import replace

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.safety.joint_limits import MotionLimits
from real_world_deployment.safety.tip_speed import TipSpeed
from real_world_deployment.safety.workspace import Workspace


def limits_of(task: TaskConfig, shares: LimitShares, chain: KinematicChain | None, speed: float = 1.0) -> MotionLimits:
    """The task's joint limits and, with a chain, those of its tip and workspace.

    Args:
        speed: override in (0, 1]; velocities are held to this share too. Accelerations are not: braking stays brisk.

    Raises:
        DeploymentError: the task has no joints or no limits.
        KinematicsError: the workspace names a link that the chain does not have.
    """
    if task.joints is None or task.limits is None:
        raise DeploymentError(f"task {task.name} has no joints or no limits; a motion needs both to be checked")
    slowed = replace(shares, velocity=shares.velocity * speed, tip_velocity=shares.tip_velocity * speed)
    tip_speed = workspace = None
    if chain is not None and task.limits.tip_velocity_m_s is not None:
        tip_speed = TipSpeed(chain, task.limits.tip_velocity_m_s * slowed.tip_velocity)
    if chain is not None and task.workspace is not None:
        workspace = Workspace(chain, task.workspace)
    return MotionLimits(task.limits, slowed, task.joints.names, tip_speed, workspace)
