"""The way to where a run starts: straight up first, clear of the bowl, then along a joint path to the home pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.arm_config import HomeConfig
from ladle.errors import KinematicsError, MotionError
from ladle.kinematics import KinematicChain
from real_world_deployment.fit import fit_motion
from real_world_deployment.safety import MotionLimits
from real_world_deployment.trajectory import NODE_MS, JointTrajectory, at_rest, concatenated, on_grid

Array = NDArray[np.float64]

LIFT_SPEED_M_S = 0.15
LIFT_CUTOFF_HZ = 6.0       # the lifting path is exact, not noisy: follow it closely
LIFT_SETTLE_S = 0.15
LIFT_SIDEWAYS_M = 0.01     # how far the lift may stray from the vertical
SAG_M = 0.03               # how far below its two ends the joint path may dip
PEAK_SPEED = 1.875         # of a minimum-jerk move of unit length and duration
SHORTEST_MOVE_S = 0.5
STRETCH = 1.3
STRETCHES = 8


class Homing:
    """Plans the way home; the home joints are solved once.

    Attributes:
        home_rad: (J,) joints of the task's home pose, nearest to the task's posture.
    """

    def __init__(self, chain: KinematicChain, home: HomeConfig, limits: MotionLimits, speed_share: float) -> None:
        """Raises KinematicsError when the home pose is out of reach."""
        self._chain = chain
        self._home = home
        self._limits = limits
        self._speed_rad_s = speed_share * limits.velocity_rad_s
        self.home_rad = chain.inverse(home.pose.xyz_xyzw, home.posture_rad, home.posture_rad)
        self._home_z_m = float(chain.forward(self.home_rad)[2])

    def plan(self, q_rad: Array, start_s: float) -> JointTrajectory:
        """From rest at q_rad (J,) at start_s to rest at home_rad.

        The tip rises by the task's lift_m, but not above the home pose by more than that.

        Raises:
            MotionError: the way up is out of reach, the path would sag, or no duration keeps the limits.
        """
        z_m = float(self._chain.forward(q_rad)[2])
        lift_m = min(self._home.lift_m, self._home_z_m + self._home.lift_m - z_m)
        lifted = self._lift(q_rad, on_grid(start_s), lift_m) if lift_m > 1e-3 else at_rest(q_rad, start_s)
        return concatenated(lifted, self._straight(lifted.q_rad[-1], lifted.end_s))

    def _lift(self, q_rad: Array, start_s: float, lift_m: float) -> JointTrajectory:
        """Straight up by lift_m, as slowly as the limits want it."""
        duration_s = max(PEAK_SPEED * lift_m / LIFT_SPEED_M_S, SHORTEST_MOVE_S)
        reason = MotionError("no lift was tried")
        for _ in range(STRETCHES):
            times, progress = _minimum_jerk(duration_s)
            joints = self._vertical(q_rad, progress[1:] * lift_m)
            motion = fit_motion(at_rest(q_rad, start_s).state(start_s), start_s + times[1:], joints, LIFT_SETTLE_S,
                                LIFT_CUTOFF_HZ, NODE_MS / 1000.0)
            try:
                self._limits.check(motion)
            except MotionError as error:
                reason, duration_s = error, duration_s * STRETCH
                continue
            self._check_lift(motion, lift_m)
            return motion
        raise MotionError(f"cannot lift by {lift_m:.3f} m within the limits: {reason}")

    def _vertical(self, q_rad: Array, heights_m: Array) -> Array:
        """(m, J) joints with the tip above where it is now by heights_m (m,), its rotation kept."""
        target = self._chain.forward(q_rad)
        z_m, joints, seed = target[2], np.empty((len(heights_m), len(q_rad))), q_rad
        for row, height_m in enumerate(heights_m):
            target[2] = z_m + height_m
            try:
                seed = joints[row] = self._chain.inverse(target, seed, restarts=0)
            except KinematicsError as error:
                raise MotionError(f"cannot lift the tip by {heights_m[-1]:.3f} m before homing: {error}") from error
        return joints

    def _check_lift(self, motion: JointTrajectory, lift_m: float) -> None:
        tips = self._chain.forward(motion.sample(_instants(motion)).q_rad)
        sideways_m = float(np.abs(tips[:, :2] - tips[0, :2]).max())
        lowest_step_m = float(np.diff(tips[:, 2]).min())
        if sideways_m > LIFT_SIDEWAYS_M or lowest_step_m < -1e-4:
            raise MotionError(f"the way up by {lift_m:.3f} m strays {sideways_m * 1000:.1f} mm sideways or sinks by "
                              f"{-min(lowest_step_m, 0.0) * 1000:.2f} mm; move the arm by hand to a freer pose")

    def _straight(self, q_rad: Array, start_s: float) -> JointTrajectory:
        """A minimum-jerk move of all joints together; quintics between its nodes are exact."""
        way = self.home_rad - q_rad
        duration_s = max(float(np.max(PEAK_SPEED * np.abs(way) / self._speed_rad_s)), SHORTEST_MOVE_S)
        reason = MotionError("no move was tried")
        for _ in range(STRETCHES):
            motion = _straight_motion(q_rad, way, start_s, duration_s)
            try:
                self._limits.check(motion)
            except MotionError as error:
                reason, duration_s = error, duration_s * STRETCH
                continue
            self._check_sag(motion)
            return motion
        raise MotionError(f"cannot go home within the limits: {reason}")

    def _check_sag(self, motion: JointTrajectory) -> None:
        heights_m = self._chain.forward(motion.sample(_instants(motion)).q_rad)[:, 2]
        sag_m = float(min(heights_m[0], heights_m[-1]) - heights_m.min())
        if sag_m > SAG_M:
            raise MotionError(f"on its way home the tip would sink {sag_m:.3f} m below both ends of the path; at most "
                              f"{SAG_M} m are allowed: move the arm by hand nearer to the home pose")


def _straight_motion(q_rad: Array, way: Array, start_s: float, duration_s: float) -> JointTrajectory:
    times, s = _minimum_jerk(duration_s)
    u = times / times[-1]
    speed = 30.0 * u**2 * (1.0 - u) ** 2 / times[-1]
    acceleration = 60.0 * u * (1.0 - 3.0 * u + 2.0 * u**2) / times[-1] ** 2
    speed[-1] = acceleration[-1] = 0.0
    start_ms = round(start_s * 1000.0)
    grid = (start_ms + NODE_MS * np.arange(len(times))) / 1000.0
    q = q_rad + s[:, None] * way
    return JointTrajectory(grid, q, speed[:, None] * way, acceleration[:, None] * way)


def _minimum_jerk(duration_s: float) -> tuple[Array, Array]:
    """Node times from 0 and progress from 0 to 1 at them; the duration is rounded up to whole nodes."""
    n = max(int(np.ceil(duration_s * 1000.0 / NODE_MS)), 2)
    times: Array = np.arange(n + 1, dtype=np.float64) * (NODE_MS / 1000.0)
    u = np.arange(n + 1) / n
    return times, u**3 * (10.0 - 15.0 * u + 6.0 * u**2)


def _instants(motion: JointTrajectory) -> Array:
    """Every 5 ms of a motion."""
    return np.arange(motion.start_s, motion.end_s, 0.005)
