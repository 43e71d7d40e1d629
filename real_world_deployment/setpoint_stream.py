"""Raw set-points while there is a plan to carry out, one a cycle; none before, and none when the arm rests.

A position controller follows the newest set-point within one cycle, whatever it is. So after a stall the stream is late
and catches up within its limits: what was missed is not sent, for it would be a step.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety import MotionLimits
from real_world_deployment.stream_rules import REST_S, RestWatch, Standing, refuse_elsewhere
from real_world_deployment.trajectory import CYCLE_S, JointTrajectory

Array = NDArray[np.float64]

log = logging.getLogger(__name__)


class Pace:
    """Cycles on a clock. One that comes late is done; those that were missed altogether are left out."""

    def __init__(self, start_s: float) -> None:
        self._start_s, self._cycle = start_s, 0

    @property
    def due_s(self) -> float:
        """When the next cycle is due."""
        return self._start_s + self._cycle * CYCLE_S

    def cycle_s(self, now_s: float) -> float:
        """The instant on the grid whose turn it is."""
        self._cycle += max(math.floor((now_s - self.due_s) / CYCLE_S + 1e-6), 0)
        return self.due_s

    def advance(self) -> None:
        """A cycle is done."""
        self._cycle += 1


class SetpointStream:
    """Plans and measured joints in, set-points out; time is an argument.

    Args:
        at_most: how many set-points of the past are sent at once: 1 on a robot; more for a simulated arm, which takes
            them one a cycle; None sends them all.
        lets_go: whether the stream ends when the arm rests; in lockstep nobody takes the arm in between.

    Attributes:
        is_streaming: whether there are set-points.
    """

    def __init__(self, limits: MotionLimits, config: DeploymentConfig, at_most: int | None, *,
                 lets_go: bool = True) -> None:
        self._controller = RuckigController(limits, config)
        self._at_most = at_most
        self._joints = len(limits.joint_names)
        self._standing = Standing(config.joints_age_s if lets_go else math.inf)
        self._rest = RestWatch(REST_S if lets_go else math.inf)
        self.is_streaming = False

    def forget(self) -> None:
        """Another scene: the arm is elsewhere."""
        self.is_streaming = False
        self._standing.leave(None)

    def see_joints(self, q_rad: Array, now_s: float) -> None:
        """As measured (J,); a stream that runs goes on from its own set-points."""
        if not self.is_streaming:
            self._standing.see(q_rad, now_s)

    def follow_plan(self, plan: JointTrajectory, now_s: float) -> None:
        """Turn to a plan from the next set-point on; where there is no stream, one begins from where the arm stands.

        Raises:
            MotionError: the plan cannot be followed; the one before stays in force, and ends at rest.
        """
        if self.is_streaming:
            refuse_elsewhere(plan, self._controller.state.q_rad, self._controller.now_s)
        else:
            q_rad, _ = self._standing.begin_rad(now_s)
            refuse_elsewhere(plan, q_rad, now_s)
            self._controller.start(q_rad, now_s)
            self._rest.clear()
            self.is_streaming = True
        self._controller.follow_plan(plan)

    def setpoints(self, until_s: float) -> Array:
        """(n, J) rad, those that are due up to an instant; the stream ends where the arm has been at rest."""
        if self.is_streaming:
            self._leave_out(until_s)
        if not self.is_streaming:
            return np.empty((0, self._joints))
        rows = self._controller.setpoints(until_s)
        if self._rest.is_over(self._controller.now_s, self._controller):
            self._let_go()
        return rows

    def prepare(self) -> None:
        """What the next set-point needs can be computed now."""
        if self.is_streaming:
            self._controller.prepare()

    def brake(self) -> None:
        """Leave the plan: further set-points lead to rest."""
        self._controller.brake()

    def next_setpoint(self) -> Array | None:
        """(J,) one cycle later; None once the arm is at rest without a plan to follow."""
        if not self.is_streaming or (self._controller.is_at_rest and self._controller.plan_end_s == -math.inf):
            return None
        return self._controller.setpoints(self._controller.now_s + CYCLE_S)[-1]

    def _leave_out(self, until_s: float) -> None:
        """What was missed while the process stood; the plan goes on without it."""
        if self._at_most is None:
            return
        sent_from_s = until_s - self._at_most * CYCLE_S
        missed_s = sent_from_s - self._controller.now_s
        if missed_s < 0.5 * CYCLE_S:
            return
        if missed_s >= REST_S:
            log.warning("set-points were missing for %.2f s: they begin anew with the next plan", missed_s)
            self._let_go()
            return
        self._controller.skip(sent_from_s)
        plan = self._controller.plan
        try:
            if plan is not None and plan.end_s > sent_from_s:
                refuse_elsewhere(plan, self._controller.state.q_rad, sent_from_s)
        except MotionError as error:
            log.warning("set-points were missing for %.3f s, the arm comes to rest: %s", missed_s, error)
            self._controller.brake()

    def _let_go(self) -> None:
        self._standing.leave(self._controller.state.q_rad)
        self.is_streaming = False
