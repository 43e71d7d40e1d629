"""The watchdogs' names, what follows from each, and how long each may take to speak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from real_world_deployment.config import DeploymentConfig
from real_world_deployment.out_of_distribution import WORSE_AFTER

Consequence = Literal["HOLD", "STOPPED", "FAULT"]


class Alarm(Enum):
    """What a watchdog can say; the value is its name in /diagnostics."""

    CAMERA_STALE = "camera_stale"
    CAMERA_FROZEN = "camera_frozen"
    JOINTS_STALE = "joints_stale"
    JOINTS_NOT_FINITE = "joints_not_finite"
    CLOCK_JUMP = "clock_jump"
    POLICY_GONE = "policy_gone"
    POLICY_SILENT = "policy_silent"
    POLICY_FAILED = "policy_failed"
    CLASSIFIER_UNCERTAIN = "classifier_uncertain"
    TRACKING_ERROR = "tracking_error"
    CONTROLLER_DEAD = "controller_dead"
    TRAJECTORIES_LOST = "trajectories_lost"
    OTHER_COMMANDER = "other_commander"
    ARM_REFLEX = "arm_reflex"
    ARM_USER_STOPPED = "arm_user_stopped"
    ARM_GUIDING = "arm_guiding"
    ARM_UNKNOWN = "arm_unknown"
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    HOLD_TO_RUN = "hold_to_run"


@dataclass(frozen=True)
class Reaction:
    """What follows from an alarm.

    Attributes:
        state: HOLD, STOPPED or FAULT.
        remedy: what a person can do.
        brakes: whether a stop is sent; else nothing more is sent, and the controller ends what it holds at rest. That
            is for an arm that does not do what its plan says, where any message would be a step, and for a clock that
            cannot be trusted with stamps.
    """

    state: Consequence
    remedy: str
    brakes: bool = True


CLEAR = "then /ladle/clear_fault and /ladle/start"
REACTIONS: dict[Alarm, Reaction] = {
    Alarm.CAMERA_STALE: Reaction("HOLD", "check the camera's driver and cable; it goes on by itself"),
    Alarm.CAMERA_FROZEN: Reaction("HOLD", "restart the camera's driver; it goes on by itself"),
    Alarm.JOINTS_STALE: Reaction("HOLD", "check the joints' driver and network; it goes on by itself"),
    Alarm.JOINTS_NOT_FINITE: Reaction("FAULT", f"check the joints' driver, {CLEAR}"),
    Alarm.CLOCK_JUMP: Reaction("FAULT", f"stop whatever sets the clock during a run, {CLEAR}", brakes=False),
    Alarm.POLICY_GONE: Reaction("STOPPED", "restart the node, or configure and activate it again"),
    Alarm.POLICY_SILENT: Reaction("HOLD", "it goes on with the policy's answer; give the policy a faster machine"),
    Alarm.POLICY_FAILED: Reaction("STOPPED", "see the policy's errors in the log, then /ladle/start"),
    Alarm.CLASSIFIER_UNCERTAIN: Reaction("HOLD", "it goes on when the stage is clear; or /ladle/resume"),
    Alarm.TRACKING_ERROR: Reaction("FAULT", f"free the arm and check the controller, {CLEAR}", brakes=False),
    Alarm.CONTROLLER_DEAD: Reaction("FAULT", f"load and activate the controller, {CLEAR}", brakes=False),
    Alarm.TRAJECTORIES_LOST: Reaction("HOLD", "check the network to the controller; it goes on by itself once the arm "
                                      "stands", brakes=False),
    Alarm.OTHER_COMMANDER: Reaction("FAULT", f"end the other program, {CLEAR}", brakes=False),
    Alarm.ARM_REFLEX: Reaction("FAULT", f"recover the arm from its error, {CLEAR}", brakes=False),
    Alarm.ARM_USER_STOPPED: Reaction("FAULT", f"release the arm's stop, {CLEAR}", brakes=False),
    Alarm.ARM_GUIDING: Reaction("FAULT", f"let go of the arm, {CLEAR}", brakes=False),
    Alarm.ARM_UNKNOWN: Reaction("HOLD", "check the arm's driver and network; it goes on by itself"),
    Alarm.OUT_OF_DISTRIBUTION: Reaction("HOLD", "make the scene like the demonstrations; or /ladle/resume"),
    Alarm.HOLD_TO_RUN: Reaction("HOLD", "hold the button to go on"),
}
# These end with what the policy says, so it is asked while the arm rests.
JUDGED = frozenset({Alarm.OUT_OF_DISTRIBUTION, Alarm.CLASSIFIER_UNCERTAIN})
# These must have been over for a while before the arm goes on.
SETTLING = frozenset({Alarm.CAMERA_STALE, Alarm.CAMERA_FROZEN, Alarm.JOINTS_STALE, Alarm.ARM_UNKNOWN})
# This ends at once where it was brief: a few frames were lost by chance.
BRIEF = frozenset({Alarm.CAMERA_STALE})
# The network may be down, or the arm not hear its controller: then the stop that was sent is not what the arm has done.
UNHEARD = frozenset({Alarm.JOINTS_STALE, Alarm.ARM_UNKNOWN, Alarm.TRAJECTORIES_LOST})


@dataclass(frozen=True)
class Trouble:
    """A watchdog has spoken: which, and what it has seen."""

    alarm: Alarm
    reason: str

    @property
    def reaction(self) -> Reaction:
        """What follows."""
        return REACTIONS[self.alarm]

    def __str__(self) -> str:
        return f"{self.reason}; {self.reaction.remedy}"


def silence_bound_s(config: DeploymentConfig, latency_p95_s: float) -> float:
    """How long after a question an answer is late: twice the measured latency, or that of the configuration, and more.

    Args:
        latency_p95_s: not a number where nothing was measured.
    """
    bounds = config.bounds
    known_s = max(config.latency_s, 0.0 if math.isnan(latency_p95_s) else latency_p95_s)
    return 2.0 * known_s + bounds.policy_silent_margin_s


def detection_bound_s(alarm: Alarm, config: DeploymentConfig, period_s: float, latency_p95_s: float) -> float:
    """From the fault to the alarm, on the run's clock, for a loop that ticks every `bounds.tick_s`.

    All but those that need the policy's answers, or a joystick's next report, are at most 0.15 s.
    """
    bounds = config.bounds
    decision_s = config.replan_ticks * period_s
    special = {
        Alarm.CAMERA_STALE: bounds.camera_stale_s,
        Alarm.CAMERA_FROZEN: bounds.camera_frozen_s,
        Alarm.JOINTS_STALE: bounds.joints_stale_s,
        Alarm.ARM_UNKNOWN: bounds.arm_unknown_s,
        **dict.fromkeys((Alarm.ARM_REFLEX, Alarm.ARM_USER_STOPPED, Alarm.ARM_GUIDING), bounds.arm_report_s),
        **dict.fromkeys((Alarm.CONTROLLER_DEAD, Alarm.OTHER_COMMANDER), bounds.controller_dead_s),
        # The first plan that is lost is sent a refresh later; a look before, a look after.
        Alarm.TRAJECTORIES_LOST: config.refresh_s + bounds.unacknowledged_s + 2.0 * bounds.tick_s,
        Alarm.POLICY_SILENT: silence_bound_s(config, latency_p95_s),
        Alarm.POLICY_FAILED: config.max_policy_failures * decision_s,
        Alarm.CLASSIFIER_UNCERTAIN: bounds.uncertain_decisions * decision_s,
        Alarm.OUT_OF_DISTRIBUTION: WORSE_AFTER * decision_s,
        Alarm.HOLD_TO_RUN: config.hold_to_run_s or 0.0,
    }
    return special.get(alarm, bounds.tick_s)
