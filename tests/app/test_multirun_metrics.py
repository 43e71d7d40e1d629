"""Metrics over seeds, against an example that was computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.multirun_metrics import RESULT_NAME, aggregate, metrics_from_arguments, run_metrics
from ladle.errors import ConfigError


def write_log(folder: Path, scores: list[float], losses: list[float], key: str = "rollout_score") -> None:
    """A run of two steps an evaluation, whose losses have the given mean."""
    folder.mkdir(parents=True)
    rows = []
    for number, (score, loss) in enumerate(zip(scores, losses, strict=True)):
        rows += [{"step": 2 * number, "train_loss": loss + 0.5},
                 {"step": 2 * number + 1, "train_loss": loss - 0.5, key: score}]
    (folder / "logs.json.txt").write_text("".join(json.dumps(row) + "\n" for row in rows))


# Twelve evaluations; the two with the greatest loss (evaluations 3 and 4) are not among the ten least.
SCORES = [0.1, 0.2, 0.9, 0.4, 0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.5, 0.6]
LOSSES = [3.0, 2.9, 9.0, 8.0, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]


def test_figures_of_a_run_are_those_computed_by_hand(tmp_path: Path):
    """max 0.9; last ten 5.7 / 10; without 0.9 and 0.4 the least losses leave 4.7 / 10."""
    write_log(tmp_path / "seed_42", SCORES, LOSSES)
    (group,) = aggregate([tmp_path])
    run = group.runs["seed_42"]
    assert run.evaluations == 12
    assert run.values == pytest.approx({"max": 0.9, "mean_last_10": 0.57, "k_min_train_loss": 0.47})
    assert group.over_runs()["max"] == (pytest.approx(0.9), None)


def test_the_loss_of_an_evaluation_is_the_mean_since_the_one_before():
    """The second evaluation has the least last loss but not the least mean; eleven evaluations drop one."""
    rows = [{"step": step, "train_loss": 1.0, "rollout_score": 0.0} for step in range(10)]
    rows += [{"step": 10, "train_loss": 50.0}, {"step": 11, "train_loss": 0.0, "rollout_score": 1.0}]
    assert run_metrics(rows, "rollout_score").values["k_min_train_loss"] == 0.0


def test_seeds_are_put_together_with_their_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Means 0.6 and deviation 0.1414 of 0.5 and 0.7; the table says it, and the JSON too."""
    for seed, score in ((42, 0.5), (43, 0.7)):
        write_log(tmp_path / f"seed_{seed}", [score, score - 0.2], [1.0, 2.0])
    metrics_from_arguments(["--input", str(tmp_path), "--key", "test/mean_score"])
    assert "0.6 ± 0.14" in capsys.readouterr().out
    (group,) = json.loads((tmp_path / RESULT_NAME).read_text())["groups"]
    assert group["runs"]["seed_43"] == pytest.approx({"evaluations": 2, "max": 0.7, "mean_last_10": 0.6,
                                                      "k_min_train_loss": 0.6})
    assert group["over_runs"]["max"] == pytest.approx({"mean": 0.6, "std": 0.1414213562})


def test_of_an_error_the_least_is_the_best(tmp_path: Path):
    """And settings of a sweep stay apart."""
    write_log(tmp_path / "lr=1" / "seed_42", [0.3, 0.1, 0.2], [1.0, 1.0, 1.0], "val_action_error")
    write_log(tmp_path / "lr=2" / "seed_42", [0.5], [1.0], "val_action_error")
    first, second = aggregate([tmp_path])
    assert (first.folder.name, first.runs["seed_42"].values["min"]) == ("lr=1", 0.1)
    assert (second.folder.name, second.runs["seed_42"].values["min"]) == ("lr=2", 0.5)


def test_runs_without_the_metric_are_named(tmp_path: Path):
    """What there is instead is said."""
    with pytest.raises(ConfigError, match=r"no logs\.json\.txt under"):
        aggregate([tmp_path])
    write_log(tmp_path / "seed_1", [0.1], [1.0])
    with pytest.raises(ConfigError, match="seed_1 has no 'val_loss' in its log; it has rollout_score, step"):
        aggregate([tmp_path], "val_loss")
