"""Where a stream of set-points may begin, which plans it may follow, and when it lets go of the arm.

A stream that went on with its last set-point for ever would pull the arm back there, in one cycle, after a person has
moved it by hand or a reflex has stopped it elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.trajectory import JointTrajectory

Array = NDArray[np.float64]

# After the end of its plan; by then the arm has arrived where its set-point is.
REST_S = 0.2
# A plan that runs so far beside the stream is not of this stream: the largest way that is caught up with.
ELSEWHERE_RAD = 0.05
# An arm within this of the last set-point holds it still; the difference is its control's, and would be a step.
STANDS_RAD = 0.002


def refuse_elsewhere(plan: JointTrajectory, q_rad: Array, at_s: float) -> None:
    """Raise MotionError for a plan that has ended, has other joints, or is not where the stream (J,) is at at_s."""
    if plan.q_rad.shape[1] != len(q_rad):
        raise MotionError(f"a plan of {plan.q_rad.shape[1]} joints for an arm of {len(q_rad)}")
    if plan.end_s <= at_s:
        raise MotionError(f"the plan ended {at_s - plan.end_s:.2f} s ago")
    away_rad = float(np.max(np.abs(plan.state(at_s).q_rad - q_rad)))
    if not away_rad <= ELSEWHERE_RAD:
        raise MotionError(f"the plan is {away_rad:.3f} rad from where the arm stands or its set-points are; at most "
                          f"{ELSEWHERE_RAD} rad are caught up with: stop the run and start it again")


class Standing:
    """An arm that no stream moves: what it was left at, and where it has been measured since.

    Args:
        joints_age_s: older joints are none.
    """

    def __init__(self, joints_age_s: float) -> None:
        self._age_s = joints_age_s
        self._left_rad: Array | None = None
        self._measured_rad: Array | None = None
        self._seen_s = -math.inf

    def leave(self, q_rad: Array | None) -> None:
        """The stream ends with this set-point (J,), or has not begun yet: only joints measured from now on count."""
        self._left_rad, self._measured_rad = q_rad, None

    def see(self, q_rad: Array, now_s: float) -> None:
        """Joints (J,) as measured."""
        self._measured_rad, self._seen_s = q_rad, now_s

    def begin_rad(self, now_s: float) -> tuple[Array, bool]:
        """Where a stream begins (J,), and whether that is the set-point at which the last one ended.

        Raises:
            MotionError: it is not known where the arm is.
        """
        measured = self._measured_rad
        if measured is None or now_s - self._seen_s > self._age_s:
            raise MotionError(f"no joint positions within {self._age_s:g} s: set-points cannot begin; is the driver "
                              "running?")
        left = self._left_rad
        if left is not None and np.max(np.abs(measured - left)) <= STANDS_RAD:
            return left, True
        return measured, False


class RestWatch:
    """Tells when a stream of set-points has been at rest for so long (rest_s) that it lets go."""

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self.clear()

    def clear(self) -> None:
        """A stream begins."""
        self._since_s = math.inf

    def is_over(self, now_s: float, stream: RuckigController) -> bool:
        """Whether the plan has ended, and the stream has been at rest for so long."""
        if now_s < stream.plan_end_s or not stream.is_at_rest:
            self._since_s = math.inf
            return False
        self._since_s = min(self._since_s, now_s)
        return now_s >= self._since_s + self._rest_s - 1e-9
