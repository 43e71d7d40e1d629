"""When a JointTrajectoryController gives a trajectory up: tolerances, time-outs, the action's goal.

Written after `JointTrajectoryController::update`, `goal_accepted_callback`, `preempt_active_goal` and
`tolerances.hpp` (`get_segment_tolerances`, `resolve_tolerance_source`) of ros2_controllers, branches humble, jazzy,
kilted and master of August 2026, which agree here. A message on the topic brings no tolerances of its own and nobody
hears of its end, but those of the parameters (or of the last goal: they stay in force after it) make it hold like a
goal. Not modelled: `constraints.decelerate_on_cancel`, velocity tolerances, which need a velocity or effort
interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simulation.jtc_messages import JtcParameters
from simulation.jtc_trajectory import NANOSECONDS, Floats

Outcome = Literal["SUCCESSFUL", "PATH_TOLERANCE_VIOLATED", "GOAL_TOLERANCE_VIOLATED", "INVALID_GOAL"]
ERASED = -1.0


@dataclass(frozen=True)
class Tolerances:
    """Path and goal tolerance of every joint, and how late the goal may be met.

    In a goal 0 leaves what the parameters say and -1 erases it; in force 0 is none.
    """

    path_rad: float = 0.0
    goal_rad: float = 0.0
    goal_time_s: float = 0.0

    @classmethod
    def of(cls, parameters: JtcParameters) -> Tolerances:
        """The controller's own."""
        return cls(parameters.path_tolerance_rad, parameters.goal_tolerance_rad, parameters.goal_time_s)

    def overridden(self, goal: Tolerances) -> Tolerances:
        """With a goal's in their place; an impossible value leaves all as they are."""
        if any(value < 0.0 and value != ERASED for value in (goal.path_rad, goal.goal_rad, goal.goal_time_s)):
            return self

        def chosen(own: float, wanted: float) -> float:
            return 0.0 if wanted == ERASED else wanted or own

        return Tolerances(chosen(self.path_rad, goal.path_rad), chosen(self.goal_rad, goal.goal_rad),
                          chosen(self.goal_time_s, goal.goal_time_s))


@dataclass(frozen=True)
class Verdict:
    """Of one cycle.

    Attributes:
        holds: the measured position is held from the next cycle on.
        writes: whether this cycle's set-point is written; else the last one stays.
        outcome: what a goal that is under way is told, if anything.
    """

    holds: bool = False
    writes: bool = True
    outcome: Outcome | None = None


def supervise(tolerances: Tolerances, parameters: JtcParameters, error_rad: Floats, first_sample: bool,
              past_end_ns: int) -> Verdict:
    """Judge a cycle of a trajectory that is not a hold.

    Args:
        error_rad: (n,) desired minus measured.
        first_sample: whether it is the trajectory's first cycle, in which the path tolerance counts in any case.
        past_end_ns: time since the last point was due; negative before.
    """
    error = float(np.max(np.abs(error_rad)))
    past_end_s = past_end_ns / NANOSECONDS
    is_over = past_end_ns >= 0
    timed_out = is_over and parameters.cmd_timeout_s > parameters.goal_time_s and past_end_s > parameters.cmd_timeout_s
    if (not is_over or first_sample) and 0.0 < tolerances.path_rad < error:
        return Verdict(holds=True, writes=False, outcome="PATH_TOLERANCE_VIOLATED")
    if not is_over:
        return Verdict()
    if not 0.0 < tolerances.goal_rad < error:
        return Verdict(holds=timed_out, outcome="SUCCESSFUL")
    if 0.0 < tolerances.goal_time_s < past_end_s:
        return Verdict(holds=True, writes=False, outcome="GOAL_TOLERANCE_VIOLATED")
    return Verdict(holds=timed_out)
