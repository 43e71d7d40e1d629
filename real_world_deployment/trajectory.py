"""A joint motion as nodes of position, velocity and acceleration, joined by quintics: what a JTC executes.

All node times lie on a grid of whole milliseconds, so that a plan repeated in a later message names the very same
instants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladle.errors import MotionError

Array = NDArray[np.float64]

NODE_MS = 25
CYCLE_S = 0.001


class JointStates(NamedTuple):
    """States at m instants, (m, J) each: rad, rad/s, rad/s², rad/s³."""

    q_rad: Array
    dq_rad_s: Array
    ddq_rad_s2: Array
    dddq_rad_s3: Array


class JointState(NamedTuple):
    """The state at one instant, (J,) each."""

    time_s: float
    q_rad: Array
    dq_rad_s: Array
    ddq_rad_s2: Array


@dataclass(frozen=True)
class JointTrajectory:
    """Nodes joined by quintic segments (C2); it ends at rest and holds its last position for ever.

    Attributes:
        times_s: (n,) strictly increasing, on the run's clock.
        q_rad, dq_rad_s, ddq_rad_s2: (n, J) at the nodes.
    """

    times_s: Array
    q_rad: Array
    dq_rad_s: Array
    ddq_rad_s2: Array

    def __post_init__(self) -> None:
        n = len(self.times_s)
        shapes = {self.q_rad.shape, self.dq_rad_s.shape, self.ddq_rad_s2.shape}
        if n == 0 or len(shapes) != 1 or self.q_rad.ndim != 2 or len(self.q_rad) != n:
            raise MotionError(f"a trajectory of {n} times needs q, dq and ddq of one shape ({n}, joints), got {shapes}")
        # A sum is finite only if all that is summed is.
        if not math.isfinite(self.times_s.sum() + self.q_rad.sum() + self.dq_rad_s.sum() + self.ddq_rad_s2.sum()):
            raise MotionError("a trajectory holds NaN or infinity; every node must be finite")
        if not (self.times_s[1:] > self.times_s[:-1]).all():
            raise MotionError("the times of a trajectory must increase strictly")
        if self.dq_rad_s[-1].any() or self.ddq_rad_s2[-1].any():
            raise MotionError("a trajectory must end at rest: velocity and acceleration of its last node must be 0")

    @property
    def start_s(self) -> float:
        """When the first node is reached."""
        return float(self.times_s[0])

    @property
    def end_s(self) -> float:
        """From here on the arm is at rest."""
        return float(self.times_s[-1])

    def sample(self, at_s: ArrayLike) -> JointStates:
        """(m,) instants -> states; before the start and after the end the first and last position are held.

        The quintic is the one of joint_trajectory_controller (interpolate_between_points with accelerations).
        """
        at = np.atleast_1d(np.asarray(at_s, dtype=np.float64))
        n = len(self.times_s)
        if n == 1:
            rest = np.zeros((len(at), self.q_rad.shape[1]))
            return JointStates(rest + self.q_rad[0], rest, rest, rest)
        segment = np.clip(np.searchsorted(self.times_s, at, side="right") - 1, 0, n - 2)
        span = self.times_s[segment + 1] - self.times_s[segment]
        c = self._coefficients[:, segment]
        t = (np.clip(at - self.times_s[segment], 0.0, span))[:, None]
        moving = ((at >= self.times_s[0]) & (at < self.times_s[-1]))[:, None]
        q, dq, ddq, dddq = _states(c, t)
        q = np.where(at[:, None] >= self.times_s[-1], self.q_rad[-1], q)
        return JointStates(q, np.where(moving, dq, 0.0), np.where(moving, ddq, 0.0), np.where(moving, dddq, 0.0))

    def every_cycle(self) -> JointStates:
        """States at every millisecond from the start to the end, both included: `sample`, but for rounding.

        Where all segments last equally long, as in every plan, one product of matrices gives each derivative. Jerk may
        step at a node; there the larger one counts, on whichever side it is.
        """
        steps_ms = np.rint(1000.0 * np.diff(self.times_s)).astype(np.intp)
        if len(steps_ms) == 0 or np.any(steps_ms != steps_ms[0]):
            n_cycles = round((self.end_s - self.start_s) / CYCLE_S)
            return self.sample(self.start_s + CYCLE_S * np.arange(n_cycles + 1))
        n_samples, n_joints = len(steps_ms) * int(steps_ms[0]) + 1, self.q_rad.shape[1]
        coefficients = self._coefficients.transpose(2, 1, 0).reshape(-1, 6)
        # Each joint's samples lie side by side: what is asked of them is asked joint by joint.
        states = np.zeros((4, n_joints, n_samples))
        for order, powers in enumerate(_powers(int(steps_ms[0]))):
            states[order, :, :-1] = (coefficients @ powers).reshape(n_joints, -1)
        states[0, :, -1] = self.q_rad[-1]
        after = states[3, :, int(steps_ms[0])::int(steps_ms[0])]
        before = _jerk(self._coefficients, CYCLE_S * int(steps_ms[0])).T
        after[...] = np.where(np.abs(before) > np.abs(after), before, after)
        return JointStates(*states.transpose(0, 2, 1))

    def state(self, at_s: float) -> JointState:
        """The state at one instant; exactly the node where there is one."""
        index = int(np.searchsorted(self.times_s, at_s))
        if index < len(self.times_s) and self.times_s[index] == at_s:
            return JointState(at_s, self.q_rad[index], self.dq_rad_s[index], self.ddq_rad_s2[index])
        if not self.times_s[0] < at_s < self.times_s[-1]:
            rest = np.zeros(self.q_rad.shape[1])
            return JointState(at_s, self.q_rad[0 if index == 0 else -1], rest, rest)
        nodes = slice(index - 1, index + 1)
        c = _coefficients(self.times_s[nodes], self.q_rad[nodes], self.dq_rad_s[nodes], self.ddq_rad_s2[nodes])[:, 0]
        q, dq, ddq, _ = _states(c, at_s - self.times_s[index - 1])
        return JointState(at_s, q, dq, ddq)

    def between(self, first: int, last: int, after: JointTrajectory) -> JointTrajectory:
        """Nodes first..last-1 bit for bit, then all nodes of `after`."""
        kept = slice(first, last)
        return JointTrajectory(np.append(self.times_s[kept], after.times_s),
                               np.concatenate([self.q_rad[kept], after.q_rad]),
                               np.concatenate([self.dq_rad_s[kept], after.dq_rad_s]),
                               np.concatenate([self.ddq_rad_s2[kept], after.ddq_rad_s2]))

    def since(self, at_s: float) -> JointTrajectory:
        """The nodes from the last one at or before at_s on; all of them if there is none."""
        first = max(int(np.searchsorted(self.times_s, at_s, side="right")) - 1, 0)
        return self if first == 0 else JointTrajectory(self.times_s[first:], self.q_rad[first:], self.dq_rad_s[first:],
                                                       self.ddq_rad_s2[first:])

    def until(self, at_s: float, after: JointTrajectory) -> JointTrajectory:
        """All nodes before at_s bit for bit, then those of `after`, whose first is this motion's state at at_s."""
        return self.between(0, int(np.searchsorted(self.times_s, at_s)), after)

    @cached_property
    def _coefficients(self) -> Array:
        """(6, n - 1, J) of each segment's polynomial in the time since its first node."""
        return _coefficients(self.times_s, self.q_rad, self.dq_rad_s, self.ddq_rad_s2)


