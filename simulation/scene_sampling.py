"""What differs from scene to scene, drawn from a seed; training and evaluation never share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["train", "eval"]
Triple = tuple[float, float, float]

SPLIT_IDS: dict[str, int] = {"train": 1, "eval": 2}
BOWL_NOMINAL_XY_M = (0.56, 0.0)
BOWL_RANGE_M = 0.08
FILL_RANGE = (0.3, 1.0)
START_RANGE_M = 0.05
START_RANGE_RAD = float(np.deg2rad(15.0))
SWEEP_RANGE_M = (0.024, 0.034)


@dataclass(frozen=True)
class SceneConfig:
    """All random values of a scene.

    Attributes:
        bowl_xy_m: centre of the bowl in the base frame.
        fill: fraction of the bowl's depth that the puree fills.
        start_offset_m, start_rotation_rad: the tip's start pose against the home pose: a translation and a
            rotation vector, both in the base frame.
        sweep_m: how far the expert sweeps through the puree.
        light_direction: unit vector along which the light travels; light_diffuse and light_ambient: 0..1.
        table_rgb, bowl_rgb, puree_rgb: colours, 0..1 each.
    """

    seed: int
    split: Split
    bowl_xy_m: tuple[float, float]
    fill: float
    start_offset_m: Triple
    start_rotation_rad: Triple
    sweep_m: float
    light_direction: Triple
    light_diffuse: float
    light_ambient: float
    table_rgb: Triple
    bowl_rgb: Triple
    puree_rgb: Triple

    def generator(self, *stream: int) -> np.random.Generator:
        """Randomness of one purpose in this scene; the same stream numbers give the same values."""
        return np.random.default_rng(np.random.SeedSequence([SPLIT_IDS[self.split], self.seed, *stream]))


def sample_scene(seed: int, split: Split = "train") -> SceneConfig:
    """Draw a scene; equal arguments give equal scenes, different splits share no stream.

    Raises:
        KeyError: an unknown split.
    """
    random = np.random.default_rng(np.random.SeedSequence([SPLIT_IDS[split], seed]))
    bowl = np.asarray(BOWL_NOMINAL_XY_M) + random.uniform(-BOWL_RANGE_M, BOWL_RANGE_M, 2)
    axis = random.normal(size=3)
    rotation = axis / np.linalg.norm(axis) * random.uniform(0.0, START_RANGE_RAD)
    return SceneConfig(
        seed=seed,
        split=split,
        bowl_xy_m=(float(bowl[0]), float(bowl[1])),
        fill=float(random.uniform(*FILL_RANGE)),
        start_offset_m=_triple(random.uniform(-START_RANGE_M, START_RANGE_M, 3)),
        start_rotation_rad=_triple(rotation),
        sweep_m=float(random.uniform(*SWEEP_RANGE_M)),
        light_direction=_light_direction(random),
        light_diffuse=float(random.uniform(0.40, 0.65)),
        light_ambient=float(random.uniform(0.40, 0.55)),
        table_rgb=_triple(random.uniform([0.35, 0.28, 0.22], [0.65, 0.55, 0.5])),
        bowl_rgb=_triple(random.uniform([0.75, 0.78, 0.8], [1.0, 1.0, 1.0])),
        puree_rgb=_triple(random.uniform([0.75, 0.4, 0.05], [1.0, 0.65, 0.25])),
    )


def _triple(values: np.ndarray) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _light_direction(random: np.random.Generator) -> Triple:
    """From above, at most 45 degrees off the vertical."""
    azimuth, tilt = random.uniform(-np.pi, np.pi), random.uniform(0.0, np.pi / 4)
    return _triple(np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), -np.cos(tilt)]))
