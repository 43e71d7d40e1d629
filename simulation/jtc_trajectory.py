"""One joint trajectory as ROS 2's JointTrajectoryController holds and samples it.

Written after `joint_trajectory_controller/src/trajectory.cpp` of ros2_controllers (branches humble, jazzy, kilted
and master of August 2026): `Trajectory::sample`, `set_point_before_trajectory_msg`, `interpolate_between_points`.
Times are integer nanoseconds, as in rclcpp, so that stamps add up without rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NANOSECONDS = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Seconds as integer nanoseconds, rounded to the nearest."""
    return round(seconds * NANOSECONDS)


def all_to_ns(seconds: Floats) -> NDArray[np.int64]:
    """`to_ns` of many."""
    return np.rint(np.asarray(seconds, np.float64) * NANOSECONDS).astype(np.int64)


@dataclass(frozen=True)
class JointState:
    """Joint values at one instant or at k instants: (n,) or (k, n) rad, rad/s, rad/s^2."""

    position_rad: Floats
    velocity_rad_s: Floats | None
    acceleration_rad_s2: Floats | None

    def each(self, change: Callable[[Floats], Floats]) -> JointState:
        """The same state with every array that is there changed alike."""
        rates = (self.velocity_rad_s, self.acceleration_rad_s2)
        velocity, acceleration = (None if values is None else change(values) for values in rates)
        return JointState(change(self.position_rad), velocity, acceleration)

    def at(self, rows: NDArray[np.int64] | int) -> JointState:
        """Some of k instants: (j, n) for an array of rows, (n,) for one."""
        return self.each(lambda values: values[rows])


