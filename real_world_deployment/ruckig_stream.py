"""A plan as set-points at 1 kHz that never break a limit, whatever the plan: Ruckig between samples of it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import ruckig
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.ruckig_profile import positions_and_velocities
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import CYCLE_S, JointState, JointTrajectory

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

ROUNDING = 1e-9  # rad and rad/s
REST_RAD_S2 = 1e-6
# A position controller whose set-points stay away for so long has stopped; what is shorter its filter carries over.
STOOD_MS = 10


class RuckigController:
    """Follows a plan period by period: the state of the plan one period ahead is the target, to be reached then.

    The target has velocity and acceleration, and `minimum_duration` is the period: without them a stream of targets
    lags and stops at each. Ruckig checks neither position limits nor the width or size of what it is given, so this
    class does. `intermediate_positions` is never set: it would call a cloud service.

    Args:
        limits: what the set-points keep to; wider than what plans are checked against, or a plan at its own limit
            could not be caught up with.
        config: `stream_period_s` from one target to the next, and `stream_hurry`: the jerk may be so many times that of
            the limits where a target cannot be reached in time else, as when a plan brakes.

    Attributes:
        refusals: how many targets could not be aimed at, so that the arm braked.
    """

    def __init__(self, limits: MotionLimits, config: DeploymentConfig) -> None:
        self._limits = limits
        self._hurry = config.stream_hurry
        self._period_ms = round(config.stream_period_s * 1000.0)
        self._joints = len(limits.joint_names)
        self._ruckig: Any = ruckig.Ruckig(self._joints)
        self._plan: JointTrajectory | None = None
        self._segment: Any = None
        self._segment_start_ms = 0
        self._retarget_ms = 0
        self._now_ms = 0
        self._rest_rad = np.zeros(self._joints)
        self.refusals = 0

    @property
    def now_s(self) -> float:
        """The millisecond that was asked for last."""
        return self._now_ms / 1000.0

    @property
    def state(self) -> JointState:
        """Of the set-points, at now_s."""
        return JointState(self.now_s, *self._state())

    @property
    def is_at_rest(self) -> bool:
        """Whether the set-points stand still."""
        _, dq, ddq = self._state()
        return _stands(dq, ddq)

    @property
    def plan(self) -> JointTrajectory | None:
        """The plan in force."""
        return self._plan

    @property
    def plan_end_s(self) -> float:
        """When the plan in force has ended; always already where there is none."""
        return -math.inf if self._plan is None else self._plan.end_s

    def start(self, q_rad: Array, now_s: float) -> None:
        """The arm is at rest at its set-point q_rad (J,); earlier plans are forgotten.

        Raises:
            MotionError: wrong width, not finite, or outside the position limits.
        """
        q = np.asarray(q_rad, dtype=np.float64)
        if q.shape != (self._joints,) or not np.all(np.isfinite(q)):
            raise MotionError(f"set-points start at {q}; expected {self._joints} finite joints")
        outside = np.flatnonzero((q < self._limits.lower_rad) | (q > self._limits.upper_rad))
        if len(outside):
            joint = int(outside[0])
            raise MotionError(f"{self._limits.joint_names[joint]} stands at {q[joint]:.4f} rad, outside "
                              f"{self._limits.lower_rad[joint]:.4f} to {self._limits.upper_rad[joint]:.4f}; move the "
                              "arm back by hand")
        self._plan, self._segment = None, None
        self._rest_rad = q
        self._now_ms = round(now_s * 1000.0)

    def follow(self, splice: Splice, now_s: float) -> None:
        """Take a new plan; set-points turn to it from the next cycle on."""
        self.follow_plan(splice.trajectory)

    def follow_plan(self, plan: JointTrajectory) -> None:
        """As `follow`, for a plan that came over a topic. Raises MotionError for another number of joints."""
        if plan.q_rad.shape[1] != self._joints:
            raise MotionError(f"a plan of {plan.q_rad.shape[1]} joints for an arm of {self._joints}")
        self._plan = plan
        self._retarget_ms = self._now_ms

    def setpoints(self, until_s: float) -> Array:
        """(n, J) rad, one a millisecond, from after the last call up to and including until_s."""
        rows: list[Array] = []
        self._run(until_s, lambda end_ms: rows.append(self._segment_rows(end_ms)))
        return np.concatenate(rows) if rows else np.empty((0, self._joints))

    def advance(self, until_s: float) -> JointState:
        """The same without set-points: the state at until_s, the millisecond that was asked for last."""
        self._run(until_s, lambda _end_ms: None)
        return self.state

    def prepare(self) -> None:
        """Aim now if the next set-point would have to: between two set-points there is time for it."""
        if self._plan is not None and self._now_ms >= self._retarget_ms:
            self._aim(self._plan)

    def _run(self, until_s: float, leave: Callable[[int], None]) -> None:
        until_ms = round(until_s * 1000.0)
        while self._now_ms < until_ms:
            self.prepare()
            end_ms = until_ms if self._plan is None else min(until_ms, self._retarget_ms)
            leave(end_ms)
            self._now_ms = end_ms

    def skip(self, until_s: float) -> None:
        """No set-points were sent up to until_s: the motion goes on from the last one, late.

        After STOOD_MS it begins at rest, as the arm then does. The plan does not wait: it is caught up with.
        """
        until_ms = round(until_s * 1000.0)
        missed_ms = until_ms - self._now_ms
        if missed_ms <= 0:
            return
        if missed_ms >= STOOD_MS:
            self._rest_rad, self._segment = self._state()[0], None
            self._retarget_ms = until_ms
        self._segment_start_ms += missed_ms
        self._now_ms = until_ms

    def brake(self) -> float:
        """Leave the plan and come to rest within the limits; seconds until then, to be streamed by `setpoints`."""
        self._plan = None
        if self._segment is None:
            return 0.0
        self._segment, self._segment_start_ms = self._solve(self._state(), None, hurry=self._hurry), self._now_ms
        return float(self._segment.duration)

    def _segment_rows(self, end_ms: int) -> Array:
        if self._segment is None:
            return np.tile(self._rest_rad, (end_ms - self._now_ms, 1))
        cycles = range(self._now_ms + 1, end_ms + 1)
        return np.array([self._segment.at_time((ms - self._segment_start_ms) / 1000.0)[0] for ms in cycles])

    def _state(self) -> tuple[Array, Array, Array]:
        if self._segment is None:
            rest = np.zeros(self._joints)
            return self._rest_rad, rest, rest
        q, dq, ddq = self._segment.at_time((self._now_ms - self._segment_start_ms) / 1000.0)
        return np.array(q), np.array(dq), np.array(ddq)

    def _aim(self, plan: JointTrajectory) -> None:
        """Plan the next period; where that fails, brake along the joints."""
        period_ms = self._period_to_aim_ms(plan)
        target = plan.state((self._now_ms + period_ms) / 1000.0)
        state = self._state()
        self._retarget_ms = self._now_ms + period_ms
        if _is_there(state, target):
            # With 1e-13 rad to go and the whole period for it Ruckig may swing out and back.
            self._segment, self._rest_rad = None, state[0]
            return
        try:
            self._check_target(target.q_rad, target.dq_rad_s, target.ddq_rad_s2)
            aim = (target.q_rad, target.dq_rad_s, target.ddq_rad_s2)
            # What is aimed at must leave room to brake, or the braking of a later refusal leaves the range.
            self._check_way(target.q_rad, self._solve(aim, None), "the way from the target to rest")
            segment = self._way(state, aim, period_ms)
        except MotionError as error:
            self.refusals += 1
            log.warning("set-points brake: %s", error)
            segment = self._solve(state, None, hurry=self._hurry)
        self._segment, self._segment_start_ms = segment, self._now_ms

    def _period_to_aim_ms(self, plan: JointTrajectory) -> int:
        """The last period ends with the plan, and not up to a period later."""
        left_ms = round(plan.end_s * 1000.0) - self._now_ms
        return left_ms if 0 < left_ms <= 1.5 * self._period_ms else self._period_ms

    def _way(self, state: tuple[Array, Array, Array], target: tuple[Array, Array, Array], period_ms: int) -> Any:
        """The smoothest way that is there in time; where none is, the smoothest. Raises MotionError: none is safe."""
        late: Any = None
        reason: MotionError | None = None
        for hurry in (1.0, self._hurry):
            try:
                segment = self._solve(state, target, period_ms, hurry)
            except MotionError as error:
                reason = reason or error
                continue
            if segment.duration <= period_ms / 1000.0 + ROUNDING:
                return segment
            late = late or segment
        if late is None:
            assert reason is not None
            raise reason
        return late

    def _check_target(self, q: Array, dq: Array, ddq: Array) -> None:
        limits = self._limits
        if np.any(q < limits.lower_rad) or np.any(q > limits.upper_rad):
            raise MotionError(f"target {np.round(q, 3)} rad is outside the position limits")
        bounds = limits.velocity_bounds(q)
        if (np.any(dq < bounds.lower_rad_s) or np.any(dq > bounds.upper_rad_s)
                or np.any(np.abs(ddq) > limits.acceleration_rad_s2)):
            raise MotionError("the target's velocity or acceleration is above the limits")

    def _solve(self, state: tuple[Array, Array, Array], target: tuple[Array, Array, Array] | None,
               period_ms: int = 0, hurry: float = 1.0) -> Any:
        """Ruckig's trajectory to the target after the period or later; without a target to rest, anywhere."""
        limits = self._limits
        ask: Any = ruckig.InputParameter(self._joints)
        # Rounding at a limit would make Ruckig refuse its own last state.
        ask.current_position = state[0].tolist()
        ask.current_velocity = np.clip(state[1], -limits.velocity_rad_s, limits.velocity_rad_s).tolist()
        ask.current_acceleration = np.clip(state[2], -limits.acceleration_rad_s2, limits.acceleration_rad_s2).tolist()
        ask.max_velocity = limits.velocity_rad_s.tolist()
        ask.max_acceleration = limits.acceleration_rad_s2.tolist()
        ask.max_jerk = (hurry * limits.jerk_rad_s3).tolist()
        if target is None:
            ask.control_interface = ruckig.ControlInterface.Velocity
            ask.target_velocity = [0.0] * self._joints
            ask.target_acceleration = [0.0] * self._joints
        else:
            ask.target_position, ask.target_velocity, ask.target_acceleration = (row.tolist() for row in target)
            ask.minimum_duration = period_ms / 1000.0
        segment: Any = ruckig.Trajectory(self._joints)
        try:
            result: Any = self._ruckig.calculate(ask, segment)
        except ruckig.RuckigError as error:
            raise MotionError(f"Ruckig refuses the target: {' '.join(str(error).split())}") from error
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise MotionError(f"Ruckig finds no motion to the target ({result})")
        if target is not None:
            self._check_way(state[0], segment, "the way to the target")
        return segment

    def _check_way(self, q_rad: Array, segment: Any, way: str) -> None:
        """Ruckig may swing beyond a target that lies inside; an arm that is outside already may come back."""
        # Ruckig's own position_extrema hold a 0 for some joints that stand still.
        instants_s = np.append(np.arange(0.0, segment.duration, CYCLE_S), segment.duration)
        rows, speeds = positions_and_velocities(segment, instants_s)
        bounds = self._limits.velocity_bounds(rows)
        if np.any(speeds < bounds.lower_rad_s - ROUNDING) or np.any(speeds > bounds.upper_rad_s + ROUNDING):
            raise MotionError(f"{way} is faster than a joint may be where it is")
        lowest, highest = rows.min(axis=0), rows.max(axis=0)
        lower, upper = np.minimum(self._limits.lower_rad, q_rad), np.maximum(self._limits.upper_rad, q_rad)
        if np.any(lowest < lower - ROUNDING) or np.any(highest > upper + ROUNDING):
            raise MotionError(f"{way} leaves the position limits")


def _is_there(state: tuple[Array, Array, Array], target: JointState) -> bool:
    """Whether an arm at rest has reached a target at rest."""
    if np.any(target.dq_rad_s) or np.any(target.ddq_rad_s2):
        return False
    q, dq, ddq = state
    return bool(np.all(np.abs(q - target.q_rad) <= ROUNDING)) and _stands(dq, ddq)


def _stands(dq_rad_s: Array, ddq_rad_s2: Array) -> bool:
    """Up to rounding."""
    return bool(np.all(np.abs(dq_rad_s) <= ROUNDING) and np.all(np.abs(ddq_rad_s2) <= REST_RAD_S2))
