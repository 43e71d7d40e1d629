"""The arm's physics: seven joints under a computed-torque servo, in cycles of 1 ms, stopped by its reflexes."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from simulation import geometry as g
from simulation.reflex_model import CYCLE_S, DDDQ_MAX_RAD_S3, DDQ_MAX_RAD_S2, ReflexModel

FloatArray = NDArray[np.float64]

# Critically damped, so that the arm lags its set-points by accelerations only: 2 mm at the Panda's limits.
SERVO_KP_S2, SERVO_KD_S = 3600.0, 120.0
# Effort limits of the URDF.
TORQUE_LIMIT_NM = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])
# Also what one cycle's jerk can end, so that braking does not have to fade out.
BRAKE_RAD_S2 = 0.5 * DDQ_MAX_RAD_S2


class SimulatedArm:
    """Follows one joint set-point a cycle; after a reflex it brakes and stays where it comes to rest."""

    def __init__(self, model: mujoco.MjModel, q_rad: FloatArray) -> None:
        """At rest at q_rad (7,)."""
        self.model, self.data = model, mujoco.MjData(model)
        self.data.qpos[:] = q_rad
        mujoco.mj_forward(model, self.data)
        self.hand = model.body(g.TIP_BODY).id
        self.reflex = ReflexModel(q_rad)
        self.torque_nm = self.data.qfrc_bias.copy()
        self._stand()
        self._applied = np.zeros(7)
        self._wrench = np.zeros(6)

    @property
    def setpoint_rad(self) -> FloatArray:
        """(7,) what the servo is at: the controller's set-point, or the arm's own while it brakes."""
        return self._setpoint.copy()

    def follow(self, setpoint_rad: FloatArray) -> None:
        """Take a set-point (7,) for this cycle."""
        velocity = (setpoint_rad - self._setpoint) / CYCLE_S
        self._setpoint_acceleration = (velocity - self._setpoint_velocity) / CYCLE_S
        self._setpoint, self._setpoint_velocity = setpoint_rad, velocity

    def brake(self) -> None:
        """Slow the set-point down towards rest for this cycle, within the arm's own limits of acceleration and jerk."""
        wanted = np.clip(-self._setpoint_velocity / CYCLE_S, -BRAKE_RAD_S2, BRAKE_RAD_S2)
        change = np.clip(wanted - self._setpoint_acceleration, -DDDQ_MAX_RAD_S3 * CYCLE_S, DDDQ_MAX_RAD_S3 * CYCLE_S)
        self._setpoint_acceleration = self._setpoint_acceleration + change
        self._setpoint_velocity = self._setpoint_velocity + self._setpoint_acceleration * CYCLE_S
        self._setpoint = self._setpoint + self._setpoint_velocity * CYCLE_S

    def recover(self) -> None:
        """Forget the reflex and stand where the arm is."""
        self.reflex = ReflexModel(self.data.qpos)
        self._stand()

    def advance(self) -> None:
        """One cycle of physics, then a look at joints and contacts."""
        data = self.data
        mujoco.mj_step1(self.model, data)
        wanted = SERVO_KP_S2 * (self._setpoint - data.qpos) + SERVO_KD_S * (self._setpoint_velocity - data.qvel)
        mujoco.mj_mulM(self.model, data, self._applied, wanted)
        torque = self._applied + data.qfrc_bias
        self.torque_nm = np.minimum(np.maximum(torque, -TORQUE_LIMIT_NM), TORQUE_LIMIT_NM)
        data.qfrc_applied[:] = self.torque_nm
        mujoco.mj_step2(self.model, data)
        was_running = self.reflex.reason is None
        self.reflex.observe(data.qpos, self._contact_force_n())
        if was_running and self.reflex.reason is not None:
            # Pressing on towards an old set-point would drive the arm deeper into what it touched.
            self._setpoint, self._setpoint_velocity = data.qpos.copy(), 0.5 * data.qvel
            self._setpoint_acceleration = np.zeros(7)

    def _stand(self) -> None:
        self._setpoint, self._setpoint_velocity = self.data.qpos.copy(), np.zeros(7)
        self._setpoint_acceleration = np.zeros(7)

    def _contact_force_n(self) -> float:
        """Sum of the contacts' normal forces; only pairs of arm and surroundings can touch."""
        total = 0.0
        for contact in range(self.data.ncon):
            mujoco.mj_contactForce(self.model, self.data, contact, self._wrench)
            total += float(self._wrench[0])
        return total
