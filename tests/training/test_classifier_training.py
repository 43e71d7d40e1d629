"""The stage classifier: held-out folds, report, and the stages that a policy trains on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ladle.errors import CheckpointError, ConfigError, LabelError
from ladle.hysteresis import filter_stages
from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_from_text, task_text
from training import classifier_training
from training.calibration import softmax
from training.checkpoint import open_checkpoint
from training.classifier_loading import CALIBRATION, load_classifier
from training.classifier_report import macro_f1, report, stage_changes, stage_scores
from training.classifier_training import held_out_stages, stage_logits
from training.dataset import WindowBatches, load_steps
from training.loop import Run
from training.policy import StageClassifier
from training.schema import ClassifierConfig
from training.stage_estimator import StageEstimator
from training.train_classifier import run


def test_the_folds_find_the_stages(tiny_classifier: Path):
    """On the made-up data, where a square's place is the stage, held-out frames are decided rightly."""
    content = json.loads((tiny_classifier / "classifier_report.json").read_text())
    assert content["macro_f1"] > 0.9
    assert content["share_within_2_ticks"] >= 0.75
    assert [change["episode"] for change in content["changes"]] == [0, 0, 1, 1, 3, 3, 4, 4], "the episodes' own numbers"
    assert sorted(content["fold_of_episode"].values()) == [0, 0, 1, 1]


def test_a_fresh_start_in_a_used_folder_is_refused_before_any_fold(scoop_buffer: Path, tmp_path: Path):
    """The folds would otherwise be fitted, and the report replaced, before the last fit is refused."""
    (tmp_path / "checkpoints" / "epoch=0001").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds the checkpoints of a run, and training\.resume=false"):
        run([f"task.dataset_path={scoop_buffer}", f"training.output_dir={tmp_path}", "training.resume=false"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_policy_training_sees_the_held_out_predictions(tiny_classifier: Path, scoop_buffer: Path):
    """The stages are those of the stored held-out logits after hysteresis, episode by episode."""
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
        writer.append_episode({key: np.asarray(buffer[key][buffer.episode_slice(1)]) for key in buffer.keys()})  # noqa: SIM118
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
    never = report(labels, np.tile(np.array([1, 0], np.float32), (10, 1)), ends, np.array([0]), 1)
    assert (never["missed_changes"], never["extra_changes"], never["share_within_2_ticks"]) == (1, 0, 0.0)
    flicker = np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 0, 1, 1, 0, 1, 1]]
    assert report(labels, flicker, ends, np.array([0]), 1)["extra_changes"] == 4
    assert report(labels, flicker, ends, np.array([0]), 2)["extra_changes"] == 0


def test_macro_f1_is_the_mean_over_the_stages_that_occur():
    """By hand: stage 0 has 2/2.5 = 0.8, stage 1 has 2/3; stage 2 does not occur."""
    labels, decided = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])
    assert macro_f1(labels, decided, 3) == pytest.approx((0.8 + 2 / 3) / 2)


def test_the_report_names_the_stages_and_what_was_measured(tiny_classifier: Path):
    """By the task's names, with the labelled frames of all episodes, and the temperature of the checkpoint."""
    content = json.loads((tiny_classifier / "classifier_report.json").read_text())
    stages = load_task("scoop").stages
    assert stages is not None
    assert tuple(content["stages"]) == stages.names
    assert sum(scores["support"] for scores in content["stages"].values()) == 24 + 26 + 28 + 30
    checkpoint = open_checkpoint(tiny_classifier, "classifier")
    assert load_classifier(checkpoint).temperature == content["calibration"]["temperature"] != 1.0


def test_a_checkpoint_from_before_calibration_has_temperature_one(tiny_classifier: Path):
    """It still loads."""
    checkpoint = open_checkpoint(tiny_classifier, "classifier")
    sums = {name: value for name, value in checkpoint.meta["sha256"].items() if name != CALIBRATION}
    assert load_classifier(replace(checkpoint, meta={**checkpoint.meta, "sha256": sums})).temperature == 1.0


