"""Inverse kinematics for a path of poses at once: what solving point by point gives, in a fraction of the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.kinematics import (
    MAX_STEP_RAD,
    NULL_SPACE_GAIN,
    POSITION_TOLERANCE_M,
    ROTATION_TOLERANCE_RAD,
    KinematicChain,
)
from ladle.pose import quaternion_to_matrix

Array = NDArray[np.float64]

ROUNDS = 6
BLOCK = 4  # poses that are first stepped to with one Jacobian


def inverse_path(chain: KinematicChain, poses: Array, seed_rad: Array, posture_rad: Array) -> Array | None:
    """(m, n) joints for poses (m, 7), on the seed's branch; None where point by point may do better.

    `KinematicChain.inverse` for one pose after the other, each seeded by the one before, takes a first step from the
    seed, with the drift in the null space, and then refines. Here the first steps follow one another, and all points
    are refined together: the tip is at each pose within the same tolerances, and the joints differ from those of point
    by point only by how they have moved in the null space, to second order of the steps.

    Returns:
        None if a joint comes to its limit or beyond, a step would have to be shortened, a pose is not finite, or the
        refinement has not ended after ROUNDS: the caller then goes point by point.
    """
    if not (np.all(np.isfinite(poses)) and np.all(np.isfinite(seed_rad))):
        return None
    rotations = quaternion_to_matrix(poses[:, 3:])
    guesses = _first_steps(chain, poses[:, :3], rotations, seed_rad, posture_rad)
    return None if guesses is None else _refined(chain, poses[:, :3], rotations, guesses)


def _first_steps(chain: KinematicChain, positions: Array, rotations: Array, seed: Array,
                 posture: Array) -> Array | None:
    """(m, n): steps to BLOCK poses from the last one before them, of one Jacobian; each drifts as often as in turn."""
    guesses: Array = np.empty((len(positions), chain.n_joints))
    left = (1.0 - NULL_SPACE_GAIN) ** np.arange(1, BLOCK + 1)
    q = seed
    for first in range(0, len(positions), BLOCK):
        rows = slice(first, first + BLOCK)
        tip, jacobian = chain.tip_and_jacobian(q)
        errors = _errors(positions[rows], rotations[rows], tip)
        if errors is None:
            return None
        drifts = (1.0 - left[:len(errors), None]) * (posture - q)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += 1e-9 + 0.02 * float(np.sum(errors * errors, axis=1).max())
        steps = drifts + np.linalg.solve(gram, (errors - drifts @ jacobian.T).T).T @ jacobian
        guesses[rows] = q + steps
        q = guesses[rows][-1]
        if np.abs(steps).max() > MAX_STEP_RAD or not _is_free(chain, guesses[rows]):
            return None
    return guesses


def _refined(chain: KinematicChain, positions: Array, rotations: Array, guesses: Array) -> Array | None:
    """Gauss-Newton on all points; a step of one does not depend on the others'."""
    q = guesses
    for _ in range(ROUNDS):
        tips, jacobians = chain.tip_and_jacobian(q)
        errors = _errors(positions, rotations, tips)
        if errors is None:
            return None
        if (np.abs(errors[:, :3]).max() < POSITION_TOLERANCE_M
                and np.abs(errors[:, 3:]).max() < ROTATION_TOLERANCE_RAD):
            return q
        transposed = jacobians.transpose(0, 2, 1)
        grams = jacobians @ transposed
        damping = 1e-9 + 0.02 * np.sum(errors * errors, axis=1)
        grams[:, range(6), range(6)] += damping[:, None]
        q = q + (transposed @ np.linalg.solve(grams, errors[..., None]))[..., 0]
        if not _is_free(chain, q):
            return None
    return None


def _is_free(chain: KinematicChain, q: Array) -> bool:
    """Whether all joints are inside their limits."""
    return bool(np.all(q > chain.lower_rad) and np.all(q < chain.upper_rad))


def _errors(positions: Array, rotations: Array, tips: Array) -> Array | None:
    """(m, 6) metres and rotation vectors from tips (m or 1, 4, 4) to the poses; None for a right angle or more."""
    matrices = rotations @ np.swapaxes(tips[..., :3, :3], -1, -2)
    if (matrices[:, 0, 0] + matrices[:, 1, 1] + matrices[:, 2, 2]).min() <= 1.0:
        return None
    errors: Array = np.empty((len(positions), 6))
    errors[:, :3] = positions - tips[..., :3, 3]
    skew = errors[:, 3:]
    skew[:, 0] = matrices[:, 2, 1] - matrices[:, 1, 2]
    skew[:, 1] = matrices[:, 0, 2] - matrices[:, 2, 0]
    skew[:, 2] = matrices[:, 1, 0] - matrices[:, 0, 1]
    sine = 0.5 * np.sqrt(np.sum(skew * skew, axis=1))
    # The angle over its sine tends to 1.
    scale = np.where(sine > 1e-6, np.arcsin(np.minimum(sine, 1.0)) / np.maximum(sine, 1e-6), 1.0)
    skew *= 0.5 * scale[:, None]
    return errors
