"""The controller is given the next 150 ms of a plan and a way to rest from there, again and again.

Whatever dies on our side, the arm is at rest 150 ms and one braking later: nobody has to be alive to stop it.

The clocks of the two machines may differ. A stamp names an instant of the publisher's clock; a controller whose clock
is ahead by d carries the plan out d early, one whose clock is behind carries it out late and holds 150 ms + |d| as the
publisher counts. A constant difference costs nothing else, as long as every message names the same instants:

* a change takes effect `switch_lead_s` after it was sent, which covers the transport and a controller that is ahead;
* a message repeats `prefix_s` of the past, which covers a controller that is behind.

The defaults carry +-50 ms and 20 ms of transport. That is tolerated rather than estimated: an estimate from the stamps
of /joint_states is wrong by the transport it cannot see, and a wrong correction that changes during a run is a step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

from ladle.errors import MotionError
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory, on_grid

log = logging.getLogger(__name__)

CUT_STEP_S = 0.01  # how much earlier the plan is left when the way to rest from a later instant breaks a limit
EARLY_S = 1e-6


class RecedingPlan:
    """Between the loop, which thinks in whole plans, and a controller that must never hold a whole one.

    Args:
        send: takes what the controller shall hold from now on, and the instant.

    Attributes:
        plan: the plan in force: what the arm does if refreshes go on; None before the first.
        held: what the controller was last given; it ends at rest.
        is_interrupted: whether a refresh came too late, so that the arm brakes and the rest of the last plan is void.
        refreshes: how often a part of a plan was sent after its first.
    """

    def __init__(self, limits: MotionLimits, config: DeploymentConfig, send: Callable[[Splice, float], None]) -> None:
        self._limits = limits
        self._config = config
        self._send = send
        self.refreshes = 0
        self.clear()

    def clear(self) -> None:
        """Forget the plan: another run begins."""
        self.is_interrupted = False
        self.plan: JointTrajectory | None = None
        self.held: JointTrajectory | None = None
        self._splice: Splice | None = None
        self._left_s = math.inf  # until here what is held is the plan
        self._due_s = 0.0

    def stand(self, plan: JointTrajectory) -> None:
        """The arm stands already as this plan at rest says: nothing is sent."""
        self.clear()
        self.plan = plan

    def let_go(self) -> None:
        """Send nothing more: what the controller holds, which ends at rest, is the plan in force."""
        if self.plan is not None and self._left_s != math.inf:
            self.plan, self._left_s = self.held, math.inf

    def follow(self, splice: Splice, now_s: float) -> JointTrajectory:
        """A new plan, which up to splice.switch_s is the plan in force; returns the plan in force from now on.

        Raises:
            MotionError: it comes too late to change anything, or from nowhere in its first part can the arm come to
                rest; the plan before it stays in force.
        """
        if splice.switch_s > self._left_s + EARLY_S:
            raise MotionError(f"the plan would change at {splice.switch_s:.3f} s, but the controller brakes from "
                              f"{self._left_s:.3f} s on")
        held, left_s = self._cut(splice.trajectory, splice.switch_s, now_s)
        self.is_interrupted = False
        self._give(splice, held, left_s, now_s)
        return splice.trajectory

    def refresh(self, now_s: float) -> JointTrajectory | None:
        """Send the plan's next part if it is time to; returns the plan in force.

        A refresh that comes too late to reach the controller before it leaves the plan makes what the controller
        holds the plan in force: the arm comes to rest.
        """
        plan, splice = self.plan, self._splice
        if plan is None or splice is None or self._left_s == math.inf or now_s < self._due_s - EARLY_S:
            return plan
        switch_s = on_grid(now_s + self._config.switch_lead_s)
        if switch_s > self._left_s + EARLY_S:
            self.is_interrupted = True
            log.warning("refreshed %.0f ms too late: the arm comes to rest", 1000.0 * (switch_s - self._left_s))
            self.plan, self._left_s = self.held, math.inf
            return self.plan
        try:
            held, left_s = self._cut(plan, self._left_s, now_s)
        except MotionError as error:
            log.debug("not sent further: %s", error)
            return plan
        self.refreshes += 1
        self._give(splice, held, left_s, now_s)
        return plan

    def _give(self, splice: Splice, held: JointTrajectory, left_s: float, now_s: float) -> None:
        self._splice, self.plan, self.held, self._left_s = splice, splice.trajectory, held, left_s
        self._due_s = now_s + self._config.refresh_s
        if now_s < held.start_s + self._config.clock_tolerance_s:
            # A controller that has not begun yet would start once more, from the state that it measures.
            self._due_s = max(self._due_s, held.start_s + self._config.clock_tolerance_s)
        self._send(replace(splice, trajectory=held), now_s)

    def _cut(self, plan: JointTrajectory, earliest_s: float, now_s: float) -> tuple[JointTrajectory, float]:
        """The plan's part that is held, and where it leaves the plan (never, if it is the whole of it).

        Args:
            earliest_s: the plan is left here at the earliest; later than what is held already, or than its switch.
        """
        plan = plan.since(now_s - self._config.prefix_s)
        latest_s = math.floor((max(now_s, plan.start_s) + self._config.look_ahead_s) * 1000.0 + 1e-6) / 1000.0
        reason = MotionError("the plan cannot be left later than it is")
        for step in range(max(int((latest_s - earliest_s) / CUT_STEP_S + EARLY_S), 0) + 1):
            at_s = latest_s - step * CUT_STEP_S
            if at_s >= plan.end_s:
                return plan, math.inf
            at_s = round(at_s, 3)
            try:
                tail = braking_tail(plan.state(at_s), self._limits)
            except MotionError as error:
                reason = error
                continue
            if tail.end_s >= plan.end_s:
                return plan, math.inf
            return plan.until(at_s, tail), at_s
        raise reason
