"""The comparison of two ways of joining chunks: what is counted, and what straight lines between way points cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.benchmarks.quality import BASELINE, _demonstrated_jerk, _straight_jerk, measure_quality, summary, table
from app.evaluation import Evaluation
from ladle.errors import ConfigError
from simulation.reflex_model import ReflexModel
from simulation.smoothness import JerkMeter


def evaluation(*scenes: tuple[bool, float, float]) -> Evaluation:
    """Scenes as (succeeded, duration in s, jerk); homing took 3 s."""
    rows: list[dict[str, Any]] = [{"succeeded": ok, "duration_s": duration_s, "homing_s": 3.0, "jerk_rms_rad_s3": jerk}
                                  for ok, duration_s, jerk in scenes]
    return Evaluation("checkpoint", tuple(rows), None)


def test_only_scenes_that_both_solve_are_compared() -> None:
    """A scene that one of them ends early by failing would flatter it."""
    ours = evaluation((True, 11.0, 3.0), (False, 4.0, 90.0), (True, 13.0, 4.0))
    baseline = evaluation((True, 19.0, 6.0), (True, 21.0, 8.0), (True, 27.0, 8.0))
    found = summary("replace", ours, baseline)
    assert (found["scenes"], found["solved_by_both"]) == (3, 2)
    assert (found["replace"]["successes"], found[BASELINE]["successes"]) == (2, 3)
    assert found["task_time_ratio"] == pytest.approx((8.0 + 10.0) / (16.0 + 24.0))
    assert found["scene_time_ratio"] == pytest.approx(24.0 / 46.0)
    assert found["jerk_ratio"] == pytest.approx(0.5)
    assert "2 of 3 scenes" in table(found)


def test_nothing_solved_gives_no_ratio() -> None:
    """And a table that can be printed."""
    found = summary("replace", evaluation((False, 5.0, 1.0)), evaluation((True, 9.0, 1.0)))
    assert found["task_time_ratio"] is None
    assert "0 of 1 scenes" in table(found)


def test_the_baseline_is_not_compared_with_itself(tmp_path: Path) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigError, match="is the baseline itself"):
        measure_quality(tmp_path, tmp_path, scenes=1, first_scene=0, chunking=BASELINE)


def test_straight_lines_jerk_far_more_and_end_in_a_reflex() -> None:
    """A slow sine of 0.1 rad, sampled ten times a second: what a robot does with the corners."""
    times_s = np.arange(1000.0, 1010.0, 0.001)
    path = np.tile(0.1 * np.sin(2.0 * np.pi * 0.3 * (times_s - 1000.0))[:, None], (1, 7))
    smooth = JerkMeter()
    smooth.add(path)
    scene = {"index": 0, "homing_s": 2.0, "duration_s": 9.0}
    assert _straight_jerk(scene, times_s, path, 0.1) > 1000.0 * smooth.rms_rad_s3
    corners_s = np.arange(0.0, 5.0, 0.1)
    straight = np.interp(np.arange(0.0, 4.9, 0.001), corners_s, path[:5000:100, 0])
    home_rad = np.array([0.0, -0.7, 0.0, -2.3, 0.0, 1.6, 0.8])
    accepted, reflex = ReflexModel(home_rad).check(home_rad + straight[:, None])
    assert reflex is not None
    assert accepted < 300


def test_the_demonstrator_moves_smoothly_at_its_own_pace() -> None:
    """It is the measure of what can be asked for: far smoother than corners, and not at rest."""
    assert 0.1 < _demonstrated_jerk(1003) < 5.0
