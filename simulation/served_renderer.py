"""The process of the cameras: it draws the instants that the arm's process has been in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.renderer import Renderer
from simulation.scene_sampling import SceneConfig
from simulation.served_process import serve
from simulation.world import RenderState


class ServedRenderer:
    """The operations of the process."""

    def __init__(self) -> None:
        self._renderer: Renderer | None = None

    def reset(self, scene: SceneConfig, backend: Any) -> None:
        """Cameras for a new scene; the graphics context of the first one is kept."""
        if self._renderer is None:
            self._renderer = Renderer(scene, backend)
        else:
            self._renderer.set_scene(scene)

    def render(self, state: RenderState, camera: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """RGB (H, W, 3) and depth ticks (H, W)."""
        assert self._renderer is not None, "reset() first"
        return self._renderer.render(state, camera)

    def close(self) -> None:
        """Release the graphics context while its owner is alive; left to the interpreter's end it may crash."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def main() -> None:
    """Serve until the simulator is gone."""
    cameras = ServedRenderer()
    try:
        serve({"reset": cameras.reset, "render": cameras.render})
    finally:
        cameras.close()


if __name__ == "__main__":
    main()
