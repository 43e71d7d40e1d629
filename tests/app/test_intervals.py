"""Confidence intervals, and the figures of an evaluation that carry them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.evaluation import Evaluation
from app.evaluation_pusht import one_line, summary
from app.intervals import bootstrap_interval, wilson
from training.env_runner import Rollouts


def test_the_interval_is_wilsons():
    """Against the formula: (p + z²/2n ± z sqrt(p q / n + z²/4n²)) / (1 + z²/n)."""
    n, k, z = 100, 97, 1.959964
    share, spread = k / n, z**2 / n
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    wanted = [(share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)]
    assert wilson(k, n) == pytest.approx(wanted, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_interval_holds_the_mean(values: list[float]):
    """Between the smallest and the largest value, the mean inside."""
    low, high = bootstrap_interval(np.array(values))
    assert min(values) - 1e-4 <= low <= np.mean(values) + 1e-4
    assert np.mean(values) - 1e-4 <= high <= max(values) + 1e-4


@pytest.mark.parametrize(("succeeded", "interval"), [(0, [0.0, 0.6576]), (2, [0.3424, 1.0])])
def test_none_or_all_of_two_is_no_certainty(succeeded: int, interval: list[float]):
    """Push-T and scooping alike give the success rate Wilson's interval, in the log and in the line for the user."""
    successes = np.arange(2) < succeeded
    rollouts = Rollouts(np.array([1, 2]), np.array([0.5, 0.6]), successes)
    assert summary(rollouts)["success_rate_interval"] == interval
    assert f"({100 * interval[0]:.0f} to {100 * interval[1]:.0f}) of 2 episodes" in one_line(rollouts, Path("out"))
    scenes = tuple({"seed": seed, "succeeded": bool(good), "wall_s": 1.0, "reflex": ""}
                   for seed, good in enumerate(successes))
    found = Evaluation("checkpoint", scenes, None)
    assert (found.as_json()["rate_interval"], found.as_json()["confidence"]) == (interval, 0.95)
    assert found.one_line() == (f"{succeeded} of 2 scenes (95 % interval {interval[0]:.0%} to {interval[1]:.0%})")


def test_the_bootstrap_interval_holds_95_of_100_resampled_means():
    """Of many values it is the normal approximation: mean ± 1.96 s / sqrt(n)."""
    values = np.linspace(0, 1, 50)
    half = 1.96 * values.std() / math.sqrt(50)
    assert bootstrap_interval(values) == pytest.approx([0.5 - half, 0.5 + half], abs=5e-3)


def test_every_figure_is_of_all_episodes():
    """Scores and successes are not mixed up, and each episode counts once."""
    scores = np.array([0.1, 0.2, 0.9, 0.8, 0.5])
    rollouts = Rollouts(np.arange(5), scores, np.array([False, False, True, True, False]))
    found = summary(rollouts)
    assert (found["success_rate"], found["success_rate_interval"]) == (0.4, wilson(2, 5))
    assert (found["mean_score"], found["mean_score_interval"]) == (pytest.approx(0.5), bootstrap_interval(scores))
    assert rollouts.summary() == {"rollout_score": pytest.approx(0.5), "rollout_success": 0.4}