def test_precision_recall_and_support_by_hand():
    """Of three frames of a two are found, and one of b is taken for a; c is neither there nor decided."""
    scores = stage_scores(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1]), ("a", "b", "c"))
    assert scores["a"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert scores["b"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert scores["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}


LINE = "name: line\nrate_hz: 10\nstages: {names: [left, right]}"


def line_classifier(tmp_path: Path, episodes: list[dict[str, NDArray[np.float32]]], *overrides: str) -> Path:
    """Run folder of a classifier that reads one number a step."""
    task = tmp_path / "line.yaml"
    task.write_text(LINE)
    with ReplayBufferWriter(tmp_path / "line.zarr", {"task": LINE}) as writer:
        for episode in episodes:
            writer.append_episode(episode)
    run(["observations.images=[]", "observations.low_dim=[{key: x, kind: vector, shape: [1]}]", f"task.name={task}",
         f"task.dataset_path={tmp_path / 'line.zarr'}", f"training.output_dir={tmp_path / 'out'}",
         "training.threads=1", "classifier.n_folds=2", "training.max_steps=150", "training.checkpoint_every=150",
         "training.learning_rate=0.01", *overrides])
    return tmp_path / "out"


def swinging(seed: int) -> dict[str, NDArray[np.float32]]:
    """A number that goes up (1) and down (0) with a random phase: where it is does not say where it goes."""
    phase = np.random.default_rng(seed).uniform(0, 20)
    ticks = np.floor(np.arange(60) + phase)
    x = np.abs((ticks % 20) - 10)
    up = np.diff(x, prepend=x[0] - (1 if ticks[0] % 20 >= 11 else -1)) > 0
    return {"x": x[:, None].astype(np.float32), "label": up[:, None].astype(np.float32)}


@pytest.mark.parametrize(("n_frames", "low", "high"), [(1, 0.0, 0.7), (3, 0.9, 1.0)])
def test_several_frames_see_which_way_it_goes(n_frames: int, low: float, high: float, tmp_path: Path):
    """A single one cannot."""
    folder = line_classifier(tmp_path, [swinging(seed) for seed in range(6)], f"classifier.n_frames={n_frames}")
    found = json.loads((folder / "classifier_report.json").read_text())["macro_f1"]
    assert low <= found <= high


def test_the_robot_decides_with_frames_of_earlier_windows_as_training_did(tmp_path: Path):
    """Two-frame windows, a classifier of three: tick by tick the probabilities of training, gaps forget."""
    folder = line_classifier(tmp_path, [swinging(seed) for seed in range(4)], "classifier.n_frames=3",
                             "training.max_steps=20", "training.checkpoint_every=20")
    task, checkpoint = task_from_text(LINE), open_checkpoint(folder, "classifier")
    classifier = load_classifier(checkpoint)
    buffer = ReplayBuffer.open(tmp_path / "line.zarr")
    config = checkpoint.config(ClassifierConfig)
    steps = load_steps(buffer, config.observations, None)
    wanted = softmax(stage_logits(classifier, steps, np.ones(steps.n_steps, bool)), classifier.temperature)

    def ask(estimator: StageEstimator, tick: int) -> NDArray[np.float64]:
        ticks = np.array([max(0, tick - 1), tick])
        return estimator.update(ObservationWindow(0.1 * tick, 0.1 * ticks, {"x": np.asarray(buffer["x"][ticks])}),
                                False)[1]

    estimator, fresh = (StageEstimator.from_checkpoint(folder, task, "cpu") for _ in range(2))
    found = np.stack([ask(estimator, tick) for tick in range(30)])
    assert np.allclose(found, wanted[:30], atol=1e-5)
    assert np.allclose(ask(estimator, 55), ask(fresh, 55), atol=1e-6), "after a gap"
    assert np.allclose(ask(estimator, 56), wanted[56], atol=1e-5)


def rare(seed: int) -> dict[str, NDArray[np.float32]]:
    """Nineteen of twenty are `left`; the two stages overlap."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.arange(20) == 10, 10)
    x = rng.normal(np.where(label, 1.0, -1.0), 1.0)
    return {"x": x[:, None].astype(np.float32), "label": label[:, None].astype(np.float32)}


def test_class_weights_find_the_rare_stage(tmp_path: Path):
    """Optimal without them is to say `left` until x is 1.5; with them, until 0."""
    recall: dict[str, float] = {}
    for weights in ("false", "true"):
        (tmp_path / weights).mkdir()
        folder = line_classifier(tmp_path / weights, [rare(seed) for seed in range(4)],
                                 f"classifier.class_weights={weights}")
        content = json.loads((folder / "classifier_report.json").read_text())
        recall[weights] = content["stages"]["right"]["recall"]
    assert recall["true"] > recall["false"] + 0.2
    assert recall["true"] > 0.7


def test_no_fold_learns_from_the_episodes_it_is_judged_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither windows nor limits know them, the kept logits are of the fold that did not; the last fit knows all."""
    fits: list[tuple[set[int], NDArray[np.float32]]] = []
    fit = classifier_training.fit

    def spy(module: StageClassifier, batches: WindowBatches, validate: None, plan: Run) -> Path:
        normalizer = module.encoder.low_dim["x"]
        limits = (np.array([-1, 1]) - normalizer.offset.numpy()) / normalizer.scale.numpy()
        fits.append((set(batches.index.episodes.tolist()), limits))
        return fit(module, batches, validate, plan)

    monkeypatch.setattr(classifier_training, "fit", spy)
    episodes = [{**swinging(number), "x": swinging(number)["x"] + 100 * number} for number in range(4)]
    folder = line_classifier(tmp_path, episodes, "training.max_steps=1", "training.checkpoint_every=1")
    folds = np.array(list(json.loads((folder / "classifier_report.json").read_text())["fold_of_episode"].values()))
    steps = load_steps(ReplayBuffer.open(tmp_path / "line.zarr"),
                       open_checkpoint(folder, "classifier").config(ClassifierConfig).observations, None)
    kept = load_file(open_checkpoint(folder, "classifier").folder / "held_out" / "held_out.safetensors")["logits"]
    wanted = [set(np.flatnonzero(folds != fold).tolist()) for fold in range(2)] + [{0, 1, 2, 3}]
    assert [found for found, _ in fits] == wanted
    for known, limits in fits:
        seen = np.concatenate([episodes[number]["x"] for number in known])
        np.testing.assert_allclose(limits, [seen.min(), seen.max()], atol=1e-2)
    for fold in range(2):
        rows = steps.episode_mask_to_steps(folds == fold)
        judge = load_classifier(open_checkpoint(folder / "folds" / str(fold), "classifier"))
        np.testing.assert_allclose(kept[rows], stage_logits(judge, steps, rows), atol=1e-5)
