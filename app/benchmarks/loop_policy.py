"""The policy of `ladle bench loop`: it answers at once and moves the arm, for a standing one would cost less."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import load_task
from ladle_nodes.policies import HoldPolicy, PolicyRecipe

Array = NDArray[np.float64]

AMPLITUDE_M, FREQUENCY_HZ = 0.05, 0.3  # at most 0.094 m/s; demonstrations stay below 0.2 m/s
SWELL_S = 2.0  # the sway grows from nothing


class SwayPolicy(HoldPolicy):
    """Moves the tip to and fro along y about the pose of the first decision; reads all cameras, two frames of each."""

    n_obs_steps = 2

    def __init__(self, cameras: tuple[str, ...], period_s: float) -> None:
        super().__init__(cameras, period_s)
        self._begun_s: float | None = None

    def reset(self, seed: int) -> None:
        """Sway about the next pose that is seen."""
        super().reset(seed)
        self._begun_s = None

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """One motion, whenever it is asked."""
        held = super().predict(window)
        if self._begun_s is None:
            self._begun_s = window.time_s
        since_s = held.times_s - self._begun_s
        return ActionChunk(held.observation_time_s, held.times_s, {"pose": swayed(held.parts["pose"], since_s)})


def swayed(poses: Array, since_s: Array) -> Array:
    """Poses (m, 7) moved to where the sway has come, so long (m,) after it began."""
    moved = poses.copy()
    moved[:, 1] += (AMPLITUDE_M * np.clip(since_s / SWELL_S, 0.0, 1.0)
                    * np.sin(2.0 * math.pi * FREQUENCY_HZ * since_s))
    return moved


def from_json(text: str) -> SwayPolicy:
    """The policy of a recipe, which names the task."""
    task = load_task(PolicyRecipe.from_json(text).task)
    return SwayPolicy(tuple(task.extracted_cameras), task.period_s)
