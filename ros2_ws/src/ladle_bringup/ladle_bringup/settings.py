"""What a user may choose about a run, checked: launch arguments are text, `ladle up` has types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from ladle.errors import DeploymentError
from ladle.policy import Guidance
from real_world_deployment.chunking import Chunking
from real_world_deployment.config import REAL_ROBOT_SPEED
from real_world_deployment.safety.speed import check_chunking

ParameterValue = bool | int | float | str

POLICIES = ("checkpoint", "blind", "replay", "hold", "sway", "remote")


@dataclass(frozen=True)
class BringupSettings:
    """What a user may choose; every field is a launch argument of the same name.

    Attributes:
        task: name or path of a task file.
        checkpoint: folder of the policy, for policy:=checkpoint and policy:=blind.
        policy: checkpoint, blind (the checkpoint on black images), replay (a recorded episode, see episodes),
            hold (stays where it is, to try out the wiring), sway (circles without end, to try out stops and faults) or
            remote (served by `ladle serve`, on this or another machine, and asked through topics).
        episodes: folder of episodes for policy:=replay.
        episode: number of the episode that is replayed; -1 takes the first.
        controller: jtc or ruckig.
        setpoint_form: how controller:=ruckig reaches the arm: array (1 kHz set-points for a position controller) or
            trajectory (short overlapping ones for the JTC, for arms that take no raw set-points; not in lockstep).
        robot: sim or franka.
        speed: override in (0, 1]: the policy's time runs at this share; nan takes 1 for sim and 0.1 for franka.
        hold_topic: sensor_msgs/Joy of a hold-to-run button: the arm moves only while it is held; empty asks for none.
        hold_button: its index in the message's buttons.
        autostart: true or false: whether a run is asked for as soon as the policy's node is active; else /ladle/start
            does. Empty is true for sim and false for a real robot.
        managed: whether the lifecycle's transitions of the policy's node are somebody else's; else it configures and
            activates itself, after which it is ready and moves nothing.
        arm_condition: who reports the arm's own mode and errors: sim, franka (its driver, through franka_msgs) or none;
            empty takes what robot and lockstep want.
        frozen_camera_check: on or off: whether frames that are all alike hold the arm; empty is on for a real robot.
        home: whether the arm homes to the task's pose before the policy starts.
        lockstep: decisions and simulation in step, independent of the machine's speed; sim only.
        latency_s: from a decision to its chunk, in simulation time; lockstep only.
        chunking: replace, ensemble or real_time: how a new chunk meets the running one; or stop_and_go, a baseline in
            which the arm rests between two. ensemble and real_time need speed 1.
        split: scenes from the "train" or the "eval" seeds; scenes of them from seed0 on; sim only.
        seed: of the policy's noise, together with the scene's seed.
        policy_threads: of the policy's network; said, so that results do not depend on the number of cores.
        time_limit_s: longest duration of a scene in simulation time, homing included.
        output: folder for the simulator's log and video; empty writes none.
        record: folder of a bag that records the run, for `ladle replay`; empty records nothing.
        video: whether the simulator writes scenes.mp4 into output.
        only_needed_frames: render only the frames that a decision uses; lockstep only.
        renderer: auto, egl, osmesa or rays.
        jtc_distribution: whose JTC takes the trajectories: humble, jazzy, kilted or master. With robot:=sim it is what
            the simulated controller does (jazzy unless said); with robot:=franka it is found out from the controller's
            parameters and only needs to be said where those leave it open.
        arm_socket: where the simulated controller meets the simulated arm.
        driver_limits: says that the robot's driver limits and filters position set-points; franka with ruckig only.
        target_mass_g: final mass that the policy is asked for; nan asks for none. Only a policy that was trained with
            the mass can be asked. In the simulator success is then a mass within 0.75 g of it.
        guidance_weight: how hard it is asked for: 1 as it was learnt, more exaggerates.
        pace: of simulated time, as a share of the wall clock's: 1 is real time, 0.25 a quarter of it, for machines that
            cannot do everything in real time; sim without lockstep.
        arm_recovers: the simulated arm lives on after a reflex or the death of its controller, until the service
            /ladle/sim/recover, and is taken by a person through the topic /ladle/sim/command; sim without lockstep.
        motion_log: file for the simulated arm's set-points and joints in every cycle of 1 ms (see
            ladle_nodes/motion_log.py); empty writes none; sim without lockstep.
        any_load: a scene is over, and a success, with whatever load is held over the rim, not only with 2 g; sim only.
    """

    task: str = "scoop"
    checkpoint: str = ""
    policy: str = "checkpoint"
    episodes: str = ""
    episode: int = -1
    controller: str = "jtc"
    setpoint_form: str = "array"
    robot: str = "sim"
    speed: float = math.nan
    hold_topic: str = ""
    hold_button: int = 0
    autostart: str = ""
    managed: bool = False
    arm_condition: str = ""
    frozen_camera_check: str = ""
    home: bool = True
    lockstep: bool = False
    latency_s: float = 0.1
    chunking: str = "replace"
    split: str = "eval"
    seed0: int = 0
    scenes: int = 1
    seed: int = 0
    policy_threads: int = 1
    time_limit_s: float = 25.0
    output: str = ""
    record: str = ""
    video: bool = False
    only_needed_frames: bool = True
    renderer: str = "auto"
    jtc_distribution: str = ""
    arm_socket: str = ""
    driver_limits: bool = False
    target_mass_g: float = math.nan
    guidance_weight: float = 1.0
    any_load: bool = False
    pace: float = 1.0
    arm_recovers: bool = False
    motion_log: str = ""

    def __post_init__(self) -> None:
        _one_of("controller", self.controller, ("jtc", "ruckig"))
        _one_of("setpoint_form", self.setpoint_form, ("array", "trajectory"))
        _one_of("robot", self.robot, ("sim", "franka"))
        _one_of("policy", self.policy, POLICIES)
        _one_of("chunking", self.chunking, get_args(Chunking))
        _one_of("autostart", self.autostart, ("", "true", "false"))
        _one_of("arm_condition", self.arm_condition, ("", "sim", "franka", "none"))
        _one_of("frozen_camera_check", self.frozen_camera_check, ("", "on", "off"))
        _one_of("split", self.split, ("train", "eval"))
        _one_of("renderer", self.renderer, ("auto", "egl", "osmesa", "rays"))
        _one_of("jtc_distribution", self.jtc_distribution, ("", "humble", "jazzy", "kilted", "master"))
        if not (math.isnan(self.speed) or 0.0 < self.speed <= 1.0):
            raise DeploymentError(f"speed:={self.speed:g} is not in (0, 1]; 1 is full speed, 0.1 a tenth of it")
        check_chunking(self.chunking, self.speed_share)
        if not 0.0 < self.pace <= 1.0:
            raise DeploymentError(f"pace:={self.pace:g} is not in (0, 1]; 1 is real time, 0.25 a quarter of it")
        if (self.pace != 1.0 or self.arm_recovers or self.motion_log) and (self.lockstep or self.robot != "sim"):
            raise DeploymentError("pace, arm_recovers and motion_log are for robot:=sim without lockstep")
        if self.hold_button < 0:
            raise DeploymentError(f"hold_button:={self.hold_button} is no index of a button; the first is 0")
        if self.robot == "franka" and self.lockstep:
            raise DeploymentError("lockstep:=true holds time still, which only robot:=sim can do")
        if self.setpoint_form == "trajectory" and (self.controller != "ruckig" or self.lockstep):
            raise DeploymentError("setpoint_form:=trajectory is for controller:=ruckig without lockstep")
        if self.robot == "franka" and self.raw_setpoints and not self.driver_limits:
            raise DeploymentError("controller:=ruckig streams raw set-points; a Franka needs its driver's limiter and "
                                  "low-pass on (then say driver_limits:=true), else use setpoint_form:=trajectory or "
                                  "controller:=jtc")
        if self.scenes != 1 and not self.lockstep:
            raise DeploymentError(f"scenes:={self.scenes} needs lockstep:=true; without it a run is one scene")
        if self.policy == "replay" and not self.episodes:
            raise DeploymentError("policy:=replay needs episodes:=<folder of episodes>")
        if self.policy in ("checkpoint", "blind") and not self.checkpoint:
            raise DeploymentError(f"policy:={self.policy} needs checkpoint:=<folder of a checkpoint>")
        if self.policy == "remote" and self.checkpoint:
            raise DeploymentError(f"policy:=remote is served elsewhere; leave checkpoint:={self.checkpoint} out")
        guidance = Guidance.from_parameters(self.target_mass_g, self.guidance_weight)
        if guidance is not None and self.policy not in ("checkpoint", "blind"):
            raise DeploymentError(f"policy:={self.policy} cannot be asked for {guidance.target_mass_g:g} g; leave "
                                  "target_mass_g out, or take policy:=checkpoint")

    @property
    def speed_share(self) -> float:
        """The speed in force: the one asked for, else full speed in simulation and a tenth of it on a real robot."""
        if not math.isnan(self.speed):
            return self.speed
        return 1.0 if self.robot == "sim" else REAL_ROBOT_SPEED

    @property
    def starts_itself(self) -> bool:
        """Whether nobody has to ask for the run: in simulation, unless the user says otherwise."""
        return self.autostart == "true" or (self.autostart == "" and self.robot == "sim")

    @property
    def arm_reporter(self) -> str:
        """Who reports the arm's condition; in lockstep nobody, for the simulator itself ends a scene there."""
        return self.arm_condition or ("none" if self.lockstep else self.robot)

    @property
    def raw_setpoints(self) -> bool:
        """Whether the arm is driven by single set-points and not by a trajectory controller."""
        return self.controller == "ruckig" and self.setpoint_form == "array"


def settings_from_text(values: Mapping[str, str]) -> BringupSettings:
    """Launch arguments, which are all text, to typed settings.

    Raises:
        DeploymentError: an unknown name, or a value of the wrong type.
    """
    defaults = {item.name: item.default for item in fields(BringupSettings)}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise DeploymentError(f"unknown argument {unknown[0]!r}; known: {', '.join(defaults)}")
    typed: dict[str, Any] = {name: _typed(name, text, defaults[name]) for name, text in values.items()}
    return BringupSettings(**typed)


def _typed(name: str, text: str, default: object) -> ParameterValue:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except (KeyError, ValueError) as error:
        raise DeploymentError(f"{name}:={text} is not a {type(default).__name__}") from error
    return text


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DeploymentError(f"{name}:={value} is not one of {', '.join(allowed)}")
