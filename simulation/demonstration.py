"""One demonstration: the expert acts in a scene, and the sensors look when their schedule says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.task import TaskConfig
from simulation import expert
from simulation.camera_clock import CYCLE_S, SensorEvent, SensorSchedule
from simulation.judge import Judge
from simulation.scene_sampling import SceneConfig
from simulation.wished_load import dip_for
from simulation.world import RenderState, ScoopWorld

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmReading:
    """What the arm's sensors say at one instant: (7,) each, the tip as metres and quaternion xyzw."""

    q_rad: Floats
    dq_rad_s: Floats
    tau_nm: Floats
    tip_pose: Floats


@dataclass(frozen=True)
class Look:
    """What a sensor event finds; `view` for cameras, `arm` for the joints."""

    event: SensorEvent
    stage: int
    arm: ArmReading | None = None
    view: RenderState | None = None


@dataclass(frozen=True)
class Demonstration:
    """A whole run, images not drawn yet: `looks` in capture order, the load at the end, and the judge's word."""

    scene: SceneConfig
    looks: list[Look]
    mass_g: float
    succeeded: bool
    reflex: str | None


def demonstrate(scene: SceneConfig, task: TaskConfig, wished_g: float | None = None) -> Demonstration:
    """Let the expert act once; asked for a mass it brings that one, else it fills the spoon.

    Raises:
        SimulationError: the expert cannot reach a way point of this scene, or cannot bring the wished mass.
    """
    if wished_g is None:
        setpoints, world = expert.plan(scene), ScoopWorld(scene)
    else:
        setpoints, world = expert.plan(scene, dip=dip_for(scene, wished_g)), ScoopWorld(scene, Judge.of_wish(wished_g))
    looks: list[Look] = []
    done = 0
    for event in SensorSchedule.for_scene(scene, task).events(len(setpoints) * CYCLE_S):
        cycle = round(event.capture_s / CYCLE_S)
        if cycle > done:
            world.step(setpoints[done:cycle])
            done = cycle
        looks.append(_look(world, event))
    if done < len(setpoints):
        world.step(setpoints[done:])
    return Demonstration(scene, looks, world.mass_g, world.succeeded, world.reflex)


def _look(world: ScoopWorld, event: SensorEvent) -> Look:
    if event.camera is not None:
        return Look(event, world.stage, view=world.render_state())
    return Look(event, world.stage, arm=ArmReading(world.q_rad, world.dq_rad_s, world.tau_nm, world.tip_pose))
