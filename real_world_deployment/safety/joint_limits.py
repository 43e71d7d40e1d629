"""What a motion must keep to before it is sent. It is refused with the reason, never clipped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ladle.arm_config import LimitsConfig
from ladle.errors import MotionError
from real_world_deployment.config import LimitShares
from real_world_deployment.safety import fr3
from real_world_deployment.safety.fr3 import VelocityBounds
from real_world_deployment.safety.sampled import SampledMotion, Use
from real_world_deployment.safety.tip_speed import TipSpeed
from real_world_deployment.safety.workspace import Workspace
from real_world_deployment.trajectory import JointTrajectory

Array = NDArray[np.float64]

STANDSTILL_RAD_S = 1e-6  # a bound of 0 still lets rounding pass


class MotionLimits:
    """The limits of a task, scaled by the shares that a motion may use.

    Args:
        tip_speed, workspace: what else the motion must keep to; None checks the joints only.
    """

    def __init__(self, limits: LimitsConfig, shares: LimitShares, joint_names: tuple[str, ...],
                 tip_speed: TipSpeed | None = None, workspace: Workspace | None = None) -> None:
        margin = shares.position_margin_rad
        self.joint_names = joint_names
        self.tip_speed, self.workspace = tip_speed, workspace
        self.lower_rad: Array = _array(limits.position_lower_rad) + margin
        self.upper_rad: Array = _array(limits.position_upper_rad) - margin
        self.velocity_rad_s: Array = _array(limits.velocity_rad_s) * shares.velocity
        self.acceleration_rad_s2: Array = _array(limits.acceleration_rad_s2) * shares.acceleration
        self.jerk_rad_s3: Array = _array(limits.jerk_rad_s3) * shares.jerk
        self._fr3_share = shares.velocity if limits.arm == "fr3" else None
        if np.any(self.lower_rad >= self.upper_rad):
            raise MotionError(f"a position margin of {margin} rad leaves a joint no range; choose a smaller one")

    def check(self, trajectory: JointTrajectory, from_s: float | None = None) -> None:
        """Check the motion at every millisecond from from_s (the start) to the end.

        First where it leads (joint positions, workspace), then how fast (joint and tip velocity, acceleration, jerk).

        Raises:
            TooFastError: the first limit of speed that breaks, with joint, instant, value and limit; slower along the
                same path may do.
            MotionError: the motion leads where it must not, or is not finite.
        """
        if trajectory.q_rad.shape[1] != len(self.joint_names):
            raise MotionError(f"a motion of {trajectory.q_rad.shape[1]} joints was planned for the "
                              f"{len(self.joint_names)} joints {', '.join(self.joint_names)}")
        motion = SampledMotion.of(trajectory, trajectory.start_s if from_s is None else from_s)
        self.check_places(motion)
        if not self._is_slow(motion):
            for use in self.velocity_uses(motion):
                use.refuse_excess(motion.at_s)
        for what, values, allowed in (("acceleration (rad/s²)", motion.states.ddq_rad_s2, self.acceleration_rad_s2),
                                      ("jerk (rad/s³)", motion.states.dddq_rad_s3, self.jerk_rad_s3)):
            if not _all_within(values, allowed):
                self._use(what, values, allowed).refuse_excess(motion.at_s)

    def check_places(self, motion: SampledMotion) -> None:
        """Raises MotionError where the motion leaves a joint's range or the workspace."""
        middle, half = (self.upper_rad + self.lower_rad) / 2, (self.upper_rad - self.lower_rad) / 2
        if not _all_within(motion.states.q_rad, half, middle):
            self._use("distance from the middle of the range (rad)", motion.states.q_rad - middle,
                      half).refuse_excess(motion.at_s, MotionError)
        if self.workspace is not None:
            self.workspace.check(motion)

    def velocity_uses(self, motion: SampledMotion) -> list[Use]:
        """Joint velocity, and the tip's where it is limited: what grows in proportion to the speed along the path."""
        dq = motion.states.dq_rad_s
        allowed = self.velocity_rad_s
        if self._fr3_share is not None:
            bounds = self.velocity_bounds(motion.states.q_rad)
            allowed = np.maximum(np.where(dq < 0, -bounds.lower_rad_s, bounds.upper_rad_s), STANDSTILL_RAD_S)
        uses = [self._use("velocity (rad/s)", dq, allowed)]
        return uses if self.tip_speed is None else [*uses, self.tip_speed.use(motion)]

    def _is_slow(self, motion: SampledMotion) -> bool:
        """Whether no velocity is above its limit; False also where that is not seen at a glance."""
        return (self._fr3_share is None and _all_within(motion.states.dq_rad_s, self.velocity_rad_s)
                and (self.tip_speed is None or self.tip_speed.is_kept(motion)))

    def velocity_bounds(self, q_rad: Array) -> VelocityBounds:
        """(m, J) bounds of the joint velocities at positions (m, J); those of an FR3 depend on them."""
        most = np.broadcast_to(self.velocity_rad_s, q_rad.shape)
        if self._fr3_share is None:
            return VelocityBounds(-most, most)
        bounds = fr3.velocity_bounds(q_rad)
        return VelocityBounds(np.maximum(self._fr3_share * bounds.lower_rad_s, -most),
                              np.minimum(self._fr3_share * bounds.upper_rad_s, most))

    def _use(self, what: str, values: Array, allowed: Array) -> Use:
        return Use(what, np.abs(values), allowed, self.joint_names)


def _all_within(values: Array, allowed: Array, middle: Array | float = 0.0) -> bool:
    """Whether |values - middle| / allowed is at most 1 everywhere, by the extremes of each column; NaN is not.

    Subtraction keeps the order of numbers also when it rounds, so this is what all values would give, bit for bit.
    """
    farthest = np.maximum(values.max(axis=0) - middle, middle - values.min(axis=0))
    return bool((farthest / allowed <= 1.0).all())


def _array(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float64)
