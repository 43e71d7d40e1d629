"""What a motion must keep to before it is sent. It is refused with the reason, never clipped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.task import LimitsConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.trajectory import CYCLE_S, JointState, JointTrajectory

Array = NDArray[np.float64]

# What may differ between the end of one plan and the start of the next, per joint: rounding only.
SEAM_TOLERANCES = {"position (rad)": 1e-9, "velocity (rad/s)": 1e-8, "acceleration (rad/s²)": 1e-6}


class MotionLimits:
    """The limits of a task's joints, scaled by the shares that a motion may use."""

    def __init__(self, limits: LimitsConfig, shares: LimitShares, joint_names: tuple[str, ...]) -> None:
        margin = shares.position_margin_rad
        self.joint_names = joint_names
        self.lower_rad: Array = _array(limits.position_lower_rad) + margin
        self.upper_rad: Array = _array(limits.position_upper_rad) - margin
        self.velocity_rad_s: Array = _array(limits.velocity_rad_s) * shares.velocity
        self.acceleration_rad_s2: Array = _array(limits.acceleration_rad_s2) * shares.acceleration
        self.jerk_rad_s3: Array = _array(limits.jerk_rad_s3) * shares.jerk
        if np.any(self.lower_rad >= self.upper_rad):
            raise MotionError(f"a position margin of {margin} rad leaves a joint no range; choose a smaller one")

    def check(self, trajectory: JointTrajectory, from_s: float | None = None) -> None:
        """Check position, velocity, acceleration and jerk at every millisecond from from_s (the start) to the end.

        Raises:
            MotionError: the first kind of limit that breaks, with joint, instant, value and limit.
        """
        start = trajectory.start_s if from_s is None else from_s
        n_cycles = round((trajectory.end_s - start) / CYCLE_S)
        at = start + CYCLE_S * np.arange(n_cycles + 1, dtype=np.float64)
        states = trajectory.sample(at)
        if trajectory.q_rad.shape[1] != len(self.joint_names):
            raise MotionError(f"a motion of {trajectory.q_rad.shape[1]} joints was planned for the "
                              f"{len(self.joint_names)} joints {', '.join(self.joint_names)}")
        middle, half = (self.upper_rad + self.lower_rad) / 2, (self.upper_rad - self.lower_rad) / 2
        self._within(np.abs(states.q_rad - middle), half, at, "distance from the middle of the range (rad)")
        self._within(np.abs(states.dq_rad_s), self.velocity_rad_s, at, "velocity (rad/s)")
        self._within(np.abs(states.ddq_rad_s2), self.acceleration_rad_s2, at, "acceleration (rad/s²)")
        self._within(np.abs(states.dddq_rad_s3), self.jerk_rad_s3, at, "jerk (rad/s³)")

    def _within(self, values: Array, limits: Array, at: Array, what: str) -> None:
        excess = values / limits
        if not np.all(np.isfinite(excess)):
            raise MotionError(f"the planned {what} is not finite; the motion is refused")
        row, joint = np.unravel_index(int(np.argmax(excess)), excess.shape)
        if excess[row, joint] > 1.0:
            raise MotionError(
                f"the planned {what} of {self.joint_names[joint]} reaches {values[row, joint]:.3f} at {at[row]:.3f} s; "
                f"allowed is {limits[joint]:.3f}; the motion is refused, move slower or smoother")


def _array(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)


def check_seam(before: JointState, after: JointState) -> None:
    """Two plans must agree in position, velocity and acceleration where one takes over.

    Raises:
        MotionError: which of them steps, and by how much.
    """
    pairs = zip(SEAM_TOLERANCES.items(), before[1:], after[1:], strict=True)
    for (what, tolerance), old, new in pairs:
        step = float(np.max(np.abs(old - new)))
        if not step <= tolerance:
            raise MotionError(f"the new motion would step in {what} by {step:.2e} at {after.time_s:.3f} s; "
                              f"at most {tolerance:.0e} is taken for rounding; the motion is refused")
