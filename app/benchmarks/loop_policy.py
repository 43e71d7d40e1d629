"""The policy of `ladle bench loop`: it answers at once and moves the arm, as a standing one would cost less."""

from __future__ import annotations

import math

import numpy as np

from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import load_task
from ladle_nodes.policies import HoldPolicy, PolicyRecipe

AMPLITUDE_M = 0.02  # the measured arm stands still; so much is no following error yet
FREQUENCY_HZ = 0.3


class SwayPolicy(HoldPolicy):
    """Moves the tip to and fro along y about the pose of the first decision; reads all cameras, two frames of each."""

    n_obs_steps = 2

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """One smooth motion, whenever it is asked; it begins at rest."""
        held = super().predict(window)
        poses = np.array(held.parts["pose"])
        phase = 2.0 * math.pi * FREQUENCY_HZ * held.times_s
        poses[:, 1] += AMPLITUDE_M * np.sin(phase)
        return ActionChunk(held.observation_time_s, held.times_s, {"pose": poses})


def from_json(text: str) -> SwayPolicy:
    """The policy of a recipe, which names the task."""
    task = load_task(PolicyRecipe.from_json(text).task)
    return SwayPolicy(tuple(task.extracted_cameras), task.period_s)
