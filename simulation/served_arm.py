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
        self._keeps_motion = False

    def reset(self, scene: SceneConfig, judge: Judge | None = None, keeps_motion: bool = False) -> ArmState:
        """A new scene at its start pose, at rest."""
        self._world, self._keeps_motion = ScoopWorld(scene, judge), keeps_motion
        return _state(self._world)

    def trip(self, reason: str) -> ArmState:
        """A reflex."""
        self._there.trip(reason)
        return _state(self._there)

    def take(self, mode: str) -> ArmState:
        """A person takes the arm."""
        self._there.take(mode)
        return _state(self._there)

    def recover(self) -> ArmState:
        """Ready for set-points again."""
        self._there.recover()
        return _state(self._there)

    def advance(self, setpoints_rad: Floats, looks: Sequence[tuple[int, bool]]) -> ArmReport:
        """Follow set-points (n, 7), 1 ms each, and report the states that sensors see.

        Args:
            looks: (cycles from now, whether a camera looks) in increasing order, each in 0..n.
        """
        world, motion = self._there, list[Floats]()
        done = 0
        states: list[ArmState] = []
        views: list[RenderState | None] = []
        for cycle, camera_looks in looks:
            if cycle > done:
                self._step(setpoints_rad[done:cycle], motion)
                done = cycle
            states.append(_state(world))
            views.append(world.render_state() if camera_looks else None)
        if done < len(setpoints_rad):
            self._step(setpoints_rad[done:], motion)
        return ArmReport(states, views, _state(world), np.array(motion) if self._keeps_motion else None)

    @property
    def _there(self) -> ScoopWorld:
        assert self._world is not None, "reset() first"
        return self._world

    def _step(self, setpoints_rad: Floats, motion: list[Floats]) -> None:
        world = self._there
        if not self._keeps_motion:
            world.step(setpoints_rad)
            return
        for setpoint_rad in setpoints_rad:
            world.step(setpoint_rad[None])
            motion.append(np.array([*world.setpoint_rad, *world.q_rad, *world.dq_rad_s, float(world.is_stopped)]))


def _state(world: ScoopWorld) -> ArmState:
    return ArmState(world.time_s, world.q_rad, world.dq_rad_s, world.tau_nm, float(world.mass_g), int(world.stage),
                    world.reflex, bool(world.delivered), bool(world.succeeded), world.taken_by)


def main() -> None:
    """Serve until the simulator is gone."""
    arm = ServedArm()
    serve({"reset": arm.reset, "advance": arm.advance, "trip": arm.trip, "take": arm.take, "recover": arm.recover})


if __name__ == "__main__":
    main()
