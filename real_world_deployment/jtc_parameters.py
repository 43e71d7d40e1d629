"""What a JointTrajectoryController says about itself -> whether and as what it can be fed.

Plans reach it as messages whose stamp lies in the past and which repeat the running plan up to the switch: every
controller here follows them exactly, because the state from which it would approach a first point is never used. What
spoils that, or would make it hold in mid motion, is refused with the remedy.

After `joint_trajectory_controller_parameters.yaml` and `joint_trajectory_controller.cpp` of ros2_controllers, branches
humble, jazzy, kilted and master of August 2026. Which parameters a controller has tells its distribution: only
Humble's publishes states at a rate of its own (`state_publish_rate`), only Humble's and Jazzy's know
`open_loop_control`, only master's `allow_trajectory_replacement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ladle.errors import DeploymentError

JtcDistribution = Literal["humble", "jazzy", "kilted", "master"]
# Distributions that have no branch of their own are built from master.
ROS_DISTRO_TO_JTC: Mapping[str, JtcDistribution] = {"humble": "humble", "jazzy": "jazzy", "kilted": "kilted",
                                                    "rolling": "master", "lyrical": "master"}
READ = (
    "joints", "command_joints", "command_interfaces", "state_interfaces", "interpolation_method", "state_publish_rate",
    "open_loop_control", "interpolate_from_desired_state", "allow_trajectory_replacement",
    "allow_nonzero_velocity_at_trajectory_end", "allow_partial_joints_goal", "cmd_timeout",
    "set_last_command_interface_value_as_state_on_activation", "speed_scaling.state_interface",
    "speed_scaling.initial_scaling_factor", "constraints.goal_time",
)


@dataclass(frozen=True)
class JtcFeeding:
    """A controller that can be fed.

    Attributes:
        distribution: whose controller it is.
        notes: what a user should know of its parameters; nothing that stops a run.
    """

    distribution: JtcDistribution
    notes: tuple[str, ...]


def parameter_names(joint_names: Sequence[str]) -> tuple[str, ...]:
    """All parameters that `check_controller` looks at."""
    per_joint = [f"constraints.{joint}.{name}" for joint in joint_names for name in ("trajectory", "goal")]
    gains = [f"gains.{joint}.{name}" for joint in joint_names for name in ("p", "ff_velocity_scale")]
    return (*READ, *per_joint, *gains)


def check_controller(parameters: Mapping[str, object], joint_names: Sequence[str], following_error_rad: float,
                     controller: str, ros_distro: str | None = None, override: str | None = None) -> JtcFeeding:
    """Decide how to feed a controller.

    Args:
        parameters: name -> value of those of `parameter_names` that the controller has.
        joint_names: of the arm, as the task names them.
        following_error_rad: at this distance from the plan a run is stopped by us.
        controller: the controller's node, for the messages.
        ros_distro: ROS_DISTRO where we run; decides only where the parameters leave it open.
        override: what the user says, or None to find out.

    Raises:
        DeploymentError: unknown distribution, or a parameter that does not go with streaming; with the remedy.
    """
    distribution = _distribution(parameters, controller, ros_distro, override)
    _check_joints(parameters, joint_names, controller)
    _check_interfaces(parameters, joint_names, controller)
    _check_time(parameters, controller)
    _check_tolerances(parameters, joint_names, following_error_rad, controller)
    return JtcFeeding(distribution, _notes(parameters))


def _distribution(parameters: Mapping[str, object], controller: str, ros_distro: str | None,
                  override: str | None) -> JtcDistribution:
    said = override or ROS_DISTRO_TO_JTC.get(ros_distro or "", None)
    if "state_publish_rate" in parameters:
        found: JtcDistribution | None = "humble"
    elif "open_loop_control" in parameters:
        found = "jazzy"
    elif "allow_trajectory_replacement" in parameters:
        found = "master"
    else:
        found = "kilted" if "interpolate_from_desired_state" in parameters else None
    if found is None and said is None:
        raise DeploymentError(f"the distribution of {controller} cannot be told from its parameters and ROS_DISTRO is "
                              f"{ros_distro!r}; say jtc_distribution:={'|'.join(get_args(JtcDistribution))}")
    if override is not None and found is not None and override != found:
        raise DeploymentError(f"jtc_distribution:={override}, but {controller} has the parameters of {found}; leave "
                              "jtc_distribution out")
    return found or cast("JtcDistribution", said)


def _check_joints(parameters: Mapping[str, object], joint_names: Sequence[str], controller: str) -> None:
    theirs, ours = _texts(parameters, "joints"), set(joint_names)
    commanded = _texts(parameters, "command_joints")
    # As many command joints as joints are the same ones under the names of a chained controller.
    usable = set(theirs) & set(commanded) if 0 < len(commanded) < len(theirs) else set(theirs)
    missing = sorted(ours - usable)
    if missing:
        raise DeploymentError(f"{controller} does not command {', '.join(missing)}; it has the joints "
                              f"{', '.join(sorted(usable)) or 'none'}: start the arm's controller, or name its topic")
    if len(theirs) != len(ours) and parameters.get("allow_partial_joints_goal") is not True:
        raise DeploymentError(f"{controller} has {len(theirs)} joints, the task {len(ours)}; it refuses messages for "
                              f"some of them: {_set(controller, 'allow_partial_joints_goal', 'true')}")


def _check_interfaces(parameters: Mapping[str, object], joint_names: Sequence[str], controller: str) -> None:
    commands = _texts(parameters, "command_interfaces")
    if "position" not in commands:
        gains = [_number(parameters, f"gains.{joint}.{name}") for joint in joint_names
                 for name in ("p", "ff_velocity_scale")]
        if not commands or not any(gains):
            raise DeploymentError(f"{controller} commands {', '.join(commands) or 'nothing'} and has no gains, so it "
                                  "would not follow positions; give it command_interfaces: [position], or gains")
    if "position" not in _texts(parameters, "state_interfaces"):
        raise DeploymentError(f"{controller} does not read positions; give it state_interfaces: [position, velocity]")
    method = parameters.get("interpolation_method", "splines")
    if method != "splines":
        raise DeploymentError(f"{controller} has interpolation_method {method!r}, which jumps from point to point; "
                              "start it with interpolation_method: splines")


def _check_time(parameters: Mapping[str, object], controller: str) -> None:
    if parameters.get("allow_trajectory_replacement") is True:
        raise DeploymentError(f"{controller} has allow_trajectory_replacement: every replacement starts from "
                              "the measured joints or repeats a set-point, which is a step at speed; "
                              f"{_set(controller, 'allow_trajectory_replacement', 'false')}")
    scaled_by = parameters.get("speed_scaling.state_interface")
    factor = parameters.get("speed_scaling.initial_scaling_factor", 1.0)
    if scaled_by or factor != 1.0:
        raise DeploymentError(f"{controller} scales the speed ({scaled_by or factor}): its time leaves the plan's and "
                              "jumps back at every message; start it without speed_scaling")


def _check_tolerances(parameters: Mapping[str, object], joint_names: Sequence[str], following_error_rad: float,
                      controller: str) -> None:
    for joint in joint_names:
        tolerance = _number(parameters, f"constraints.{joint}.trajectory")
        if 0.0 < tolerance < following_error_rad:
            raise DeploymentError(f"{controller} holds {joint} in mid motion when it is {tolerance:g} rad from its "
                                  "path, and the next message would take it back at once; a run stops by itself at "
                                  f"{following_error_rad:g} rad: "
                                  f"{_set(controller, f'constraints.{joint}.trajectory', '0.0')}")


def _notes(parameters: Mapping[str, object]) -> tuple[str, ...]:
    notes: list[str] = []
    timeout_s, goal_s = _number(parameters, "cmd_timeout"), _number(parameters, "constraints.goal_time")
    if timeout_s > goal_s:
        notes.append(f"cmd_timeout: {timeout_s:g} s after a plan's end the controller commands the measured position")
    if goal_s > 0.0:
        notes.append(f"constraints.goal_time: {goal_s:g} s after a plan's end an arm outside its goal tolerance is "
                     "held where it is measured")
    if not (parameters.get("interpolate_from_desired_state") or parameters.get("open_loop_control")):
        notes.append("the first motion of a run starts from the measured joints, not from the last command; set "
                     "interpolate_from_desired_state (open_loop_control on Humble) if the arm sags visibly there")
    return tuple(notes)


def _set(controller: str, name: str, value: str) -> str:
    return f"ros2 param set {controller} {name} {value}"


def _texts(parameters: Mapping[str, object], name: str) -> list[str]:
    value = parameters.get(name)
    return [str(item) for item in cast("Sequence[object]", value)] if isinstance(value, list | tuple) else []


def _number(parameters: Mapping[str, object], name: str) -> float:
    value = parameters.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
