"""How a plan reaches the arm: as messages for a JointTrajectoryController, or as jerk-limited set-points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.config import WatchdogBounds
from real_world_deployment.safety.arrivals import Arrivals
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import NODE_MS, JointTrajectory

Array = NDArray[np.float64]


class Controller(Protocol):
    """Takes the plan that is in force from now on."""

    def follow(self, splice: Splice, now_s: float) -> None:
        """Carry out splice.trajectory; up to splice.switch_s it is what was to be carried out anyway."""
        ...


@dataclass(frozen=True)
class JtcMessage:
    """trajectory_msgs/JointTrajectory without ROS.

    Attributes:
        stamp_s: header stamp on the run's clock.
        times_from_start_s: (n,) after the stamp; all of them and the stamp are whole milliseconds.
        positions, velocities, accelerations: (n, J) rad, rad/s, rad/s².
    """

    stamp_s: float
    joint_names: tuple[str, ...]
    times_from_start_s: Array
    positions: Array
    velocities: Array
    accelerations: Array

    def to_trajectory(self) -> JointTrajectory:
        """The plan again, on the millisecond grid: what a node that does not run a JTC reads from the topic."""
        milliseconds = np.round((self.stamp_s + self.times_from_start_s) * 1000.0)
        return JointTrajectory(milliseconds / 1000.0, self.positions, self.velocities, self.accelerations)


class JtcController:
    """Sends every plan as one message for the topic of a JointTrajectoryController.

    The stamp lies in the past and the points repeat the running plan up to the switch, so that no controller ever
    uses the state from which it would approach a first point (`jtc_parameters.py` says which ones can be fed so).
    """

    def __init__(self, joint_names: tuple[str, ...], send: Callable[[JtcMessage], None]) -> None:
        self._joint_names = joint_names
        self._send = send

    def follow(self, splice: Splice, now_s: float) -> None:
        """Build the message and send it."""
        plan = splice.trajectory
        stamp_s = float(np.floor(now_s * 1000.0)) / 1000.0
        if plan.start_s <= stamp_s:
            # A first point at time 0 would be a step for a controller that starts there.
            stamp_s = (round(plan.start_s * 1000.0) - NODE_MS) / 1000.0
        self._send(JtcMessage(stamp_s, self._joint_names, plan.times_s - stamp_s, plan.q_rad, plan.dq_rad_s,
                              plan.ddq_rad_s2))


class AcknowledgedJtc(JtcController):
    """Knows whether its messages arrive, and sends none to a controller that has left its plan meanwhile.

    Only one message is on its way at a time. Where a network or a busy reader holds messages back and delivers them
    later, each one that waits there would move the controller on to a later part of the plan: a step.

    Args:
        all_acknowledged: whether every reader has what was sent last.
        is_under_way: whether that is still missing, and may still be delivered.
    """

    def __init__(self, joint_names: tuple[str, ...], send: Callable[[JtcMessage], None],
                 all_acknowledged: Callable[[], bool], is_under_way: Callable[[], bool],
                 bounds: WatchdogBounds) -> None:
        super().__init__(joint_names, send)
        self._is_under_way = is_under_way
        self._arrivals = Arrivals(all_acknowledged, bounds.unacknowledged_s, 2.0 * bounds.tick_s)

    def follow(self, splice: Splice, now_s: float) -> None:
        """Send the plan, unless the one before it has not arrived: the next one tells of this one too."""
        if splice.trajectory.start_s > now_s:
            self._arrivals.begin_anew()
        elif self._arrivals.are_missing(now_s) or self._is_under_way():
            return
        super().follow(splice, now_s)
        self._arrivals.note_sent(now_s)

    def unheard(self, now_s: float) -> str | None:
        """That what is sent has not been acknowledged for too long."""
        return "trajectories do not arrive at the controller" if self._arrivals.are_missing(now_s) else None

    def begin_anew(self) -> None:
        """The arm stands, and what comes next begins from there."""
        self._arrivals.begin_anew()
