"""How fast a joint of a Franka Research 3 may turn: the nearer to its end stop, the slower.

Source: Franka Robotics, "Robot and interface specifications", "Limits for Franka Research 3"
(https://frankarobotics.github.io/docs/robot_specifications.html), as implemented by libfranka's
`computeUpperLimitsJointVelocity` and `computeLowerLimitsJointVelocity` (include/franka/rate_limiting.h). The square
root is the speed from which a constant deceleration still stops before the end of the range.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_JOINTS = 7
PEAK_RAD_S = np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26])
OFFSET_RAD_S = np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35])
SLOPE_RAD_S2 = np.array([12.0, 5.17, 7.00, 8.00, 34.0, 11.0, 34.0])
UPPER_END_RAD = np.array([2.75010, 1.79180, 2.90650, -0.1458, 2.81010, 4.52050, 3.01960])
LOWER_END_RAD = np.array([-2.75010, -1.79180, -2.90650, -3.0481, -2.81010, 0.54092, -3.01960])
TOLERANCE_RAD_S = 1e-3  # libfranka's kLimitEps, for numerical errors


class VelocityBounds(NamedTuple):
    """Per sample and joint, (m, J) rad/s: lower <= dq <= upper."""

    lower_rad_s: Array
    upper_rad_s: Array


def velocity_bounds(q_rad: Array) -> VelocityBounds:
    """Bounds at joint positions (m, 7); where the formula leaves no speed towards an end, the bound there is 0."""
    return VelocityBounds(-_towards(q_rad - LOWER_END_RAD), _towards(UPPER_END_RAD - q_rad))


def _towards(left_rad: Array) -> Array:
    """Largest speed towards an end that is left_rad away."""
    speed = np.sqrt(np.maximum(SLOPE_RAD_S2 * left_rad, 0.0)) - OFFSET_RAD_S
    return np.maximum(np.clip(speed, 0.0, PEAK_RAD_S) - TOLERANCE_RAD_S, 0.0)