@dataclass
class HeldTrajectory:
    """The trajectory in the controller's hands, joints in the controller's order.

    Attributes:
        start_ns: time base of the points; None until the first sample when the stamp was 0 ("start now").
        points_ns: (m,) int64 time from start of each point, strictly increasing.
        points: (m, n) values of the points.
        interpolates: whether there are splines between the points; else each next point is set at once, and before the
            first one the state before it.
        before_ns, before: the state from which the first point is approached; set at the first sample.
    """

    start_ns: int | None
    points_ns: NDArray[np.int64]
    points: JointState
    interpolates: bool = True
    before_ns: int | None = None
    before: JointState | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether the first sample has been taken."""
        return self.before is not None

    def begin(self, now_ns: int, before_ns: int, before: JointState) -> None:
        """First sample: fix the time base and the state before the message.

        A rate that the state lacks and the first point has counts as zero, so that the bridge to the first point
        has the same degree as the rest.
        """
        if self.start_ns is None:
            self.start_ns = now_ns
        zeros = np.zeros_like(before.position_rad)
        velocity, acceleration = before.velocity_rad_s, before.acceleration_rad_s2
        if velocity is None and self.points.velocity_rad_s is not None:
            velocity = zeros
        if acceleration is None and self.points.acceleration_rad_s2 is not None:
            acceleration = zeros
        self.before_ns, self.before = before_ns, JointState(before.position_rad, velocity, acceleration)

    def sample(self, at_ns: NDArray[np.int64]) -> JointState:
        """Desired state at (k,) times: bridge to the first point, splines between points, last point held.

        With a time base in the past the bridge is never entered: the state before the message has no influence.
        """
        assert self.start_ns is not None
        assert self.before is not None
        assert self.before_ns is not None
        knots_ns = self.start_ns + self.points_ns
        n_joints = self.points.position_rad.shape[1]
        position, velocity, acceleration = (np.zeros((len(at_ns), n_joints)) for _ in range(3))

        def fill(mask: NDArray[np.bool_], part: JointState) -> None:
            position[mask] = part.position_rad
            velocity[mask] = part.velocity_rad_s
            acceleration[mask] = part.acceleration_rad_s2

        bridge = at_ns < knots_ns[0]
        held = at_ns >= knots_ns[-1]
        between = ~bridge & ~held
        if bridge.any():
            fill(bridge, self._bridge(at_ns[bridge], knots_ns))
        if between.any():
            fill(between, self._between(at_ns[between], knots_ns))
        if held.any():
            fill(held, self._held(int(held.sum())))
        return JointState(position, velocity, acceleration)

    def _bridge(self, at_ns: NDArray[np.int64], knots_ns: NDArray[np.int64]) -> JointState:
        assert self.before is not None
        assert self.before_ns is not None
        count = len(at_ns)
        before = self.before.each(lambda values: np.tile(values, (count, 1)))
        if not self.interpolates:
            return _at_zero_rates(before)
        elapsed_s = (at_ns - self.before_ns) / NANOSECONDS
        span_s = np.full(count, (knots_ns[0] - self.before_ns) / NANOSECONDS)
        return interpolate(before, self.points.at(np.zeros(count, np.int64)), elapsed_s, span_s)

    def _between(self, at_ns: NDArray[np.int64], knots_ns: NDArray[np.int64]) -> JointState:
        rows = np.searchsorted(knots_ns, at_ns, side="right") - 1
        if not self.interpolates:
            return _at_zero_rates(self.points.at(rows + 1))
        elapsed_s = (at_ns - knots_ns[rows]) / NANOSECONDS
        span_s = (knots_ns[rows + 1] - knots_ns[rows]) / NANOSECONDS
        return interpolate(self.points.at(rows), self.points.at(rows + 1), elapsed_s, span_s)

    def _held(self, count: int) -> JointState:
        return _at_zero_rates(self.points.at(-1)).each(lambda values: np.tile(values, (count, 1)))


def _at_zero_rates(state: JointState) -> JointState:
    """The state as it is, with zeros for rates that it lacks."""
    zeros = np.zeros_like(state.position_rad)
    velocity, acceleration = state.velocity_rad_s, state.acceleration_rad_s2
    return JointState(state.position_rad, zeros if velocity is None else velocity,
                      zeros if acceleration is None else acceleration)


def interpolate(a: JointState, b: JointState, elapsed_s: Floats, span_s: Floats) -> JointState:
    """States (k, n) between points a and b (k, n), `elapsed_s` (k,) after a, of segments `span_s` (k,) long.

    Linear where a velocity is missing at either point, cubic with velocities, quintic with accelerations too
    (`Trajectory::interpolate_between_points`).
    """
    t, span = elapsed_s[:, None], span_s[:, None]
    p0, p1 = a.position_rad, b.position_rad
    v0, v1 = a.velocity_rad_s, b.velocity_rad_s
    a0, a1 = a.acceleration_rad_s2, b.acceleration_rad_s2
    if v0 is None or v1 is None:
        slope = (p1 - p0) / span
        return JointState(p0 + t * slope, slope, np.zeros_like(p0))
    if a0 is None or a1 is None:
        c2 = (3 * (p1 - p0) - (2 * v0 + v1) * span) / span**2
        c3 = (-2 * (p1 - p0) + (v0 + v1) * span) / span**3
        return _polynomial((p0, v0, c2, c3), t)
    d = p1 - p0
    c3 = (20 * d - (8 * v1 + 12 * v0) * span - (3 * a0 - a1) * span**2) / (2 * span**3)
    c4 = (-30 * d + (14 * v1 + 16 * v0) * span + (3 * a0 - 2 * a1) * span**2) / (2 * span**4)
    c5 = (12 * d - 6 * (v0 + v1) * span - (a0 - a1) * span**2) / (2 * span**5)
    return _polynomial((p0, v0, a0 / 2, c3, c4, c5), t)


def _polynomial(coefficients: tuple[Floats, ...], t: Floats) -> JointState:
    """Value and first two derivatives of sum c_i t^i by Horner's rule."""
    value, first, second = (np.zeros_like(coefficients[0]) for _ in range(3))
    for c in reversed(coefficients):
        second = second * t + 2 * first
        first = first * t + value
        value = value * t + c
    return JointState(value, first, second)
