"""Way points -> a smooth motion: quintic B-spline, least squares of position error and jerk.

The start state (position, velocity, acceleration) and rest at the end hold exactly; the first three and the last
three coefficients of a clamped spline are those states, so no constraint is left to the solver.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.trajectory import NODE_MS, JointState, JointTrajectory, to_ms

Array = NDArray[np.float64]

DEGREE = 5
KNOT_MS = 2 * NODE_MS  # knots lie on nodes, so the quintics between nodes are the spline itself


class _Basis(NamedTuple):
    """What depends only on the number of knot spans; C coefficients."""

    knots: Array     # (C + 6,) seconds from the start
    nodes: Array     # (3, n, C) position, velocity, acceleration at the nodes
    jerk: Array      # (C, C) integral of jerk squared


def fit_motion(start: JointState, times_s: Array, q_rad: Array, tail_s: float, cutoff_hz: float,
               spacing_s: float) -> JointTrajectory:
    """A motion from the start state along the way points to rest.

    A smoothing spline with a jerk penalty passes motion below the cut-off frequency and fades what is above
    by the sixth power of the frequency (Craven and Wahba, 1979, for the equivalent filter).

    Args:
        start: state at the first node; its time must be on the millisecond grid.
        times_s: (m,) after start.time_s; may be empty, then the arm only brakes.
        q_rad: (m, J) way points.
        tail_s: time from the last way point (or the start) to rest; rounded up to whole knots.
        cutoff_hz: motion faster than this in the way points counts as noise.
        spacing_s: usual time between way points; the weight of one point.
    """
    last_s = float(times_s[-1]) if len(times_s) else start.time_s
    spans = max(math.ceil(((last_s - start.time_s + tail_s) * 1000.0 - 1e-6) / KNOT_MS), 6)
    basis = _basis(spans)
    design = basis_values(basis.knots, DEGREE, times_s - start.time_s)
    weight = spacing_s * (2.0 * math.pi * cutoff_hz) ** 6
    hessian = weight * (design.T @ design) + basis.jerk
    first = _first_coefficients(basis, start)
    gradient = weight * (design.T @ q_rad) - hessian[:, :3] @ first
    # Rest at the end: the last three coefficients are one unknown.
    reduced = _tied(_tied(hessian[3:, 3:]).T)
    free = np.linalg.solve(reduced, _tied(gradient[3:]))
    coefficients = np.concatenate([first, free, np.repeat(free[-1:], 2, axis=0)])
    states = basis.nodes @ coefficients
    states[:, 0] = start.q_rad, start.dq_rad_s, start.ddq_rad_s2
    states[1:, -1] = 0.0
    start_ms = to_ms(start.time_s)
    times = (start_ms + NODE_MS * np.arange(states.shape[1])) / 1000.0
    return JointTrajectory(times, states[0], states[1], states[2])


def _first_coefficients(basis: _Basis, start: JointState) -> Array:
    """(3, J): the coefficients that give the start state."""
    state: Array = np.stack([start.q_rad, start.dq_rad_s, start.ddq_rad_s2])
    return np.asarray(np.linalg.solve(basis.nodes[:, 0, :3], state), dtype=np.float64)


def _tied(rows: Array) -> Array:
    """Sum the last three rows into one."""
    return np.concatenate([rows[:-3], rows[-3:].sum(axis=0, keepdims=True)])


@lru_cache(maxsize=128)
def _basis(spans: int) -> _Basis:
    step_s = KNOT_MS / 1000.0
    inner: Array = np.arange(spans + 1, dtype=np.float64) * step_s
    knots: Array = np.concatenate([np.zeros(DEGREE), inner, np.full(DEGREE, inner[-1])])
    at: Array = np.arange(spans * KNOT_MS // NODE_MS + 1, dtype=np.float64) * (NODE_MS / 1000.0)
    nodes = np.stack([_derivative(knots, order, at) for order in range(3)])
    points, weights = np.polynomial.legendre.leggauss(3)
    gauss: Array = (inner[:-1, None] + 0.5 * step_s * (points + 1.0)).ravel()
    jerk = _derivative(knots, 3, gauss)
    scaled: Array = jerk * np.tile(0.5 * step_s * weights, spans)[:, None]
    return _Basis(knots, nodes, scaled.T @ jerk)


def _derivative(knots: Array, order: int, at: Array) -> Array:
    """(m, C) values of the order-th derivative of each quintic basis function."""
    n = len(knots) - DEGREE - 1
    transform, degree = np.eye(n), DEGREE
    for _ in range(order):
        width: Array = knots[degree + 1:degree + len(transform)] - knots[1:len(transform)]
        transform = degree * np.diff(transform, axis=0) / width[:, None]
        knots, degree = knots[1:-1], degree - 1
    return basis_values(knots, degree, at) @ transform


def basis_values(knots: Array, degree: int, at: Array) -> Array:
    """(m, C) values of the B-spline basis at m instants (de Boor's recursion, 0 / 0 = 0)."""
    last = len(knots) - degree - 2
    span = np.clip(np.searchsorted(knots, at, side="right") - 1, degree, last)
    values = np.zeros((len(at), len(knots) - degree - 1))
    local, column = np.ones((len(at), 1)), at[:, None]
    for k in range(1, degree + 1):
        right, left = knots[span[:, None] + np.arange(1, k + 1)], knots[span[:, None] + np.arange(1 - k, 1)]
        share = local / (right - left)
        local = np.zeros((len(at), k + 1))
        local[:, 1:] = (column - left) * share
        local[:, :-1] += (right - column) * share
    values[np.arange(len(at))[:, None], span[:, None] + np.arange(-degree, 1)] = local
    return values
