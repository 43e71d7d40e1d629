"""Whether the arm does what its plan says: it may lag and be off a little, but not stand while the plan moves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.trajectory import JointTrajectory

# An arm that lags by no more is not taken for one that stands: the slowest that the plan was meanwhile counts.
LAG_S = 0.07
SAMPLED_S = 0.025
# What a joint's plan moves in the time over which its measured speed is taken, at least: twelve times the noise of a
# Franka's encoders, so that half of it is seen.
LEAST_RAD = 0.0012
SPEED_OVER_S = 0.03      # at full speed: plans slower than LEAST_RAD / SPEED_OVER_S are watched by the distance alone
SLOWEST_RUN = 0.1        # slower runs are watched as this one is
SHARE = 0.5              # of the plan's speed: slower than this the arm does not follow
FOR_S = 0.03
EVERY_S = 0.01
LEAST_ERROR_RAD = 0.02   # what an arm under load, or in touch with something, may be off at any speed

Floats = NDArray[np.float64]


def allowed_error_rad(config: DeploymentConfig) -> float:
    """How far a joint may be from its plan: what a lag of the same duration makes at the run's speed."""
    return max(config.following_error_rad * config.speed, min(LEAST_ERROR_RAD, config.following_error_rad))


class Following:
    """The distance of the measured joints from the plan in force, and their speed against the plan's.

    A slow run's plan must move on for longer until that is more than noise. An arm that stops at once is seen while its
    plan moves LEAST_RAD, or in SPEED_OVER_S, and FOR_S later; one that brakes with a, from v, by 0.5 v / a later (the
    joint of the plan for which that takes longest).
    """

    def __init__(self, observations: ObservationBuffer, config: DeploymentConfig) -> None:
        self._observations, self._config = observations, config
        self._allowed_rad = allowed_error_rad(config)
        self._spans_s = tuple(_spans_s(config.speed))
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
        if error_rad > self._allowed_rad:
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
        the joint may be off is judged by the distance. The shortest time in which the plan moves enough is looked at.
        """
        backwards = plan.sample(now_s - SAMPLED_S * np.arange(_samples(self._spans_s[-1]))).dq_rad_s
        for span_s in self._spans_s:
            steady_rad_s = _steady_rad_s(backwards[:_samples(span_s)])
            moving = np.abs(steady_rad_s) >= LEAST_RAD / span_s
            if moving.any():
                return self._lags(now_s, span_s, steady_rad_s, moving)
        return False

    def _lags(self, now_s: float, span_s: float, steady_rad_s: Floats, moving: NDArray[np.bool_]) -> bool:
        recent = self._observations.joints_since(now_s - span_s)
        if len(recent) < 2 or recent[-1][0] - recent[0][0] < 0.5 * span_s:
            return False
        (first_s, _, first), (last_s, _, last) = recent[0], recent[-1]
        measured_rad_s = (last - first) / (last_s - first_s)
        lags = (measured_rad_s * np.sign(steady_rad_s) < SHARE * np.abs(steady_rad_s))[moving]
        return bool(lags.all() and np.linalg.norm(measured_rad_s) < SHARE * np.linalg.norm(steady_rad_s))


def _spans_s(speed: float) -> Iterator[float]:
    """Over which the measured speed is taken in a run at a share of the full speed: the shortest first."""
    longest_s = SPEED_OVER_S / max(speed, SLOWEST_RUN)
    span_s = SPEED_OVER_S
    while span_s < longest_s:
        yield span_s
        span_s *= 2.0
    yield longest_s


def _samples(span_s: float) -> int:
    """How many, SAMPLED_S apart, look back over a span and the lag before it."""
    return round((LAG_S + span_s) / SAMPLED_S) + 1


def _steady_rad_s(backwards_rad_s: Floats) -> Floats:
    """(J,) the slowest of speeds (n, J), the newest first; 0 where a joint turned."""
    direction = np.sign(backwards_rad_s[0])
    is_steady = (np.sign(backwards_rad_s) == direction).all(axis=0)
    return np.where(is_steady, direction * np.abs(backwards_rad_s).min(axis=0), 0.0)
