"""The one description of a run: which nodes, with which parameters.

`launch/deploy.launch.py` hands it to ROS 2's launch system, `ladle up` to plain processes. It imports neither.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ladle.policy import Guidance
from ladle_bringup.environment import SIMULATION_DOMAIN
from ladle_bringup.settings import BringupSettings, ParameterValue

JTC_TOPIC = "/joint_trajectory_controller/joint_trajectory"
PLAN_TOPIC = "/ladle/plan"
SETPOINT_TOPIC = "/forward_position_controller/commands"


@dataclass(frozen=True)
class NodeDescription:
    """One process: `ros2 run package executable`, or `python -m module` where there is no ros2."""

    package: str
    executable: str
    name: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)

    @property
    def module(self) -> str:
        """The module whose main the executable runs."""
        return f"{self.package}.{self.executable}"


def describe(settings: BringupSettings) -> tuple[NodeDescription, ...]:
    """The nodes of a run; they may start in any order, and end in the opposite of this one."""
    settings = replace(settings, arm_socket=settings.arm_socket or _default_socket())
    nodes = [_policy_node(settings)]
    if settings.controller == "ruckig":
        nodes.insert(0, _ruckig_node(settings))
    if settings.robot == "sim":
        nodes.insert(0, _simulator_node(settings))
        if not settings.raw_setpoints:
            nodes.insert(0, _jtc_node(settings))
    return tuple(nodes)


def guidance_parameters(guidance: Guidance | None) -> dict[str, float]:
    """A wish as settings and as the node's parameters; none is none."""
    if guidance is None:
        return {}
    return {"target_mass_g": guidance.target_mass_g, "guidance_weight": guidance.weight}


def _default_socket() -> str:
    domain = os.environ.get("ROS_DOMAIN_ID", SIMULATION_DOMAIN)
    return str(Path(tempfile.gettempdir()) / f"ladle-{os.getuid()}-{domain}.sock")


def _simulator_node(s: BringupSettings) -> NodeDescription:
    return NodeDescription("ladle_nodes", "simulator_node", "ladle_simulator", {
        "use_sim_time": False,  # it is the clock
        "task": s.task, "controller": "ruckig" if s.raw_setpoints else "jtc", "lockstep": s.lockstep, "split": s.split,
        "seed0": s.seed0,
        "scenes": s.scenes, "time_limit_s": s.time_limit_s, "output": s.output, "video": s.video,
        "only_needed_frames": s.only_needed_frames, "renderer": s.renderer, "arm_socket": s.arm_socket,
        "setpoint_topic": SETPOINT_TOPIC, "any_load": s.any_load,
        "pace": s.pace, "arm_recovers": s.arm_recovers, "motion_log": s.motion_log,
        **({"wished_mass_g": s.target_mass_g} if math.isfinite(s.target_mass_g) else {}),
    })


def _jtc_node(s: BringupSettings) -> NodeDescription:
    return NodeDescription("ladle_nodes", "jtc_node", "joint_trajectory_controller", {
        "use_sim_time": True, "task": s.task, "distribution": s.jtc_distribution or "jazzy", "arm_socket": s.arm_socket,
        "trajectory_topic": JTC_TOPIC,
    })


def _ruckig_node(s: BringupSettings) -> NodeDescription:
    return NodeDescription("ladle_nodes", "ruckig_node", "ladle_ruckig", {
        "use_sim_time": s.robot == "sim", "task": s.task, "lockstep": s.lockstep,
        "speed": s.speed_share, "pace": s.pace, "plan_topic": PLAN_TOPIC, "setpoint_topic": SETPOINT_TOPIC,
        "setpoint_form": s.setpoint_form,
        "trajectory_topic": JTC_TOPIC, "jtc_distribution": s.jtc_distribution,
    })


def policy_server(settings: BringupSettings) -> NodeDescription:
    """The node that serves the settings' policy to a run with policy:=remote."""
    return NodeDescription("ladle_nodes", "policy_server", "ladle_policy_server", _recipe(settings))


def _recipe(s: BringupSettings) -> dict[str, ParameterValue]:
    """What a policy is made from."""
    return {
        "task": s.task, "policy": s.policy, "checkpoint": s.checkpoint, "episodes": s.episodes, "episode": s.episode,
        "policy_threads": s.policy_threads,
        # Unset where no mass is asked for: not a number is no value that every tool can pass on.
        **guidance_parameters(Guidance.from_parameters(s.target_mass_g, s.guidance_weight)),
    }


def _policy_node(s: BringupSettings) -> NodeDescription:
    return NodeDescription("ladle_nodes", "policy_node", "ladle_policy", {
        **_recipe(s), "use_sim_time": s.robot == "sim", "pace": s.pace, "home": s.home, "record": s.record,
        "real_robot": s.robot != "sim", "autostart": s.starts_itself, "managed": s.managed,
        "arm_condition": s.arm_reporter,
        "frozen_camera_check": s.frozen_camera_check == "on" or (s.robot != "sim" and s.frozen_camera_check != "off"),
        "speed": s.speed_share, "hold_topic": s.hold_topic, "hold_button": s.hold_button,
        "seed": s.seed, "lockstep": s.lockstep,
        "latency_s": s.latency_s, "chunking": s.chunking, "jtc_distribution": s.jtc_distribution,
        "check_controller": s.controller == "jtc",
        "trajectory_topic": JTC_TOPIC if s.controller == "jtc" else PLAN_TOPIC,
    })
