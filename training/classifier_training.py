"""The stage classifier: one fit per held-out fold, whose predictions the policy trains on, then one on everything."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ladle.atomic import replace_file
from ladle.errors import CheckpointError
from ladle.hysteresis import filter_stages
from ladle.replay_buffer import ReplayBuffer
from ladle.task import TaskConfig, load_task, task_text
from training.batch import usable_device
from training.checkpoint import CONFIG, TASK, Checkpoint, file_sha256, open_checkpoint
from training.classifier_loading import CALIBRATION, TEMPERATURE, load_classifier, refuse_other_stages
from training.classifier_report import report
from training.dataset import (
    Steps,
    WindowBatches,
    data_fingerprint,
    load_labels,
    load_steps,
    reads_pose,
    refuse_other_data,
)
from training.loop import Run, fit, threads
from training.out_of_memory import named_out_of_memory
from training.policy import StageClassifier
from training.resume import refuse_used_folder
from training.schema import ClassifierConfig, config_text
from training.windows import at_most, fold_of_episode, index_windows

log = logging.getLogger(__name__)

HELD_OUT = "held_out.safetensors"
REPORT = "classifier_report.json"
LOGITS_BATCH = 256


def train_stage_classifier(config: ClassifierConfig, folder: Path) -> Path:
    """Fit the folds, write the report and the held-out predictions, fit on everything.

    Returns:
        folder of the last checkpoint; beside `ema.safetensors` the run's folder holds classifier_report.json.
    """
    usable_device(config.training.device)
    if not config.training.resume:
        refuse_used_folder(folder)  # before its report is replaced
    with named_out_of_memory(config_text(config), config.training.precision):
        return _train(config, folder)


def _train(config: ClassifierConfig, folder: Path) -> Path:
    task = load_task(config.task.name)
    buffer = ReplayBuffer.open(config.task.dataset_path)
    refuse_other_data(buffer, task, reads_pose(config.observations, None))
    labels = load_labels(buffer, task)
    steps = load_steps(buffer, config.observations, None, data=config.data).with_stages(labels)
    assert task.stages is not None
    folds = fold_of_episode(steps.n_episodes, config.classifier.n_folds, config.training.seed)
    logits = np.zeros((steps.n_steps, len(task.stages.names)), np.float32)
    for fold in range(config.classifier.n_folds):
        held_out = folds == fold
        path = _fit(config, task, steps, ~held_out, folder / "folds" / str(fold))
        rows = steps.episode_mask_to_steps(held_out)
        with threads(config.training.threads):
            logits[rows] = stage_logits(load_classifier(open_checkpoint(path, "classifier")), steps, rows)
    folder.mkdir(parents=True, exist_ok=True)
    content = report(labels, logits, steps.episode_ends, folds, task.stages.hysteresis_ticks,
                     buffer.meta.get("episodes"), task.stages.names)
    with replace_file(folder / REPORT) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    _tell(content)
    calibration = json.dumps(content["calibration"], indent=2) + "\n"
    return _fit(config, task, steps, np.ones(steps.n_episodes, bool), folder, {CALIBRATION: calibration},
                {"held_out": _write_held_out(folder, logits, steps.fingerprint)})


def stage_logits(classifier: StageClassifier, steps: Steps, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Logits of steps: rows (N,) mask with M true -> (M, n_stages)."""
    batches = _windows(steps, classifier.n_frames, LOGITS_BATCH).chunks(np.flatnonzero(rows))
    device = classifier.class_weights.device
    return np.concatenate([classifier.logits(batch.to(device)).cpu().numpy() for batch in batches])


def held_out_stages(checkpoint: Checkpoint, task: TaskConfig, buffer: ReplayBuffer, device: str) -> NDArray[np.int64]:
    """(N,) stages of a replay buffer after hysteresis, as the robot would have held them.

    On the data that the classifier was trained with they come from its held-out folds, on other data from itself.
    """
    refuse_other_stages(checkpoint, task)
    assert task.stages is not None
    path = checkpoint.folder / "held_out" / HELD_OUT
    if path.is_file() and checkpoint.meta["fingerprint"] == data_fingerprint(buffer):
        if file_sha256(path) != (path.parent / "sha256.txt").read_text().strip():
            raise CheckpointError(f"{path} is damaged: its SHA-256 differs; copy the checkpoint again")
        logits = load_file(path)["logits"]
    else:
        log.warning("the classifier %s was trained on other data: its own predictions are used", checkpoint.folder)
        config = checkpoint.config(ClassifierConfig)
        steps = load_steps(buffer, config.observations, None, data=config.data)
        classifier = load_classifier(checkpoint, device)
        logits = stage_logits(classifier, steps, np.ones(steps.n_steps, bool))
    decisions = np.split(logits.argmax(axis=1), buffer.episode_ends[:-1])
    return np.concatenate([filter_stages(part, task.stages.hysteresis_ticks) for part in decisions])


def _windows(steps: Steps, n_frames: int, batch_size: int, seed: int = 0,
             episodes: NDArray[np.bool_] | None = None) -> WindowBatches:
    """One window for each step, in order, that ends there; an episode's first frame repeats before it."""
    index = index_windows(steps.episode_ends, n_frames, n_frames - 1, 0, episodes)
    return WindowBatches(steps, index, n_frames, n_frames, batch_size, seed)


def _fit(config: ClassifierConfig, task: TaskConfig, steps: Steps, episodes: NDArray[np.bool_], folder: Path,
         texts: Mapping[str, str] = MappingProxyType({}), copies: Mapping[str, Path] = MappingProxyType({})) -> Path:
    episodes = at_most(episodes, config.training.max_train_episodes, config.training.seed)
    batches = _windows(steps, config.classifier.n_frames, config.training.batch_size, config.training.seed, episodes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        classifier = StageClassifier(config, task)
    rows = steps.episode_mask_to_steps(episodes)
    classifier.encoder.fit_normalizers({key: values[rows] for key, values in steps.low_dim.items()})
    if config.classifier.class_weights:
        assert steps.stages is not None
        counts = np.bincount(steps.stages[rows], minlength=len(classifier.class_weights))
        weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        classifier.class_weights.copy_(torch.from_numpy(weights))
    return fit(classifier, batches, None, Run(
        folder=folder, kind="classifier", training=config.training, logging=config.logging, ema=config.ema,
        texts={CONFIG: config_text(config), TASK: task_text(task), **texts}, fingerprint=steps.fingerprint,
        copies=copies))


def _tell(content: Mapping[str, Any]) -> None:
    log.info("held-out folds: macro F1 %.3f, %.0f %% of the stage changes within 2 ticks", content["macro_f1"],
             100 * content["share_within_2_ticks"])
    for name, scores in content["stages"].items():
        log.info("stage %s: precision %s, recall %s, F1 %s of %d frames", name,
                 *("-" if scores[what] is None else f"{scores[what]:.3f}" for what in ("precision", "recall", "f1")),
                 scores["support"])
    found = content["calibration"]
    log.info("temperature %.2f: confidence is off by %.3f (%.3f without), log loss %.3f (%.3f without)",
             found[TEMPERATURE], found["expected_calibration_error"],
             found["expected_calibration_error_uncalibrated"], found["log_loss"], found["log_loss_uncalibrated"])


def _write_held_out(folder: Path, logits: NDArray[np.float32], fingerprint: str) -> Path:
    target = folder / "held_out"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    save_file({"logits": logits}, target / HELD_OUT, metadata={"fingerprint": fingerprint})
    (target / "sha256.txt").write_text(file_sha256(target / HELD_OUT) + "\n")
    return target