def _coefficients(times_s: Array, q: Array, dq: Array, ddq: Array) -> Array:
    """(6, n - 1, J) of the quintics between nodes (n, J)."""
    h = (times_s[1:] - times_s[:-1])[:, None]
    d = q[1:] - q[:-1]
    v0, v1 = dq[:-1], dq[1:]
    a0, a1 = ddq[:-1], ddq[1:]
    h2 = h * h
    h3 = h2 * h
    found: Array = np.empty((6, *d.shape))
    found[0], found[1], found[2] = q[:-1], v0, 0.5 * a0
    found[3] = (20 * d - (8 * v1 + 12 * v0) * h - (3 * a0 - a1) * h2) / (2 * h3)
    found[4] = (-30 * d + (14 * v1 + 16 * v0) * h + (3 * a0 - 2 * a1) * h2) / (2 * h3 * h)
    found[5] = (12 * d - 6 * (v1 + v0) * h - (a0 - a1) * h2) / (2 * h3 * h2)
    return found


def _states(c: Array, t: Array | float) -> tuple[Array, Array, Array, Array]:
    """Value and three derivatives of polynomials with coefficients (6, ...) at t."""
    return (c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5])))),
            c[1] + t * (2 * c[2] + t * (3 * c[3] + t * (4 * c[4] + t * 5 * c[5]))),
            2 * c[2] + t * (6 * c[3] + t * (12 * c[4] + t * 20 * c[5])),
            _jerk(c, t))


def _jerk(c: Array, t: Array | float) -> Array:
    """The third derivative alone."""
    return 6 * c[3] + t * (24 * c[4] + t * 60 * c[5])


@lru_cache(maxsize=16)
def _powers(steps: int) -> Array:
    """(4, 6, steps): what turns a segment's coefficients into its value and three derivatives, every millisecond."""
    t: Array = CYCLE_S * np.arange(steps, dtype=np.float64)
    powers: Array = np.zeros((4, 6, steps))
    for order in range(4):
        for power in range(order, 6):
            powers[order, power] = math.perm(power, order) * t ** (power - order)
    return powers


def at_rest(q_rad: ArrayLike, at_s: float) -> JointTrajectory:
    """The motion of an arm that stands still: one node at the first whole millisecond from at_s on."""
    q = np.asarray(q_rad, dtype=np.float64)[None]
    return JointTrajectory(np.array([on_grid(at_s)]), q, np.zeros_like(q), np.zeros_like(q))


def concatenated(first: JointTrajectory, second: JointTrajectory) -> JointTrajectory:
    """Two motions one after the other; the second starts at the instant and at the position where the first ends."""
    if first.end_s != second.start_s or not np.array_equal(first.q_rad[-1], second.q_rad[0]):
        raise MotionError(f"motions cannot be joined: one ends at {first.end_s} s, the next starts at "
                          f"{second.start_s} s, or elsewhere")
    return first.between(0, len(first.times_s) - 1, second)


def on_grid(time_s: float) -> float:
    """The first whole millisecond from a time on."""
    return math.ceil(time_s * 1000.0 - 1e-6) / 1000.0


def to_ms(time_s: float) -> int:
    """Whole milliseconds of a time on the grid."""
    return round(time_s * 1000.0)
