"""The stage classifier: held-out folds, report, and the stages that a policy trains on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import CheckpointError, LabelError
from ladle.hysteresis import filter_stages
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_from_text, task_text
from training.checkpoint import open_checkpoint
from training.classifier_report import macro_f1, report, stage_changes
from training.classifier_training import held_out_stages
from training.train_classifier import run


def test_the_folds_find_the_stages(tiny_classifier: Path):
    """On the made-up data, where a square's place is the stage, held-out frames are decided rightly."""
    content = json.loads((tiny_classifier / "classifier_report.json").read_text())
    assert content["macro_f1"] > 0.9
    assert content["share_within_2_ticks"] >= 0.75
    assert [change["episode"] for change in content["changes"]] == [0, 0, 1, 1, 3, 3, 4, 4], "the episodes' own numbers"
    assert sorted(content["fold_of_episode"].values()) == [0, 0, 1, 1]


def test_policy_training_sees_the_held_out_predictions(tiny_classifier: Path, scoop_buffer: Path):
    """The stages are those of the stored held-out logits after hysteresis, episode by episode."""
    from safetensors.numpy import load_file

    checkpoint, buffer = open_checkpoint(tiny_classifier, "classifier"), ReplayBuffer.open(scoop_buffer)
    stages = held_out_stages(checkpoint, load_task("scoop"), buffer, "cpu")
    logits = load_file(checkpoint.folder / "held_out" / "held_out.safetensors")["logits"]
    for number in range(buffer.n_episodes):
        rows = buffer.episode_slice(number)
        assert np.array_equal(stages[rows], filter_stages(logits[rows].argmax(axis=1), 2))


def test_other_data_is_judged_by_the_classifier_itself(tiny_classifier: Path, scoop_buffer: Path, tmp_path: Path,
                                                       caplog: pytest.LogCaptureFixture):
    """A buffer that it was not trained with has no held-out predictions, which is said."""
    buffer = ReplayBuffer.open(scoop_buffer)
    with ReplayBufferWriter(tmp_path / "other.zarr", {}) as writer:
        writer.append_episode({key: buffer[key][buffer.episode_slice(1)] for key in buffer.keys()})  # noqa: SIM118
    other = ReplayBuffer.open(tmp_path / "other.zarr")
    stages = held_out_stages(open_checkpoint(tiny_classifier, "classifier"), load_task("scoop"), other, "cpu")
    assert "trained on other data" in caplog.text
    assert np.mean(stages == other["label"][:, 0]) > 0.8


def test_a_classifier_for_other_stages_is_refused(tiny_classifier: Path, scoop_buffer: Path):
    """Stages are compared by name."""
    task = task_from_text("name: other\nrate_hz: 10\nstages: {names: [a, b]}")
    with pytest.raises(CheckpointError, match="task other has a, b"):
        held_out_stages(open_checkpoint(tiny_classifier, "classifier"), task, ReplayBuffer.open(scoop_buffer), "cpu")


@pytest.mark.parametrize(("label", "message"), [(None, "label the episodes with"), (5.0, "label 5.0 at step 2")])
def test_missing_and_unknown_labels_are_named(label: float | None, message: str, tmp_path: Path,
                                              tiny_classifier_overrides: list[str]):
    """Nothing is trained on them."""
    episode = {"eef": np.ones((4, 7), np.float32), "action": np.ones((4, 7), np.float32)}
    if label is not None:
        episode["label"] = np.array([[0], [1], [label], [1]], np.float32)
    with ReplayBufferWriter(tmp_path / "b.zarr", {"task": task_text(load_task("scoop"))}) as writer:
        writer.append_episode(episode)
    with pytest.raises(LabelError, match=message):
        run([*tiny_classifier_overrides, f"task.dataset_path={tmp_path / 'b.zarr'}",
             f"training.output_dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_changes_are_timed_against_the_nearest_found_one():
    """Late is positive, never found is None."""
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    held = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert [change["error_ticks"] for change in stage_changes(truth, held)] == [1, None]


def test_the_report_counts_missed_and_extra_changes():
    """A classifier that never leaves stage 0 misses every change; one that flickers is told so."""
    labels, ends = np.array([0] * 5 + [1] * 5), np.array([10])
    never = report(labels, np.tile(np.float32([1, 0]), (10, 1)), ends, np.array([0]), 1)
    assert (never["missed_changes"], never["extra_changes"], never["share_within_2_ticks"]) == (1, 0, 0.0)
    flicker = np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 0, 1, 1, 0, 1, 1]]
    assert report(labels, flicker, ends, np.array([0]), 1)["extra_changes"] == 4
    assert report(labels, flicker, ends, np.array([0]), 2)["extra_changes"] == 0


def test_macro_f1_is_the_mean_over_the_stages_that_occur():
    """By hand: stage 0 has 2/2.5 = 0.8, stage 1 has 2/3; stage 2 does not occur."""
    labels, decided = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert macro_f1(labels, decided, 3) == pytest.approx((0.8 + 2 / 3) / 2)
