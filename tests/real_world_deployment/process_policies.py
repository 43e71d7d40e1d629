"""Policies for the process of their own: a factory of the text "kind [argument]"."""

from __future__ import annotations

import time

import numpy as np

from ladle.errors import CheckpointError
from ladle.policy import ActionChunk, ObservationWindow, RunningChunk


class EchoPolicy:
    """Answers with what it has seen: the images' mean, the seed and how many ticks it watched."""

    n_obs_steps, n_action_steps = 2, 8
    observation_keys = ("eef", "camera_1")
    start_poses = np.array([[0.45, 0.0, 1 / 3, 1.0, 0.0, 0.0, 0.0]])

    def __init__(self, kind: str, argument: float) -> None:
        self._kind, self._argument = kind, argument
        self._seed, self._watched = -1, 0

    def reset(self, seed: int) -> None:
        self._seed, self._watched = seed, 0

    def observe(self, window: ObservationWindow) -> None:
        self._watched += 1
        if self._kind == "blink":
            raise ValueError("cannot watch")

    def predict(self, window: ObservationWindow) -> ActionChunk:
        if self._kind == "slow":
            time.sleep(self._argument)
        if self._kind == "fail":
            raise ZeroDivisionError("the network is gone")
        pose = np.tile(np.asarray(window.streams["eef"][-1], np.float64), (15, 1))
        seen = np.array([[window.streams["camera_1"][i].mean() for i in range(2)]] * 15)
        told = np.full((15, 2), (self._seed, self._watched), np.float64)
        return ActionChunk(window.time_s, window.time_s + 0.1 * np.arange(1, 16), {
            "pose": pose, "seen": seen, "told": told}, stage=1, stage_probabilities=np.array([0.1, 0.9]))


class ContinuingEcho(EchoPolicy):
    """Continues a running chunk by sending it back, shifted by what is frozen of it."""

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        frozen = np.full((len(running.chunk.times_s), 1), running.frozen_until_s)
        return ActionChunk(window.time_s, running.chunk.times_s, {**running.chunk.parts, "frozen": frozen},
                           running.chunk.stage, running.chunk.stage_probabilities)


def make(text: str) -> EchoPolicy:
    """The factory."""
    kind, _, argument = text.partition(" ")
    if kind == "refuse":
        raise CheckpointError("checkpoint nowhere is damaged; copy it again")
    if kind == "broken":
        raise RuntimeError("a bug")
    return (ContinuingEcho if kind == "continue" else EchoPolicy)(kind, float(argument or 0))
