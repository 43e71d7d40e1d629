"""Camera images of a scene, from whichever renderer this machine offers."""

from __future__ import annotations

import logging
from typing import Literal

from ladle.errors import SimulationError
from simulation.drawing import ColorImage, DepthImage, DrawnScene, add_sensor_noise
from simulation.gl_renderer import GlRenderer
from simulation.ray_renderer import RayRenderer
from simulation.scene_sampling import SceneConfig
from simulation.world import RenderState

Backend = Literal["auto", "egl", "osmesa", "rays"]
Camera = Literal["hand", "front"]
BACKENDS = ("auto", "egl", "osmesa", "rays")

logger = logging.getLogger(__name__)


class Renderer:
    """Draws both cameras of a scene; use it in one thread and close it.

    Attributes:
        backend: the one in use, never "auto".
    """

    def __init__(self, scene: SceneConfig, backend: Backend = "auto") -> None:
        """Raises SimulationError when the asked backend is unknown or cannot render here."""
        if backend not in BACKENDS:
            raise SimulationError(f"no renderer named {backend!r}; choose one of {', '.join(BACKENDS)}")
        self._drawn = DrawnScene(scene)
        self.backend, self._drawer = _open(self._drawn, backend)

    def set_scene(self, scene: SceneConfig) -> None:
        """Go on with another scene; much cheaper than a new renderer."""
        self._drawn.set_scene(scene)

    def render(self, state: RenderState, camera: Camera) -> tuple[ColorImage, DepthImage]:
        """RGB (120, 240, 3) uint8 and depth (120, 240) uint16 in ticks of 0.1 mm, 0 where invalid; with noise.

        Equal scenes, cameras and states give equal images.
        """
        self._drawn.set_state(state)
        rgb, depth_m = self._drawer.draw(camera)
        return add_sensor_noise(rgb, depth_m, state, self._drawn.scene, camera)

    def close(self) -> None:
        """Free what the renderer holds."""
        self._drawer.close()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(drawn: DrawnScene, backend: Backend) -> tuple[str, GlRenderer | RayRenderer]:
    if backend == "rays":
        return backend, RayRenderer(drawn)
    if backend in ("egl", "osmesa"):
        return backend, GlRenderer(drawn, backend)
    for library in ("egl", "osmesa"):
        drawer = _opened_or_none(drawn, library)
        if drawer is not None:
            return library, drawer
    return "rays", RayRenderer(drawn)


def _opened_or_none(drawn: DrawnScene, library: Literal["egl", "osmesa"]) -> GlRenderer | None:
    try:
        return GlRenderer(drawn, library)
    except SimulationError as error:
        logger.debug("%s", error)
        return None
