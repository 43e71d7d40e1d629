"""What both renderers share: a model whose state is set from a RenderState, and the sensors' noise."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from simulation import geometry as g
from simulation.puree import CAPACITY_G
from simulation.scene import BLOB_NAME, HFIELD_NAME, apply_scene, build_model
from simulation.scene_sampling import SceneConfig
from simulation.world import RenderState

WIDTH_PX, HEIGHT_PX = 240, 120
DEPTH_SCALE_M = 0.0001
MAX_DEPTH_M = 4.0
_RGB_SIGMA = 3.0
# Stereo depth: the error grows with the square of the distance.
_DEPTH_SIGMA_AT_1_M = 0.004
_DROPOUT_RATE = 0.003
_NOISE_STREAM = 7
_CAMERA_STREAM = {"hand": 0, "front": 1}

ColorImage = NDArray[np.uint8]
DepthImage = NDArray[np.uint16]


class DrawnScene:
    """Model and data that follow render states."""

    def __init__(self, scene: SceneConfig) -> None:
        self.scene = scene
        self.model = build_model(scene)
        self.data = mujoco.MjData(self.model)
        self._blob = self.model.geom(BLOB_NAME).id
        self.hfield = self.model.hfield(HFIELD_NAME).id

    def set_scene(self, scene: SceneConfig) -> None:
        """Another scene in the same model."""
        self.scene = scene
        apply_scene(self.model, scene)

    def set_state(self, state: RenderState) -> None:
        """Take joints, surface and load from a state."""
        self.data.qpos[:] = state.q_rad
        self.model.hfield_data[:] = np.clip(state.puree_m.ravel() / g.BOWL_RIM_Z_M, 0.0, 1.0)
        self._set_blob(state.mass_g)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _set_blob(self, mass_g: float) -> None:
        """A mound in the cup, as tall and wide as the cube root of the load."""
        share = float(np.cbrt(np.clip(mass_g / CAPACITY_G, 0.0, 1.0)))
        size = np.maximum(np.array([0.95 * g.CUP_HALF_LENGTH_M, 0.95 * g.CUP_HALF_WIDTH_M, 0.014]) * share, 1e-4)
        self.model.geom_size[self._blob] = size
        self.model.geom_rbound[self._blob] = size.max()
        self.model.geom_aabb[self._blob, 3:] = size
        self.model.geom_rgba[self._blob, 3] = 1.0 if mass_g > 0.05 else 0.0
        self.model.geom_pos[self._blob] = g.CUP_CENTRE_M + 0.002 * g.CUP_NORMAL


def add_sensor_noise(rgb: ColorImage, depth_m: NDArray[np.floating], state: RenderState, scene: SceneConfig,
                     camera: str) -> tuple[ColorImage, DepthImage]:
    """Noise that depends only on scene, camera and time.

    Args:
        rgb: (H, W, 3); depth_m: (H, W) distance along the optical axis, anything over MAX_DEPTH_M is nothing.

    Returns:
        RGB (H, W, 3) and depth (H, W) in ticks of DEPTH_SCALE_M, 0 where there is no measurement.
    """
    random = scene.generator(_NOISE_STREAM, _CAMERA_STREAM[camera], round(state.time_s * 1000))
    noise = random.standard_normal((*rgb.shape[:2], 4), dtype=np.float32)
    noisy = np.clip(rgb + _RGB_SIGMA * noise[..., :3] + 0.5, 0.0, 255.0).astype(np.uint8)
    measured_m = depth_m + _DEPTH_SIGMA_AT_1_M * depth_m**2 * noise[..., 3]
    lost = (depth_m >= MAX_DEPTH_M) | (random.random(depth_m.shape, dtype=np.float32) < _DROPOUT_RATE)
    ticks = np.where(lost, 0.0, np.clip(measured_m / DEPTH_SCALE_M + 0.5, 0.0, 65535.0))
    return noisy, ticks.astype(np.uint16)
