"""Inverse kinematics of the simulated arm, by damped least squares on MuJoCo's Jacobian."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ladle.errors import SimulationError
from simulation import geometry as g
from simulation.scene_sampling import SceneConfig

FloatArray = NDArray[np.float64]

HAND_DOWN = Rotation.from_quat([1.0, 0.0, 0.0, 0.0])
_DAMPING = 1e-3
_POSTURE_GAIN = 0.05
_MAX_STEP_RAD = 0.3
_TOLERANCE = 1e-6


def start_pose(scene: SceneConfig) -> tuple[FloatArray, Rotation]:
    """Where the tip starts in a scene: position (3,) and rotation in the base frame."""
    position = g.home_position_m() + np.asarray(scene.start_offset_m)
    return position, Rotation.from_rotvec(scene.start_rotation_rad) * HAND_DOWN


class ArmIk:
    """Solves for the joints that bring panda_hand to a pose; keeps a scratch state, so one for each thread."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._hand = model.body(g.TIP_BODY).id
        self._jacobian = np.zeros((6, model.nv))

    def solve(self, position_m: FloatArray, rotation: Rotation, seed_rad: FloatArray) -> FloatArray:
        """Joints (7,) near the seed (7,).

        Raises:
            SimulationError: the pose is out of reach.
        """
        q = np.array(seed_rad, dtype=np.float64)
        for _ in range(200):
            error = self._pose_error(q, position_m, rotation)
            if np.abs(error).max() < _TOLERANCE:
                return q
            jacobian = self._jacobian
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6))
            move = inverse @ error
            move += (np.eye(7) - inverse @ jacobian) @ (g.home_posture_rad() - q) * _POSTURE_GAIN
            q += move * min(1.0, _MAX_STEP_RAD / max(float(np.abs(move).max()), 1e-12))
        raise SimulationError(f"the simulated arm cannot bring panda_hand to {np.round(position_m, 3)} m, "
                              f"{np.round(rotation.as_quat(), 3)} xyzw: choose a pose nearer to the base")

    def _pose_error(self, q: FloatArray, position_m: FloatArray, rotation: Rotation) -> FloatArray:
        self._data.qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacBody(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._hand)
        reached = Rotation.from_matrix(self._data.xmat[self._hand].reshape(3, 3))
        return np.concatenate([position_m - self._data.xpos[self._hand], (rotation * reached.inv()).as_rotvec()])
