"""The same path, slower: a motion that is too fast is given another course of time.

A motion q(s), with s its own time in seconds, becomes q(s(t)). The rate r = ds/dt is chosen as a function of s, so

    dq/dt = q' r,    d²q/dt² = q'' r² + q' r r',    d³q/dt³ = q''' r³ + 3 q'' r² r' + q' r (r'² + r r'')

with ' = d/ds. r is a uniform cubic B-spline in s whose coefficients lie in (0, 1]:

* The path stays, for only the course along it changes; r <= 1, so it is never faster than asked, and r > 0, so it
  never turns back.
* The first three coefficients are 1, hence r(0) = 1 and r'(0) = r''(0) = 0: the new motion begins with the very
  position, velocity and acceleration of the old one (C2), whatever it was doing there.
* The motion ends with q' = q'' = 0, so it ends at rest at any rate.
* A spline lies below any bound that holds for its coefficients (they are averaged with weights that sum to 1). Each
  coefficient is at most the smallest rate wanted within its reach, so the terms in r, r² and r³ keep their limits. The
  terms in r' and r'' are measured, and where they are too large the rate is lowered around them, further each time.
  From the start it may fall no steeper than one of DROPS, tried from gentle to steep: braking costs acceleration too.

The result is nodes joined by quintics, as every motion; it is checked at 1 kHz like any other, and only that check
decides. Reference for the time-optimal course under limits of velocity and acceleration alone: Pham and Pham, "A new
approach to time-optimal path parameterization based on reachability analysis" (TOPP-RA), 2018.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.errors import TooFastError
from real_world_deployment.safety.joint_limits import MotionLimits
from real_world_deployment.safety.sampled import SampledMotion
from real_world_deployment.trajectory import CYCLE_S, NODE_MS, JointStates, JointTrajectory, to_ms

Array = NDArray[np.float64]

FIXED = 3          # coefficients that are 1: the state at the start
AIM = 0.97         # share of each limit that the rate is made for; the quintics between nodes need a little
ROUNDS = 25
SLOWEST = 0.05
# Knot spacing in seconds and steepest fall of the rate from the start, per second.
DROPS = ((0.02, 2.0), (0.02, 5.0), (0.01, 5.0), (0.01, 10.0))


class _Rate(NamedTuple):
    """r, r' and r'' at m instants of the old motion."""

    value: Array
    first: Array
    second: Array


class _Path(NamedTuple):
    """The old motion every millisecond, divided by the limits, so that 1 is the limit everywhere.

    Attributes:
        speed: (m,) largest share of any velocity limit at r = 1.
        first, second: (m, J) q' and q'' over the acceleration limits.
        jerk_first, jerk_second, jerk_third: (m, J) q', q'' and q''' over the jerk limits.
    """

    speed: Array
    first: Array
    second: Array
    jerk_first: Array
    jerk_second: Array
    jerk_third: Array


def within_limits(motion: JointTrajectory, limits: MotionLimits) -> tuple[JointTrajectory, str | None]:
    """The motion itself, or slowed along its path, and why it had to be.

    Raises:
        MotionError: neither keeps the limits.
    """
    try:
        limits.check(motion)
    except TooFastError as error:
        return retimed(motion, limits), str(error)
    return motion, None


def retimed(motion: JointTrajectory, limits: MotionLimits, longest: float = 4.0) -> JointTrajectory:
    """The motion's path within the limits, beginning in the same state at the same time and ending at rest.

    Args:
        motion: leads nowhere that is not allowed, and keeps the limits in its first instant.
        longest: how many times the old duration the new one may take.

    Raises:
        TooFastError: no rate was found; the start itself asks for too much, or it would take too long.
        MotionError: the path leads where it must not.
    """
    sampled = SampledMotion.of(motion, motion.start_s)
    limits.check_places(sampled)
    path = _path(sampled, limits)
    reason = TooFastError("no rate was tried")
    for knot_s, drop_hz in DROPS:
        spline = _Spline(motion.end_s - motion.start_s, knot_s)
        coefficients = _rate(path, spline, drop_hz)
        if coefficients is None:
            reason = TooFastError("the motion cannot be slowed in time: it begins at its limits; the motion is "
                                  "refused, move slower or smoother")
            continue
        slowed = _nodes(motion, coefficients, spline, longest)
        try:
            limits.check(slowed)
        except TooFastError as error:
            reason = error
            continue
        return slowed
    raise reason


