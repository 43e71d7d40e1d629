"""Whether the arm does what its plan says: it may lag and be off a little, but not stand while the plan moves."""

from __future__ import annotations

import math

import numpy as np

from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.trajectory import JointTrajectory

# The slowest of the plan over so long counts, so that an arm that lags by less is not taken for one that stands.
LOOK_BACK_S = 0.1
SLOWEST_RAD_S = 0.04     # slower plans are watched by the distance alone
SHARE = 0.5              # of the plan's speed: slower than this the arm does not follow
FOR_S = 0.03
SPEED_OVER_S = 0.03      # measured speed is the difference of positions over so long
EVERY_S = 0.01


class Following:
    """The distance of the measured joints from the plan in force, and their speed against the plan's.

    An arm that stops at once is seen in FOR_S + SPEED_OVER_S; one that brakes with a, from v, by 0.5 v / a later (the
    joint of the plan for which that takes longest).
    """

    def __init__(self, observations: ObservationBuffer, config: DeploymentConfig) -> None:
        self._observations, self._config = observations, config
        self.reset()

    def reset(self) -> None:
        """Another plan, another run."""
        self._next_s, self._lagging_since_s = -math.inf, math.inf

    def trouble(self, now_s: float, plan: JointTrajectory | None) -> Trouble | None:
        """What is wrong with how the arm follows; None also while the joints are not fresh."""
        q_rad = self._observations.newest_joints()
        stale = self._observations.stale(now_s, self._config.joints_age_s, math.inf)
        if q_rad is None or plan is None or stale is not None:
            return None
        error_rad = float(np.max(np.abs(q_rad - plan.sample(now_s).q_rad[0])))
        if error_rad > self._config.following_error_rad:
            return Trouble(Alarm.TRACKING_ERROR,
                           f"the arm is {error_rad:.3f} rad from its plan; has the controller stopped?")
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            self._note_lag(now_s, plan)
        if now_s - self._lagging_since_s >= FOR_S:
            return Trouble(Alarm.CONTROLLER_DEAD, "the arm stands while its plan moves")
        return None

    def _note_lag(self, now_s: float, plan: JointTrajectory) -> None:
        if self._stands(now_s, plan):
            self._lagging_since_s = min(self._lagging_since_s, now_s)
        else:
            self._lagging_since_s = math.inf

    def _stands(self, now_s: float, plan: JointTrajectory) -> bool:
        """Whether no joint that the plan moves does its share, and the arm as a whole is slow.

        A touch may hold one joint up, or throw it back, while the others go on: that is no dead controller, and how far
        the joint may be off is judged by the distance.
        """
        speeds_rad_s = plan.sample(np.linspace(now_s - LOOK_BACK_S, now_s, 5)).dq_rad_s
        direction = np.sign(speeds_rad_s[-1])
        steady_rad_s = np.where((np.sign(speeds_rad_s) == direction).all(axis=0), np.abs(speeds_rad_s).min(axis=0), 0.0)
        moving = steady_rad_s >= SLOWEST_RAD_S
        recent = self._observations.joints_since(now_s - SPEED_OVER_S)
        if not moving.any() or len(recent) < 2:
            return False
        (first_s, _, first), (last_s, _, last) = recent[0], recent[-1]
        measured_rad_s = (last - first) / max(last_s - first_s, 1e-3)
        lags = (measured_rad_s * direction < SHARE * steady_rad_s)[moving]
        return bool(lags.all() and np.linalg.norm(measured_rad_s) < SHARE * np.linalg.norm(steady_rad_s))
