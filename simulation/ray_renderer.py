"""Renders with MuJoCo's ray caster and numpy shading: no graphics library is needed."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from simulation.drawing import HEIGHT_PX, MAX_DEPTH_M, WIDTH_PX, ColorImage, DrawnScene

FloatArray = NDArray[np.float64]


class RayRenderer:
    """One ray for each pixel, Lambert's law with one distant light and an ambient part."""

    def __init__(self, drawn: DrawnScene) -> None:
        self._drawn = drawn
        self._rays = {name: _pixel_rays(drawn.model, name) for name in ("hand", "front")}
        n = WIDTH_PX * HEIGHT_PX
        self._geom, self._distance = np.zeros(n, dtype=np.int32), np.zeros(n)
        self._normal = np.zeros((n, 3))

    def draw(self, camera: str) -> tuple[ColorImage, FloatArray]:
        """RGB (H, W, 3) and distance along the optical axis (H, W) of the drawn scene's present state."""
        model, data = self._drawn.model, self._drawn.data
        camera_id = model.camera(camera).id
        rays = self._rays[camera]
        in_world = rays @ data.cam_xmat[camera_id].reshape(3, 3).T
        mujoco.mj_multiRay(model, data, data.cam_xpos[camera_id], in_world.ravel(), None, True, -1, self._geom,
                           self._distance, self._normal.reshape(-1), len(rays), MAX_DEPTH_M)
        hit = self._geom >= 0
        rgb = np.where(hit[:, None], self._shade(in_world), 0.0)
        depth_m = np.where(hit, -self._distance * rays[:, 2], MAX_DEPTH_M)
        return ((255.0 * np.clip(rgb, 0.0, 1.0)).astype(np.uint8).reshape(HEIGHT_PX, WIDTH_PX, 3),
                depth_m.reshape(HEIGHT_PX, WIDTH_PX))

    def close(self) -> None:
        """Nothing to free; here so that renderers are interchangeable."""

    def _shade(self, rays: FloatArray) -> FloatArray:
        """(n, 3) rays in the world -> (n, 3) colours of what they hit."""
        scene = self._drawn.scene
        towards_light = -np.asarray(scene.light_direction)
        # A surface is seen from the side on which the ray comes, whatever way its normal points.
        facing = -np.sign(np.einsum("ij,ij->i", self._normal, rays))
        lambert = np.maximum(facing * (self._normal @ towards_light), 0.0)
        light = scene.light_ambient + scene.light_diffuse * lambert
        return self._drawn.model.geom_rgba[self._geom, :3] * light[:, None]


def _pixel_rays(model: mujoco.MjModel, camera: str) -> FloatArray:
    """(H * W, 3) unit rays in the camera's frame: x right, y up, looking along -z; row by row from the top."""
    half_height = np.tan(np.deg2rad(model.camera(camera).fovy[0]) / 2)
    rows = (1.0 - 2.0 * (np.arange(HEIGHT_PX) + 0.5) / HEIGHT_PX) * half_height
    columns = (2.0 * (np.arange(WIDTH_PX) + 0.5) / WIDTH_PX - 1.0) * half_height * WIDTH_PX / HEIGHT_PX
    y, x = np.meshgrid(rows, columns, indexing="ij")
    rays = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