def _path(sampled: SampledMotion, limits: MotionLimits) -> _Path:
    states = sampled.states
    speed = np.max([np.max(use.shares, axis=1) for use in limits.velocity_uses(sampled)], axis=0)
    acceleration, jerk = limits.acceleration_rad_s2, limits.jerk_rad_s3
    return _Path(speed, states.dq_rad_s / acceleration, states.ddq_rad_s2 / acceleration, states.dq_rad_s / jerk,
                 states.ddq_rad_s2 / jerk, states.dddq_rad_s3 / jerk)


class _Spline:
    """The basis of r(s) for a motion of a duration, every millisecond, with knots knot_s apart."""

    def __init__(self, duration_s: float, knot_s: float) -> None:
        self.knot_s = knot_s
        self.spans = max(math.ceil(duration_s / knot_s - 1e-9), FIXED)
        self.at_s: Array = CYCLE_S * np.arange(round(duration_s / CYCLE_S) + 1, dtype=np.float64)
        self.span, self.u = self._place(self.at_s)

    def rate(self, coefficients: Array, at_s: Array | None = None) -> _Rate:
        """r and its derivatives; coefficients (spans + 3,)."""
        span, u = (self.span, self.u) if at_s is None else self._place(at_s)
        c0, c1, c2, c3 = (coefficients[span + k] for k in range(4))
        value = ((1 - u) ** 3 * c0 + (3 * u**3 - 6 * u**2 + 4) * c1 + (-3 * u**3 + 3 * u**2 + 3 * u + 1) * c2
                 + u**3 * c3) / 6.0
        first = (-((1 - u) ** 2) * c0 + (3 * u**2 - 4 * u) * c1 + (-3 * u**2 + 2 * u + 1) * c2 + u**2 * c3) / 2.0
        second = (1 - u) * c0 + (3 * u - 2) * c1 + (1 - 3 * u) * c2 + u * c3
        return _Rate(value, first / self.knot_s, second / self.knot_s**2)

    def least_within_reach(self, wanted: Array) -> Array:
        """(spans + 3,): for each coefficient the smallest of wanted (m,) where it counts."""
        per_span = np.full(self.spans, np.inf)
        np.minimum.at(per_span, self.span, wanted)
        padded = np.concatenate([np.full(3, np.inf), per_span, np.full(3, np.inf)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 4)
        return np.asarray(windows.min(axis=1)[:self.spans + 3], dtype=np.float64)

    def _place(self, at_s: Array) -> tuple[NDArray[np.intp], Array]:
        span = np.clip((at_s / self.knot_s).astype(np.intp), 0, self.spans - 1)
        return span, at_s / self.knot_s - span


def _rate(path: _Path, spline: _Spline, drop_hz: float) -> Array | None:
    """(spans + 3,) coefficients that keep AIM of every limit; None if ROUNDS of lowering do not find them."""
    steps = np.arange(spline.spans + 3, dtype=np.float64) - (FIXED - 1)
    floor = np.clip(1.0 - drop_hz * spline.knot_s * steps, SLOWEST, 1.0)
    wanted = np.minimum(1.0, AIM / np.maximum(path.speed, AIM))
    for order, terms in ((2, path.second), (3, path.jerk_third)):
        largest = np.maximum(np.abs(terms).max(axis=1), AIM)
        wanted = np.minimum(wanted, (AIM / largest) ** (1.0 / order))
    coefficients = np.maximum(np.minimum(spline.least_within_reach(wanted), 1.0), floor)
    for around in range(ROUNDS):
        excess = _excess(path, spline.rate(coefficients))
        if excess.max() <= 1.0:
            return coefficients
        lower = spline.least_within_reach(np.where(excess > 1.0, np.maximum(excess, 1.02) ** -0.5, 1.0))
        # What a term in r' or r'' needs is a gentler way there: the neighbours are lowered too, wider each round.
        width = min(1 + around // 2, len(lower) - 1)
        padded = np.pad(np.minimum(lower, 1.0), width, constant_values=1.0)
        lower = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1).min(axis=1)
        coefficients = np.maximum(coefficients * lower, floor)
    return None


def _excess(path: _Path, rate: _Rate) -> Array:
    """(m,) the largest use of any limit, 1 at AIM of it."""
    r, first, second = (row[:, None] for row in rate)
    acceleration = path.second * r**2 + path.first * (r * first)
    jerk = (path.jerk_third * r**3 + 3.0 * path.jerk_second * (r**2 * first)
            + path.jerk_first * (r * (first**2 + r * second)))
    uses = (path.speed * rate.value, np.abs(acceleration).max(axis=1), np.abs(jerk).max(axis=1))
    return np.max(uses, axis=0) / AIM


def _nodes(motion: JointTrajectory, coefficients: Array, spline: _Spline, longest: float) -> JointTrajectory:
    """The new motion's nodes: where the old one is after each NODE_MS of the new time."""
    rate = spline.rate(coefficients)
    # t(s) is the integral of 1 / r; Simpson's rule on every millisecond.
    middle = spline.rate(coefficients, spline.at_s[:-1] + CYCLE_S / 2).value
    steps = CYCLE_S / 6.0 * (1.0 / rate.value[:-1] + 4.0 / middle + 1.0 / rate.value[1:])
    clock_s: Array = np.concatenate([np.zeros(1), np.cumsum(steps)])
    if clock_s[-1] > longest * spline.at_s[-1]:
        raise TooFastError(f"the motion of {spline.at_s[-1]:.2f} s would take {clock_s[-1]:.2f} s within the limits, "
                           f"more than {longest:g} times as long; the motion is refused, move slower or smoother")
    n = math.ceil(clock_s[-1] * 1000.0 / NODE_MS - 1e-6)
    start_ms = to_ms(motion.start_s)
    at_s = _inverted(clock_s, spline.at_s, rate.value, NODE_MS / 1000.0 * np.arange(n + 1, dtype=np.float64))
    old: JointStates = motion.sample(motion.start_s + at_s)
    r, first, _ = (row[:, None] for row in spline.rate(coefficients, at_s))
    q, dq = old.q_rad, old.dq_rad_s * r
    ddq = old.ddq_rad_s2 * r**2 + old.dq_rad_s * (r * first)
    q[0], dq[0], ddq[0] = motion.q_rad[0], motion.dq_rad_s[0], motion.ddq_rad_s2[0]
    q[-1], dq[-1], ddq[-1] = motion.q_rad[-1], 0.0, 0.0
    return JointTrajectory((start_ms + NODE_MS * np.arange(n + 1)) / 1000.0, q, dq, ddq)


def _inverted(clock_s: Array, path_s: Array, rate: Array, at_s: Array) -> Array:
    """s at new times: cubic Hermite between milliseconds of the old motion, where ds/dt is the rate."""
    cell = np.clip(np.searchsorted(clock_s, at_s, side="right") - 1, 0, len(clock_s) - 2)
    width = clock_s[cell + 1] - clock_s[cell]
    u = np.clip((at_s - clock_s[cell]) / width, 0.0, 1.0)
    return (path_s[cell] * (1 + 2 * u) * (1 - u) ** 2 + width * rate[cell] * u * (1 - u) ** 2
            + path_s[cell + 1] * u**2 * (3 - 2 * u) - width * rate[cell + 1] * u**2 * (1 - u))
