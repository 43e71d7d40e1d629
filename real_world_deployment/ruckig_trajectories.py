"""The Ruckig stream for arms that take no raw set-points, as a Franka without its driver's limiter and filter.

The same set-points go to a JointTrajectoryController as short overlapping trajectories: what was sent is repeated, the
next part is added, and each message ends in a way to rest, as in `receding.py`. A late message is then no missed cycle.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.ruckig_stream import ROUNDING, RuckigController
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice
from real_world_deployment.stream_rules import REST_S, Standing, refuse_elsewhere
from real_world_deployment.trajectory import JointState, JointTrajectory, on_grid

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Ruckig's jerk is constant by pieces. Between nodes 5 ms apart the quintics round its corners by less than the room
# that the stream's limits leave; with 10 ms they would not. A quintic's jerk is the projection of the true one onto
# parabolas, which is at most 2.2 times as large: with a hurried jerk of 0.3 of the limit it stays below.
NODE_S = 0.005
# So long after its sending a message may be unacknowledged, and no other is sent meanwhile: the controller carries out
# the one before. Later it may have left the plan, and would make a step when it hears of the plan again.
UNDELIVERED_S = 0.06


class RuckigTrajectories:
    """Runs the stream ahead of the clock and sends what lies around now.

    Up to now + `switch_lead_s` the stream is settled; from there to now + `look_ahead_s` it is run on a copy, and what
    a new plan changes there has not been carried out yet.

    Once the controller holds all the way to the plan's end nothing is sent until the next plan: to say again where the
    arm shall rest would pull it back there after a reflex or a person has brought it elsewhere.

    Args:
        is_delivered: whether the controller has what was sent last; asked before the next is sent.

    Attributes:
        interruptions: how often `refresh` came too late, so that the arm came to rest by what was held.
    """

    def __init__(self, limits: MotionLimits, config: DeploymentConfig, send: Callable[[JtcMessage], None],
                 is_delivered: Callable[[], bool] = lambda: True) -> None:
        self._limits = limits
        self._config = config
        self._stream = RuckigController(limits, config)
        self._controller = JtcController(limits.joint_names, send)
        self._is_delivered = is_delivered
        self._standing = Standing(config.joints_age_s)
        self._settled: list[JointState] = []
        self._held: JointTrajectory | None = None
        self._plan: JointTrajectory | None = None
        self._left_s = self._due_s = self._begins_s = 0.0
        self._is_complete = False
        self._rests_s = -np.inf  # so long no stream may begin: by then the controller has done what it holds
        self._sent_s = -np.inf
        self.interruptions = 0

    @property
    def refusals(self) -> int:
        """How many targets could not be aimed at, so that the arm braked."""
        return self._stream.refusals

    @property
    def is_streaming(self) -> bool:
        """Whether the controller is kept supplied."""
        return bool(self._settled)

    def see_joints(self, q_rad: Array, now_s: float) -> None:
        """As measured (J,); a stream that runs goes on from its own set-points."""
        if not self.is_streaming:
            self._standing.see(q_rad, now_s)

    def follow_plan(self, plan: JointTrajectory, now_s: float) -> None:
        """Turn to a plan at the next refresh, which is due at once.

        Where there is no stream, one begins from where the arm stands: `switch_lead_s` later at the set-point that
        the controller holds already, `lead_in_s` later elsewhere.

        Raises:
            MotionError: the plan cannot be followed; the one before stays in force, and ends at rest.
        """
        self._let_go_of_rest(now_s)
        if self.is_streaming:
            refuse_elsewhere(plan, self._settled[-1].q_rad, self._settled[-1].time_s)
            # What it changes shall not come later for a part that was about to be sent.
            self._due_s = min(self._due_s, now_s)
        else:
            if now_s < self._rests_s:
                raise MotionError("the arm may not be at rest yet")
            q_rad, is_held = self._standing.begin_rad(now_s)
            start_s = on_grid(now_s + (self._config.switch_lead_s if is_held else self._config.lead_in_s))
            refuse_elsewhere(plan, q_rad, start_s)
            self._begin(q_rad, start_s)
            self._held, self._due_s, self._begins_s = None, now_s, now_s
        self._plan = plan

    def refresh(self, now_s: float) -> None:
        """Send the next part if it is time to; to be called every `refresh_s` or more often.

        A controller that has not begun yet is left alone: it would start once more, from the state that it measures.
        """
        self._let_go_of_rest(now_s)
        if not self._settled or now_s < max(self._due_s, self._begins_s) or not self._is_heard(now_s):
            return
        settled_s = max(now_s + self._config.switch_lead_s, self._settled[0].time_s)
        if self._held is not None and settled_s > self._left_s:
            self._come_to_rest(self._held, now_s)
            return
        _extend(self._settled, self._stream, settled_s)
        if self._plan is not None:
            # Only from here on: what lies before may have been carried out when this message arrives.
            self._stream.follow_plan(self._plan)
            self._plan = None
            self._is_complete = False
        self._forget_before(now_s - self._config.prefix_s)
        if self._is_complete:
            self._due_s = now_s + self._config.refresh_s
        else:
            self._send_ahead(now_s)

    def let_go(self, now_s: float) -> None:
        """Send nothing more: what the controller holds ends at rest. The next stream begins where the arm is then."""
        held = self._held
        self._standing.leave(self._stream.state.q_rad if held is None else held.q_rad[-1])
        self._rests_s = -np.inf if held is None else _rest_begins_s(held) + REST_S
        self._settled, self._plan = [], None

    def _let_go_of_rest(self, now_s: float) -> None:
        """After REST_S at the plan's end, also where nobody has called meanwhile: the arm may be elsewhere by now."""
        if (self._settled and self._is_complete and self._held is not None
                and now_s >= _rest_begins_s(self._held) + REST_S):
            self.let_go(now_s)

    def _begin(self, q_rad: Array, start_s: float) -> None:
        self._stream.start(q_rad, start_s)
        self._settled = [self._stream.advance(start_s)]
        self._left_s, self._is_complete = np.inf, True  # it stands, and a plan is still to come

    def _is_heard(self, now_s: float) -> bool:
        """Whether the controller has what was sent. One that has not must not be given the plan's later parts."""
        if self._held is None or self._is_delivered():
            return True
        if now_s >= self._sent_s + UNDELIVERED_S:
            log.warning("the controller does not acknowledge its trajectories: nothing more is sent")
            self.let_go(now_s)
        return False

    def _send_ahead(self, now_s: float) -> None:
        ahead, stream = [self._settled[-1]], copy.copy(self._stream)
        _extend(ahead, stream, max(now_s, self._settled[0].time_s) + self._config.look_ahead_s)
        if self._send([*self._settled, *ahead[1:]], now_s) and stream.is_at_rest and stream.now_s >= stream.plan_end_s:
            self._is_complete, self._left_s = True, np.inf

    def _send(self, states: list[JointState], now_s: float) -> bool:
        """Whether there is a way to rest from the last state, without which nothing is sent."""
        try:
            tail = braking_tail(states[-1], self._limits, self._config.stream_hurry * self._limits.jerk_rad_s3)
        except MotionError as error:
            log.debug("not sent further: %s", error)
            return False
        self._left_s = states[-1].time_s
        past = states[:-1] or [states[-1]]
        nodes = JointTrajectory(np.array([s.time_s for s in past] + tail.times_s.tolist()),
                                np.concatenate([[s.q_rad for s in past], tail.q_rad]),
                                np.concatenate([[s.dq_rad_s for s in past], tail.dq_rad_s]),
                                np.concatenate([[s.ddq_rad_s2 for s in past], tail.ddq_rad_s2]))
        self._held, self._sent_s = nodes, now_s
        self._due_s = now_s + self._config.refresh_s
        self._begins_s = nodes.start_s + self._config.clock_tolerance_s
        self._controller.follow(Splice(nodes, self._settled[-1].time_s, 0, slowed=False, unreachable=0), now_s)
        return True

    def _come_to_rest(self, held: JointTrajectory, now_s: float) -> None:
        """What is held ends at rest; the stream goes on from there with the next plan, if it is near."""
        self.interruptions += 1
        log.warning("set-points came too late: the arm comes to rest")
        if now_s >= held.end_s + REST_S:
            self.let_go(now_s)
            return
        plan, self._plan = self._plan, None
        self._begin(held.q_rad[-1], on_grid(max(held.end_s, now_s + self._config.switch_lead_s)))
        # Sent before the arm rests, it would be joined to a motion that is still under way.
        self._begins_s = held.end_s + self._config.clock_tolerance_s
        if plan is not None:
            try:
                self.follow_plan(plan, now_s)
            except MotionError as error:
                log.warning("plan refused: %s", error)

    def _forget_before(self, time_s: float) -> None:
        while len(self._settled) > 1 and self._settled[1].time_s <= time_s:
            self._settled.pop(0)


def _rest_begins_s(held: JointTrajectory) -> float:
    """When the last motion in it has ended; long ago where there is none."""
    moving = np.flatnonzero(np.any(np.abs(held.dq_rad_s) > ROUNDING, axis=1))
    return float(held.times_s[moving[-1] + 1]) if len(moving) else -np.inf


def _extend(states: list[JointState], stream: RuckigController, until_s: float) -> None:
    """Append the stream's states every NODE_S after the last one, up to the last before until_s."""
    while states[-1].time_s + NODE_S <= until_s + 1e-9:
        states.append(stream.advance(states[-1].time_s + NODE_S))
