"""What a JointTrajectoryController reads: its parameters, a message, and why it ignores one.

Written after `JointTrajectoryController::validate_trajectory_msg` of ros2_controllers, branches humble, jazzy, kilted
and master of August 2026. Not modelled, because the pipeline never uses it: effort, points without positions
(`allow_integration_in_goal_trajectories`), and master's `positions_upsampling`, which leaves messages with velocities
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulation.jtc_trajectory import Floats, to_ns

Distribution = Literal["humble", "jazzy", "kilted", "master"]
FLOAT32_EPSILON = float(np.finfo(np.float32).eps)  # what the controller takes for a velocity of zero


@dataclass(frozen=True)
class JtcParameters:
    """The controller's parameters that change what it does with a trajectory.

    None stands for the distribution's default.

    Attributes:
        interpolate_from_desired_state: start from the last command, not from the measured state
            (`open_loop_control` on Humble; Jazzy takes either).
        allow_trajectory_replacement: blending of master; ignored elsewhere.
        interpolation_method: "splines", or "none", which jumps to each next point.
        cmd_timeout_s: so long after the last point the measured position is held; 0, or not above goal_time_s, never.
        path_tolerance_rad, goal_tolerance_rad: `constraints.<joint>.trajectory` and `.goal`, of every joint; 0 is none.
        goal_time_s: `constraints.goal_time`; 0 waits for ever.
        update_period_s: period of the control cycle.
    """

    allow_nonzero_velocity_at_trajectory_end: bool | None = None
    allow_partial_joints_goal: bool = False
    interpolate_from_desired_state: bool = False
    allow_trajectory_replacement: bool = True
    interpolation_method: Literal["splines", "none"] = "splines"
    cmd_timeout_s: float = 0.0
    path_tolerance_rad: float = 0.0
    goal_tolerance_rad: float = 0.0
    goal_time_s: float = 0.0
    update_period_s: float = 0.001

    def ends_moving(self, distribution: Distribution) -> bool:
        """Whether a last point with a velocity is taken; Humble's default is yes, that of the others no."""
        said = self.allow_nonzero_velocity_at_trajectory_end
        return distribution == "humble" if said is None else said


@dataclass(frozen=True)
class TrajectoryMessage:
    """trajectory_msgs/JointTrajectory without ROS.

    Attributes:
        stamp_s: header stamp; 0 means "start when received".
        times_from_start_s: (m,) seconds.
        positions_rad, velocities_rad_s, accelerations_rad_s2: (m, n), columns in the order of `joint_names`.
    """

    stamp_s: float
    joint_names: tuple[str, ...]
    times_from_start_s: Floats
    positions_rad: Floats
    velocities_rad_s: Floats | None = None
    accelerations_rad_s2: Floats | None = None


def refusal(message: TrajectoryMessage, now_ns: int, joint_names: tuple[str, ...], distribution: Distribution,
            parameters: JtcParameters) -> str | None:
    """Why a controller of these joints ignores a message that arrives at now_ns; None when it takes it."""
    names, n_points = message.joint_names, len(message.times_from_start_s)
    if not names:
        return "empty joint names"
    if not parameters.allow_partial_joints_goal and len(names) != len(joint_names):
        return f"{len(names)} joints do not match the controller's {len(joint_names)}"
    if n_points == 0:
        return "empty trajectory"
    unknown = [name for name in names if name not in joint_names]
    if unknown:
        return f"joint {unknown[0]} is not one of the controller's joints: {', '.join(joint_names)}"
    for label, values in (
        ("positions", message.positions_rad),
        ("velocities", message.velocities_rad_s),
        ("accelerations", message.accelerations_rad_s2),
    ):
        if values is not None and np.shape(values) != (n_points, len(names)):
            return f"{label} have shape {np.shape(values)}, expected {(n_points, len(names))}"
    return _time_refusal(message, now_ns, parameters.ends_moving(distribution))


def _time_refusal(message: TrajectoryMessage, now_ns: int, allow_moving_end: bool) -> str | None:
    if not allow_moving_end and message.velocities_rad_s is not None:
        final = np.abs(np.asarray(message.velocities_rad_s)[-1])
        if final.max() > FLOAT32_EPSILON:
            return f"velocity of the last point of joint {message.joint_names[int(final.argmax())]} is not zero"
    end_ns = to_ns(message.stamp_s) + to_ns(float(message.times_from_start_s[-1]))
    if message.stamp_s != 0.0 and end_ns < now_ns:
        return f"the trajectory ended {(now_ns - end_ns) / 1e9:.3f} s ago"
    if (np.diff(message.times_from_start_s) <= 0).any():
        return "time from start is not strictly increasing"
    return None
