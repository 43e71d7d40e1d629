"""Which controllers can be fed, and what is said of the others."""

from __future__ import annotations

import pytest

from ladle.errors import DeploymentError
from real_world_deployment.jtc_parameters import JtcFeeding, check_controller, parameter_names
from simulation.jtc_messages import JtcParameters
from simulation.jtc_parameters import declared_parameters

JOINTS = ("j1", "j2")
NODE = "/arm_controller"
DISTRIBUTIONS = ("humble", "jazzy", "kilted", "master")


def declared(distribution: str, **model: object) -> dict[str, object]:
    """What a controller of the distribution says of itself, master without replacement."""
    parameters = JtcParameters(**{"allow_trajectory_replacement": False, **model})  # type: ignore[arg-type]
    return dict(declared_parameters(distribution, JOINTS, parameters))  # type: ignore[arg-type]


def check(parameters: dict[str, object], ros_distro: str | None = None, override: str | None = None) -> JtcFeeding:
    """With a run that stops by itself at 0.2 rad."""
    return check_controller(parameters, JOINTS, 0.2, NODE, ros_distro, override)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_parameters_tell_the_distribution(distribution: str) -> None:
    """Also where ROS_DISTRO of our own machine is another one: the controller runs on the robot's."""
    assert check(declared(distribution), "humble").distribution == distribution
    assert check(declared(distribution), None, distribution).distribution == distribution


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_all_that_a_model_declares_is_asked_for_by_name(distribution: str) -> None:
    """What decides is read: no declared parameter that the check looks at is left out of the question."""
    asked = set(parameter_names(JOINTS))
    idle = {"constraints.stopped_velocity_tolerance", "speed_scaling.command_interface"}
    decisive = set(declared(distribution)) - idle
    assert decisive <= asked


def test_where_the_parameters_leave_it_open_ros_distro_decides() -> None:
    """Without any tell-tale parameter; and without ROS_DISTRO too it must be said."""
    bare = {name: value for name, value in declared("kilted").items() if name != "interpolate_from_desired_state"}
    assert check(bare, "rolling").distribution == "master"
    assert check(bare, None, "jazzy").distribution == "jazzy"
    with pytest.raises(DeploymentError, match="say jtc_distribution:="):
        check(bare)


def test_a_user_who_errs_is_told() -> None:
    """The override contradicts what the controller shows."""
    with pytest.raises(DeploymentError, match=r"jtc_distribution:=humble.*parameters of jazzy"):
        check(declared("jazzy"), None, "humble")


@pytest.mark.parametrize(("change", "words"), [
    ({"joints": ["j1", "j3"]}, "does not command j2"),
    ({"joints": []}, "does not command j1, j2"),
    ({"joints": ["j1", "j2", "j3"]}, "ros2 param set /arm_controller allow_partial_joints_goal true"),
    ({"command_joints": ["j1"]}, "does not command j2"),
    ({"command_interfaces": ["effort"]}, "no gains"),
    ({"command_interfaces": []}, "no gains"),
    ({"state_interfaces": ["velocity"]}, "does not read positions"),
    ({"interpolation_method": "none"}, "interpolation_method: splines"),
    ({"allow_trajectory_replacement": True}, "ros2 param set /arm_controller allow_trajectory_replacement false"),
    ({"speed_scaling.state_interface": "speed/factor"}, "without speed_scaling"),
    ({"speed_scaling.initial_scaling_factor": 0.5}, "without speed_scaling"),
    ({"constraints.j2.trajectory": 0.05}, "ros2 param set /arm_controller constraints.j2.trajectory 0.0"),
])
def test_what_spoils_streaming_is_refused_with_the_remedy(change: dict[str, object], words: str) -> None:
    """Each with the value, the reason and what to do."""
    with pytest.raises(DeploymentError, match=words):
        check(declared("master") | change)


def test_an_effort_controller_with_gains_is_fed() -> None:
    """As franka_ros2 has it; a path tolerance above our own limit is no obstacle either."""
    effort = declared("jazzy") | {"command_interfaces": ["effort"], "gains.j1.p": 600.0, "gains.j2.p": 600.0}
    assert check(effort | {"constraints.j1.trajectory": 0.3}).distribution == "jazzy"


def test_notes_say_what_happens_after_a_plan() -> None:
    """A time-out above the goal time, the goal time itself, and where the first motion starts."""
    notes = check(declared("jazzy", cmd_timeout_s=2.0, goal_time_s=1.0)).notes
    assert len(notes) == 3
    assert len(check(declared("humble", interpolate_from_desired_state=True)).notes) == 0
