"""The Ruckig stream for arms that take no raw set-points, as a Franka without its driver's limiter and filter.

The same set-points go to a JointTrajectoryController as short overlapping trajectories: what was sent is repeated, the
next part is added, and each message ends in a way to rest, as in `receding.py`. A late message is then no missed cycle.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import numpy as np

from ladle.errors import MotionError
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointState, JointTrajectory, on_grid

log = logging.getLogger(__name__)

# Ruckig's jerk is constant by pieces. Between nodes 5 ms apart the quintics round its corners by less than the room
# that the stream's limits leave; with 10 ms they would not.
NODE_S = 0.005


class RuckigTrajectories:
    """Runs the stream ahead of the clock and sends what lies around now.

    Up to now + `switch_lead_s` the stream is settled; from there to now + `look_ahead_s` it is run on a copy, and what
    a new plan changes there has not been carried out yet.

    Attributes:
        refusals: how many targets could not be aimed at, so that the arm braked.
        interruptions: how often `refresh` came too late, so that the arm came to rest by what was held.
    """

    def __init__(self, limits: MotionLimits, config: DeploymentConfig, send: Callable[[JtcMessage], None]) -> None:
        self._limits = limits
        self._config = config
        self._stream = RuckigController(limits, config.stream_period_s)
        self._controller = JtcController(limits.joint_names, send)
        self._settled: list[JointState] = []
        self._held: JointTrajectory | None = None
        self._plan: JointTrajectory | None = None
        self._left_s = self._due_s = 0.0
        self.interruptions = 0

    @property
    def refusals(self) -> int:
        """Of the stream."""
        return self._stream.refusals

    def start(self, q_rad: np.ndarray, now_s: float) -> None:
        """The arm is at rest at q_rad (J,); the first trajectory begins `lead_in_s` later.

        Raises:
            MotionError: wrong width, not finite, or outside the position limits.
        """
        start_s = on_grid(now_s + self._config.lead_in_s)
        self._stream.start(q_rad, start_s)
        self._settled = [self._stream.advance(start_s)]
        self._held, self._due_s = None, now_s

    def follow_plan(self, plan: JointTrajectory) -> None:
        """Turn to a plan at the next refresh. Raises MotionError for another number of joints."""
        copy.copy(self._stream).follow_plan(plan)
        self._plan = plan

    def refresh(self, now_s: float) -> None:
        """Send the next part if it is time to; to be called every `refresh_s` or more often."""
        if not self._settled or now_s < self._due_s:
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
        ahead = [self._settled[-1]]
        _extend(ahead, copy.copy(self._stream), max(now_s, self._settled[0].time_s) + self._config.look_ahead_s)
        self._forget_before(now_s - self._config.prefix_s)
        self._send([*self._settled, *ahead[1:]], now_s)

    def _send(self, states: list[JointState], now_s: float) -> None:
        try:
            tail = braking_tail(states[-1], self._limits)
        except MotionError as error:
            log.debug("not sent further: %s", error)
            return
        self._left_s = states[-1].time_s
        past = states[:-1] or [states[-1]]
        nodes = JointTrajectory(np.array([s.time_s for s in past] + tail.times_s.tolist()),
                                np.concatenate([[s.q_rad for s in past], tail.q_rad]),
                                np.concatenate([[s.dq_rad_s for s in past], tail.dq_rad_s]),
                                np.concatenate([[s.ddq_rad_s2 for s in past], tail.ddq_rad_s2]))
        self._held = nodes
        self._due_s = now_s + self._config.refresh_s
        if now_s < nodes.start_s + self._config.clock_tolerance_s:
            self._due_s = max(self._due_s, nodes.start_s + self._config.clock_tolerance_s)
        self._controller.follow(Splice(nodes, self._settled[-1].time_s, 0, slowed=False, unreachable=0), now_s)

    def _come_to_rest(self, held: JointTrajectory, now_s: float) -> None:
        """What is held ends at rest; the stream goes on from there with the next plan."""
        self.interruptions += 1
        log.warning("set-points came too late: the arm comes to rest")
        rest_s = on_grid(max(held.end_s, now_s + self._config.switch_lead_s))
        self._stream.start(held.q_rad[-1], rest_s)
        self._settled = [self._stream.advance(rest_s)]
        self._left_s = np.inf

    def _forget_before(self, time_s: float) -> None:
        while len(self._settled) > 1 and self._settled[1].time_s <= time_s:
            self._settled.pop(0)


def _extend(states: list[JointState], stream: RuckigController, until_s: float) -> None:
    """Append the stream's states every NODE_S after the last one, up to the last before until_s."""
    while states[-1].time_s + NODE_S <= until_s + 1e-9:
        states.append(stream.advance(states[-1].time_s + NODE_S))
