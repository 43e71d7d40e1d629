"""How a run is done: everything about deployment that is not in the task file."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative, Positive
from real_world_deployment.chunking import Chunking

Share = Annotated[float, Field(gt=0, le=1)]
# Through 5 ms of a quintic a jerk may become 2.2 times as large (`ruckig_trajectories.py`).
HurriedShare = Annotated[float, Field(gt=0, le=0.45)]

REAL_ROBOT_SPEED = 0.10
HOLD_TO_RUN_S = 0.25  # joysticks repeat their state at 20 Hz


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LimitShares:
    """How much of the task's limits a motion may use, and how near it may come to the end of a joint.

    tip_velocity 0.3 is 0.51 m/s for a Panda: demonstrations stay below 0.2 m/s, and a person beside the arm can step
    back.
    """

    position_margin_rad: NotNegative = 0.02
    velocity: Share = 0.9
    tip_velocity: Share = 0.3
    acceleration: Share = 0.9
    jerk: Share = 0.9


@dataclass(frozen=True, config=STRICT, kw_only=True)
class WatchdogBounds:
    """How long each watchdog takes to speak, at most, on the clock that the loop runs by; see docs/safety.md.

    Attributes:
        tick_s: the loop looks at least so often where time is not held still; what is seen at once is seen within it.
        clock_leap_s: between two ticks of a run: the clock was set, or the process stood still. What is sent after a
            smaller step of a clock comes too late to be followed, and the arm rests.
        joints_stale_s, camera_stale_s: after the last joint state or frame was received. Of a 30 Hz camera three frames
            in a row may be lost by chance, of a 14.2 Hz one none; a fourth, or one, holds the arm briefly.
        camera_frozen_s: stamps over which frames are the same byte for byte.
        arm_report_s: for the arm's own alarms: a Franka's driver reports 30 times a second or more often.
        arm_unknown_s: after the arm's last report.
        controller_dead_s: for the arm to be seen standing while its plan moves, or another publisher of trajectories.
        unacknowledged_s: so long a trajectory may take to be acknowledged (at most 0.04 s on a machine with three times
            as much to do as it can). The plan before it is left by the controller look_ahead_s after its sending, and
            nothing that still lives (switch_lead_s) may arrive after that.
        policy_silent_margin_s: on top of twice the latency, after a question.
        uncertain_below: a classifier that is less sure than this of its likeliest stage, so many uncertain_decisions
            in a row, holds the arm.
        command_success_rate: a moving arm that receives a smaller share of its commands is held.
        brief_s: a camera that is back so soon after the arm was held goes on at once: frames were lost.
        settle_s: else what was stale must have been good for so long.
    """

    tick_s: Positive = 0.01
    clock_leap_s: Positive = 0.25
    joints_stale_s: Positive = 0.10
    camera_stale_s: Positive = 0.15
    camera_frozen_s: Positive = 0.15
    arm_report_s: Positive = 0.045
    arm_unknown_s: Positive = 0.15
    controller_dead_s: Positive = 0.15
    unacknowledged_s: Positive = 0.05
    policy_silent_margin_s: Positive = 0.2
    uncertain_below: Annotated[float, Field(ge=0, le=1)] = 0.4
    uncertain_decisions: Annotated[int, Field(ge=1)] = 3
    command_success_rate: Share = 0.8
    brief_s: NotNegative = 0.15
    settle_s: NotNegative = 0.5


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DeploymentConfig:
    """One run.

    Attributes:
        real_robot: the arm is not simulated: the task must then limit its tip and its workspace, and nothing begins or
            goes on by itself after somebody may have stepped up to it (start_patience_s, hold_patience_s).
        start_patience_s: a real robot's start that had to wait for so long is withdrawn.
        hold_patience_s: a real robot that was held for longer goes on only when an operator says so.
        speed: override in (0, 1]: the policy's time runs at this share of the clock's (`safety/speed.py`). Scripts and
            launch files take REAL_ROBOT_SPEED for a real robot unless told otherwise.
        start_within_m, start_within_rad: how far from the home pose a run without homing may begin.
        hold_to_run_s: the arm moves only while a button was seen pressed within so long; None asks for no button.
        latency_s: from the decision to the instant at which its chunk may be used. Simulations keep to it exactly.
        chunking: what becomes of the running chunk when the next one comes: replace; ensemble (the average of all that
            speak of an instant); real_time (the policy samples the next one to continue it, see chunking.py);
            stop_and_go (a baseline: the next one is asked for when this one has been carried out and the arm rests).
        replan_ticks: the policy is asked at every n-th tick of the task, but for stop_and_go.
        held_motion_s: how much of a chunk after the switch is kept, before the tail.
        tail_s: from the last kept way point to rest.
        switch_lead_s: from sending to the switch; must cover the transport to the controller and its clock offset.
        prefix_s: how much of the past a message repeats; must cover the clock offset too.
        look_ahead_s: how much of a plan the controller holds before its way to rest.
        refresh_s: how often it is given the next part, at the most often; the loop must tick at least this often, and
            before switch_lead_s + the time between two ticks has grown to look_ahead_s.
        clock_tolerance_s: how far the controller's clock may be from ours.
        lead_in_s: how long the controller has to come from its own set-point to the first plan of a run.
        cutoff_hz: faster motion in a chunk counts as noise.
        tracking_delay_s: how late the arm follows a command; targets are sent earlier by it.
        joints_age_s, camera_age_s: data that was taken longer ago stops a run from starting, and holds the arm.
        bounds: of the watchdogs.
        frozen_camera_check: whether frames that are all alike hold the arm: real sensors have noise, simulated ones
            may show a scene at rest exactly alike.
        arm_condition_required: whether the arm must report its own condition.
        following_error_rad: how far a joint may be from the plan in force at full speed, and less at a share of it
            (`safety/following.py`); beyond it the run is a fault.
        max_policy_failures: so many errors of the policy in a row stop the run.
        home: whether a run begins by homing.
        home_speed_share: share of the velocity limits that homing uses.
        home_tolerance_rad: how near to home every measured joint must be before the policy starts.
        home_timeout_s: how long after the end of the homing motion it may take to get there.
        limits: shares of the task's limits for every plan.
        stream_period_s: how far ahead the Ruckig stream aims at the plan.
        stream_limits: shares for set-points of the Ruckig stream. Speed and acceleration are above those of the plans,
            which can then be caught up with; Ruckig uses all the jerk it is given, so it is given little.
        stream_hurried_jerk: share of the task's limits where the stream would fall behind its plan else. Plans brake
            with up to 0.15 of a Panda's.
    """

    real_robot: bool = False
    start_patience_s: Positive = 5.0
    hold_patience_s: Positive = 2.0
    speed: Share = 1.0
    start_within_m: Positive = 0.15
    start_within_rad: Positive = 0.5
    hold_to_run_s: Positive | None = None
    latency_s: NotNegative = 0.1
    chunking: Chunking = "replace"
    replan_ticks: Annotated[int, Field(ge=1)] = 4
    held_motion_s: Positive = 0.8
    tail_s: Positive = 0.5
    switch_lead_s: NotNegative = 0.075
    prefix_s: Positive = 0.2
    look_ahead_s: Positive = 0.15
    refresh_s: Positive = 0.03
    clock_tolerance_s: NotNegative = 0.05
    lead_in_s: Positive = 0.3
    cutoff_hz: Positive = 1.0
    tracking_delay_s: NotNegative = 0.0
    joints_age_s: Positive = 0.2
    camera_age_s: Positive = 0.5
    bounds: WatchdogBounds = WatchdogBounds()
    frozen_camera_check: bool = False
    arm_condition_required: bool = False
    following_error_rad: Positive = 0.2
    max_policy_failures: Annotated[int, Field(ge=1)] = 3
    home: bool = True
    home_speed_share: Share = 0.25
    home_tolerance_rad: Positive = 0.03
    home_timeout_s: Positive = 3.0
    limits: LimitShares = LimitShares()
    stream_period_s: Positive = 0.05
    stream_limits: LimitShares = LimitShares(position_margin_rad=0.01, velocity=0.95, acceleration=0.95, jerk=0.1)
    stream_hurried_jerk: HurriedShare = 0.3

    @property
    def stream_hurry(self) -> float:
        """How many times the stream's usual jerk that is."""
        return max(self.stream_hurried_jerk / self.stream_limits.jerk, 1.0)


def in_lockstep(config: DeploymentConfig) -> DeploymentConfig:
    """The same run where simulated time waits for the loop: one clock, no transport, one tick of the loop a tick.

    A classifier that is unsure is nobody's danger there, and would change what is measured.
    """
    return replace(config, switch_lead_s=0.04, clock_tolerance_s=0.0,
                   bounds=replace(config.bounds, uncertain_below=0.0, clock_leap_s=1.0))
