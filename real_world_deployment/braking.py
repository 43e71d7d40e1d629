"""The shortest smooth way to rest: ramp to a deceleration, hold it, ramp back to zero."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.sampled import SampledMotion
from real_world_deployment.trajectory import JointState, JointTrajectory, to_ms

Array = NDArray[np.float64]

# A shorter ramp is tried where the speed would still rise too far during the longer one.
RAMPS_MS = (25, 10)
PLACES_S = 0.005  # how finely joint positions are looked at; points in space at every fourth


def braking_tail(start: JointState, limits: MotionLimits, jerk_rad_s3: Array | None = None) -> JointTrajectory:
    """From a state within the limits to rest, all joints together.

    The acceleration goes linearly from its value to A, stays, and goes linearly to zero: with ramps of duration r and
    T in all, A = -(v + a r / 2) / (T - r), and T is the shortest whole number of milliseconds for which no joint's A
    is above its limit. The position is a cubic in the ramps and a square between them, so the quintics of a
    trajectory with four nodes are exactly this motion. All joints share r and T; the way is almost straight.

    Args:
        start: its time must be on the millisecond grid.
        jerk_rad_s3: (J,) in the place of the limits' own.

    Raises:
        MotionError: the way to rest leaves the position range or the workspace, or the speed would first rise beyond
            its limit.
    """
    reason = MotionError("no way to rest was tried")
    # From one limit of acceleration to the other within the limit of jerk.
    jerk_rad_s3 = limits.jerk_rad_s3 if jerk_rad_s3 is None else jerk_rad_s3
    shortest_ms = math.ceil(1000.0 * float(np.max(2.0 * limits.acceleration_rad_s2 / jerk_rad_s3)))
    for ramp_ms in RAMPS_MS:
        motion = _tail(start, limits, max(ramp_ms, shortest_ms))
        try:
            _check(start, motion, limits)
        except MotionError as error:
            reason = error
            continue
        return motion
    raise reason


def _tail(start: JointState, limits: MotionLimits, ramp_ms: int) -> JointTrajectory:
    q, v, a = start.q_rad, start.dq_rad_s, start.ddq_rad_s2
    ramp_s = ramp_ms / 1000.0
    to_lose: Array = v + 0.5 * a * ramp_s
    held_s = float(np.max(np.abs(to_lose) / limits.acceleration_rad_s2)) - ramp_s
    held_ms = max(math.ceil(held_s * 1000.0 - 1e-6), 0)
    held_s = held_ms / 1000.0
    down = -to_lose / (ramp_s + held_s)
    v1, q1 = v + 0.5 * (a + down) * ramp_s, q + v * ramp_s + (2.0 * a + down) * ramp_s**2 / 6.0
    v2, q2 = v1 + down * held_s, q1 + v1 * held_s + 0.5 * down * held_s**2
    q3 = q2 + v2 * ramp_s + down * ramp_s**2 / 3.0
    rest = np.zeros_like(q)
    steps_ms = np.array([0, ramp_ms, ramp_ms + held_ms, 2 * ramp_ms + held_ms])
    nodes = [0, 1, 2, 3] if held_ms else [0, 1, 3]
    return JointTrajectory(((to_ms(start.time_s) + steps_ms) / 1000.0)[nodes], np.stack([q, q1, q2, q3])[nodes],
                           np.stack([v, v1, v2, rest])[nodes], np.stack([a, down, down, rest])[nodes])


def _check(start: JointState, motion: JointTrajectory, limits: MotionLimits) -> None:
    """Places coarsely, the speed's peak in closed form: a whole check would cost more than the rest of a refresh.

    The tip's speed and the range's share of an FR3's joint velocity are not looked at again: they fall while the arm
    brakes, except for what the acceleration adds during the first ramp.
    """
    at_s: Array = np.append(np.arange(motion.start_s, motion.end_s, PLACES_S, dtype=np.float64), motion.end_s)
    limits.check_places(SampledMotion(at_s, motion.sample(at_s)))
    a, down = start.ddq_rad_s2, motion.ddq_rad_s2[1]
    ramp_s = float(motion.times_s[1] - motion.times_s[0])
    turns = a * down < 0.0
    # Where the acceleration passes zero during the first ramp the speed has its peak.
    rise = np.where(turns, 0.5 * a**2 * ramp_s / np.where(turns, np.abs(a) + np.abs(down), 1.0), 0.0) * np.sign(a)
    peak = np.abs(start.dq_rad_s + rise)
    if np.any(peak > np.maximum(limits.velocity_rad_s, np.abs(start.dq_rad_s)) + 1e-9):
        joint = int(np.argmax(peak / limits.velocity_rad_s))
        raise MotionError(f"braking at {start.time_s:.3f} s {limits.joint_names[joint]} would first reach "
                          f"{peak[joint]:.3f} rad/s; allowed is {limits.velocity_rad_s[joint]:.3f}")
