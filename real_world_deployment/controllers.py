"""How a plan reaches the arm: as messages for a JointTrajectoryController, or as jerk-limited set-points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

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
    """Sends every plan as one message.

    Args:
        form: "overlap" has a stamp in the past and repeats the running plan up to the switch (Humble, Jazzy, Kilted;
            on master only with allow_trajectory_replacement off). "switch" has the switch time for its stamp and
            only what comes after it (master).
    """

    def __init__(self, joint_names: tuple[str, ...], send: Callable[[JtcMessage], None],
                 form: Literal["overlap", "switch"] = "overlap") -> None:
        self._joint_names = joint_names
        self._send = send
        self._form = form

    def follow(self, splice: Splice, now_s: float) -> None:
        """Build the message and send it."""
        plan = splice.trajectory
        first, stamp_s = 0, float(np.floor(now_s * 1000.0)) / 1000.0
        if self._form == "switch":
            first, stamp_s = int(np.searchsorted(plan.times_s, splice.switch_s, side="right")), splice.switch_s
        elif plan.start_s <= stamp_s:
            # A first point at time 0 would be a step for a controller that starts there.
            stamp_s = (round(plan.start_s * 1000.0) - NODE_MS) / 1000.0
        self._send(JtcMessage(stamp_s, self._joint_names, plan.times_s[first:] - stamp_s, plan.q_rad[first:],
                              plan.dq_rad_s[first:], plan.ddq_rad_s2[first:]))
