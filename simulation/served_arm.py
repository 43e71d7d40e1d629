"""The process of the arm: physics, puree and reflexes, advanced by set-points and never by the wall clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulation.judge import Judge
from simulation.scene_sampling import SceneConfig
from simulation.served_process import serve
from simulation.served_state import ArmReport, ArmState
from simulation.world import RenderState, ScoopWorld

Floats = NDArray[np.float64]


class ServedArm:
    """The operations of the process."""

    def __init__(self) -> None:
        self._world: ScoopWorld | None = None

    def reset(self, scene: SceneConfig, judge: Judge | None = None) -> ArmState:
        """A new scene at its start pose, at rest."""
        self._world = ScoopWorld(scene, judge)
        return _state(self._world)

    def advance(self, setpoints_rad: Floats, looks: Sequence[tuple[int, bool]]) -> ArmReport:
        """Follow set-points (n, 7), 1 ms each, and report the states that sensors see.

        Args:
            looks: (cycles from now, whether a camera looks) in increasing order, each in 0..n.
        """
        assert self._world is not None, "reset() first"
        done = 0
        states: list[ArmState] = []
        views: list[RenderState | None] = []
        for cycle, camera_looks in looks:
            if cycle > done:
                self._world.step(setpoints_rad[done:cycle])
                done = cycle
            states.append(_state(self._world))
            views.append(self._world.render_state() if camera_looks else None)
        if done < len(setpoints_rad):
            self._world.step(setpoints_rad[done:])
        return ArmReport(states, views, _state(self._world))


def _state(world: ScoopWorld) -> ArmState:
    return ArmState(world.time_s, world.q_rad, world.dq_rad_s, world.tau_nm, float(world.mass_g), int(world.stage),
                    world.reflex, bool(world.delivered), bool(world.succeeded))


def main() -> None:
    """Serve until the simulator is gone."""
    arm = ServedArm()
    serve({"reset": arm.reset, "advance": arm.advance})


if __name__ == "__main__":
    main()
