"""The parameters that a JointTrajectoryController of each distribution declares, with their defaults.

After `joint_trajectory_controller_parameters.yaml` of ros2_controllers, branches humble, jazzy, kilted and master of
August 2026; those that say how it takes trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulation.jtc_model import Distribution, JtcParameters

Value = bool | float | str | list[str]


def declared_parameters(distribution: Distribution, joint_names: Sequence[str],
                        model: JtcParameters) -> dict[str, Value]:
    """Name -> value of a controller of positions that behaves as the model's parameters say."""
    declared: dict[str, Value] = {
        "joints": list(joint_names),
        "command_interfaces": ["position"],
        "state_interfaces": ["position", "velocity"],
        "interpolation_method": model.interpolation_method,
        "allow_partial_joints_goal": model.allow_partial_joints_goal,
        "allow_nonzero_velocity_at_trajectory_end": model.ends_moving(distribution),
        "set_last_command_interface_value_as_state_on_activation": True,
        "cmd_timeout": model.cmd_timeout_s,
        "constraints.goal_time": model.goal_time_s,
        "constraints.stopped_velocity_tolerance": 0.01,
    }
    for joint in joint_names:
        declared[f"constraints.{joint}.trajectory"] = model.path_tolerance_rad
        declared[f"constraints.{joint}.goal"] = model.goal_tolerance_rad
    if distribution == "humble":
        declared |= {"open_loop_control": model.interpolate_from_desired_state, "state_publish_rate": 50.0}
        return declared
    declared |= {"interpolate_from_desired_state": model.interpolate_from_desired_state,
                 "speed_scaling.initial_scaling_factor": 1.0, "speed_scaling.state_interface": "",
                 "speed_scaling.command_interface": ""}
    if distribution == "jazzy":
        declared["open_loop_control"] = False
    if distribution == "master":
        declared["allow_trajectory_replacement"] = model.allow_trajectory_replacement
    return declared
