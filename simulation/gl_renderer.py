"""Renders with MuJoCo's OpenGL through EGL or OSMesa; without antialiasing and shadows, which cost most on a CPU."""

# MuJoCo is a compiled module without type stubs.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false
from __future__ import annotations

import ctypes.util
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from ladle.errors import SimulationError
from simulation.drawing import HEIGHT_PX, MAX_DEPTH_M, WIDTH_PX, ColorImage, DrawnScene


class GlRenderer:
    """Owns an OpenGL context: use it in the thread that made it, and close it."""

    def __init__(self, drawn: DrawnScene, library: Literal["egl", "osmesa"]) -> None:
        """Raises SimulationError when the library is missing or gives no context."""
        self._drawn = drawn
        self._gl: Any = _gl_context(library)
        try:
            self._gl.make_current()
            self._context = mujoco.MjrContext(drawn.model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        except Exception as error:
            self._gl.free()
            raise SimulationError(f"{library} gives no OpenGL context ({error}): use backend 'rays'") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(drawn.model, maxgeom=200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION,
                     mujoco.mjtRndFlag.mjRND_SKYBOX, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag.value] = 0
        self._option, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, WIDTH_PX, HEIGHT_PX)
        self._rgb = np.zeros((HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
        self._buffer = np.zeros((HEIGHT_PX, WIDTH_PX), dtype=np.float32)

    def draw(self, camera: str) -> tuple[ColorImage, NDArray[np.float64]]:
        """RGB (H, W, 3) and distance along the optical axis (H, W) of the drawn scene's present state."""
        model, data = self._drawn.model, self._drawn.data
        self._gl.make_current()
        mujoco.mjr_uploadHField(model, self._context, self._drawn.hfield)
        self._view.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(model, data, self._option, None, self._view,
                               mujoco.mjtCatBit.mjCAT_ALL.value, self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._buffer, self._rect, self._context)
        return np.flipud(self._rgb).copy(), self._metres(np.flipud(self._buffer))

    def close(self) -> None:
        """Free the context."""
        self._context.free()
        self._gl.free()

    def _metres(self, buffer: NDArray[np.float32]) -> NDArray[np.float64]:
        """Invert OpenGL's depth mapping, in which the near plane is 1 and the far plane 0."""
        extent, clip = self._drawn.model.stat.extent, self._drawn.model.vis.map
        near, far = clip.znear * extent, clip.zfar * extent
        depth = near * far / (near + buffer.astype(np.float64) * (far - near))
        return np.where(buffer <= 0.0, MAX_DEPTH_M, depth)


def _gl_context(library: Literal["egl", "osmesa"]) -> Any:
    # PyOpenGL settles on a platform at its first import: asking for one that is not there would spoil the other.
    if ctypes.util.find_library({"egl": "EGL", "osmesa": "OSMesa"}[library]) is None:
        raise SimulationError(f"{library} is not installed: use backend 'rays', which needs no graphics library")
    try:
        if library == "egl":
            from mujoco.egl import GLContext
        else:
            from mujoco.osmesa import GLContext
        return GLContext(WIDTH_PX, HEIGHT_PX)
    except Exception as error:  # each driver fails in its own way: missing library, no device, no extension
        raise SimulationError(f"{library} cannot render here ({' '.join(str(error).split())[:200]}): "
                              "use backend 'rays', which needs no graphics library") from error
