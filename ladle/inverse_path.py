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
    damped_step,
    rotation_error,
)
from ladle.pose import quaternion_to_matrix

Array = NDArray[np.float64]

ROUNDS = 5


def inverse_path(chain: KinematicChain, poses: Array, seed_rad: Array, posture_rad: Array) -> Array | None:
    """(m, n) joints for poses (m, 7), on the seed's branch; None where point by point may do better.

    `KinematicChain.inverse` for one pose after the other, each seeded by the one before, takes a first step from the
    seed, with the drift in the null space, and then refines. Here the first steps follow one another, and all points
    are refined together: the tip is at each pose within the same tolerances, and the joints differ from those of point
    by point only by what the null space moves during a refinement.

    Returns:
        None if a joint comes to its limit or beyond, a step would have to be shortened, a pose is not finite, or the
        refinement has not ended after ROUNDS: the caller then goes point by point.
    """
    if not (np.all(np.isfinite(poses)) and np.all(np.isfinite(seed_rad))):
        return None
    rotations = quaternion_to_matrix(poses[:, 3:])
    guesses = _first_steps(chain, poses[:, :3], rotations, seed_rad, posture_rad)
    return None if guesses is None else _refined(chain, poses[:, :3], rotations, guesses)


def _first_steps(chain: KinematicChain, positions: Array, rotations: Array, seed: Array, posture: Array) -> Array | None:
    guesses: Array = np.empty((len(positions), chain.n_joints))
    error: Array = np.empty(6)
    q = seed
    for row, (position, rotation) in enumerate(zip(positions, rotations, strict=True)):
        tip, jacobian = chain.tip_and_jacobian(q)
        error[:3] = position - tip[:3, 3]
        error[3:] = rotation_error(rotation @ tip[:3, :3].T)
        step = damped_step(jacobian, error, NULL_SPACE_GAIN * (posture - q))
        q = guesses[row] = q + step
        if np.abs(step).max() > MAX_STEP_RAD or not _is_free(chain, q):
            return None
    return guesses


def _refined(chain: KinematicChain, positions: Array, rotations: Array, guesses: Array) -> Array | None:
    """Gauss-Newton on all points; a step of one does not depend on the others'."""
    q = guesses
    for _ in range(ROUNDS):
        tips, jacobians = chain.tip_and_jacobian(q)
        turned = rotations @ tips[:, :3, :3].transpose(0, 2, 1)
        if np.trace(turned, axis1=1, axis2=2).min() <= 1.0:
            return None  # a right angle away or more: no refinement any more
        errors: Array = np.concatenate([positions - tips[:, :3, 3], _small_rotation_errors(turned)], axis=1)
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


def _small_rotation_errors(matrices: Array) -> Array:
    """(m, 3) rotation vectors of matrices (m, 3, 3) that turn by less than a right angle."""
    skew: Array = np.stack([matrices[:, 2, 1] - matrices[:, 1, 2], matrices[:, 0, 2] - matrices[:, 2, 0],
                            matrices[:, 1, 0] - matrices[:, 0, 1]], axis=1)
    sine = 0.5 * np.sqrt(np.sum(skew * skew, axis=1))
    # The arcsine over the sine tends to 1.
    scale = np.where(sine > 1e-6, np.arcsin(np.minimum(sine, 1.0)) / np.where(sine > 1e-6, sine, 1.0), 1.0)
    return 0.5 * skew * scale[:, None]
