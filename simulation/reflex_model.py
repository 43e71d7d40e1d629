"""What makes a Franka stop: the manufacturer's limits on commanded set-points, measured joints and contacts.

It knows nothing of the code that moves the arm; the tables are its own.
Source: Franka Emika, "Robot and interface specifications" of the Panda, and the error names of libfranka.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CYCLE_S = 0.001
Q_LOWER_RAD = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
Q_UPPER_RAD = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
DQ_MAX_RAD_S = np.array([2.1750, 2.1750, 2.1750, 2.1750, 2.6100, 2.6100, 2.6100])
DDQ_MAX_RAD_S2 = np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0])
DDDQ_MAX_RAD_S3 = np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0])
CONTACT_FORCE_N = 30.0
# Differences of float64 set-points 1 ms apart: third differences are off by about 1e-6.
_ROUNDING = 1e-4

POSITION = "joint_position_limits_violation"
COMMANDED_POSITION = "joint_motion_generator_position_limits_violation"
VELOCITY = "joint_motion_generator_velocity_limits_violation"
ACCELERATION = "joint_motion_generator_velocity_discontinuity"
JERK = "joint_motion_generator_acceleration_discontinuity"
NOT_FINITE = "motion_generator_set_point_not_finite"
CONTACT = "cartesian_reflex"
CONTROLLER_LOST = "communication_constraints_violation"


class ReflexModel:
    """Watches an arm of seven joints; the first violation is kept as `reason` until a new model is made."""

    def __init__(self, q_rad: FloatArray) -> None:
        """Start at rest at q_rad (7,)."""
        self.reason: str | None = None
        # The last three set-points, from which the first differences of the next batch are taken.
        self._history_rad = np.tile(np.asarray(q_rad, dtype=np.float64), (3, 1))

    def check(self, setpoints_rad: FloatArray) -> tuple[int, str | None]:
        """How many of the set-points (n, 7), one per ms, keep all limits, and why the next one does not.

        The reason is latched only by `stop`, when time reaches that set-point.
        """
        positions = np.vstack([self._history_rad, setpoints_rad])
        velocity = np.diff(positions, axis=0) / CYCLE_S
        acceleration = np.diff(velocity, axis=0) / CYCLE_S
        jerk = np.diff(acceleration, axis=0) / CYCLE_S
        broken = {
            NOT_FINITE: ~np.isfinite(setpoints_rad),
            COMMANDED_POSITION: (setpoints_rad < Q_LOWER_RAD) | (setpoints_rad > Q_UPPER_RAD),
            VELOCITY: np.abs(velocity[2:]) > DQ_MAX_RAD_S + _ROUNDING,
            ACCELERATION: np.abs(acceleration[1:]) > DDQ_MAX_RAD_S2 + _ROUNDING,
            JERK: np.abs(jerk) > DDDQ_MAX_RAD_S3 + _ROUNDING,
        }
        accepted, why = len(setpoints_rad), None
        for reason, joints in broken.items():
            cycles = np.flatnonzero(joints.any(axis=1))
            if len(cycles) and cycles[0] < accepted:
                accepted = int(cycles[0])
                why = f"{reason} (joint {int(np.flatnonzero(joints[accepted])[0]) + 1})"
        self._history_rad = positions[accepted : accepted + 3]
        return accepted, why

    def stop(self, reason: str) -> None:
        """Latch a reason; the first one stays."""
        if self.reason is None:
            self.reason = reason

    def observe(self, q_rad: FloatArray, contact_force_n: float) -> None:
        """Look at the measured joints (7,) and the summed contact force of arm and spoon with their surroundings."""
        outside = (q_rad < Q_LOWER_RAD) | (q_rad > Q_UPPER_RAD)
        if outside.any():
            self.stop(f"{POSITION} (joint {int(np.flatnonzero(outside)[0]) + 1})")
        elif contact_force_n > CONTACT_FORCE_N:
            self.stop(f"{CONTACT} ({contact_force_n:.0f} N)")
