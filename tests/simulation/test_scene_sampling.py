"""Scenes come from seeds, and the two splits share none."""

from __future__ import annotations

import numpy as np
import pytest

from simulation.scene_sampling import BOWL_NOMINAL_XY_M, sample_scene


def test_equal_seeds_give_equal_scenes() -> None:
    """A scene can be drawn again from its seed alone."""
    assert sample_scene(5, "train") == sample_scene(5, "train")
    assert sample_scene(5).generator(1, 2).random() == sample_scene(5).generator(1, 2).random()


def test_splits_are_disjoint() -> None:
    """No evaluation scene appears among the training scenes."""
    train = {sample_scene(seed, "train").bowl_xy_m for seed in range(200)}
    evaluation = {sample_scene(seed, "eval").bowl_xy_m for seed in range(200)}
    assert len(train) == len(evaluation) == 200
    assert not train & evaluation


def test_scenes_fill_the_declared_ranges() -> None:
    """Bowls lie within 8 cm, fills within 30 to 100 %, starts within 5 cm and 15 degrees, and use the range."""
    scenes = [sample_scene(seed) for seed in range(300)]
    bowls = np.array([scene.bowl_xy_m for scene in scenes]) - BOWL_NOMINAL_XY_M
    fills = np.array([scene.fill for scene in scenes])
    offsets = np.array([scene.start_offset_m for scene in scenes])
    turns = np.linalg.norm([scene.start_rotation_rad for scene in scenes], axis=1)
    assert 0.075 < np.abs(bowls).max() <= 0.08
    assert 0.3 <= fills.min() < 0.32
    assert 0.98 < fills.max() <= 1.0
    assert 0.045 < np.abs(offsets).max() <= 0.05
    assert 0.2 < turns.max() <= np.deg2rad(15.0)
    assert all(scene.light_direction[2] < -0.7 for scene in scenes)


def test_an_unknown_split_is_refused() -> None:
    """A misspelt split does not silently become another stream."""
    with pytest.raises(KeyError):
        sample_scene(0, "test")  # type: ignore[arg-type]
