"""Going on after a kill: what a checkpoint keeps for that, and what it refuses to be mixed with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor, nn

from ladle.errors import ConfigError
from ladle.task import task_text
from training.checkpoint import CONFIG, EMA, LATEST, META, TASK, TRAIN_STATE, Checkpoint, Kind, open_checkpoint
from training.ema import Ema
from training.schedules import learning_rate
from training.schema import ClassifierConfig, PolicyConfig, TrainingSection, config_text

# Where a run runs, what it measures and what it logs may change between two of its parts; what it learns may not.
FREE_TRAINING_KEYS = ("device", "threads", "precision", "output_dir", "path_classifier_state_dict", "resume",
                      "keep_top_k", "checkpoint_every", "gradient_accumulation", "validate_every", "val_windows")
FREE_SECTIONS = ("logging.", "data.", "rollout.")
MAX_STEPS = "training.max_steps"
CHECKPOINTS = "checkpoints"  # in the folder of a run
ANOTHER_FOLDER = "choose another training.output_dir, or remove that folder"


def latest_checkpoint(checkpoints: Path, kind: Kind) -> Checkpoint | None:
    """The checkpoint that `latest` points to, if there is one."""
    if not (checkpoints / LATEST / META).is_file():
        return None
    return open_checkpoint(checkpoints, kind)


def train_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Raw weights and the optimiser's moments under flat names."""
    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    for index, entry in cast(dict[int, dict[str, Tensor]], optimizer.state_dict()["state"]).items():
        state |= {f"optimizer.{index}.{name}": value for name, value in entry.items()}
    return state


def restore(last: Checkpoint, module: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema) -> None:
    """Put weights, moments and averages back."""
    state = last.tensors(TRAIN_STATE)
    module.load_state_dict({name.removeprefix("module."): value for name, value in state.items()
                            if name.startswith("module.")})
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    entries: dict[int, dict[str, Any]] = {}
    for name, value in state.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            # A fused optimiser walks memory: a moment must lie there as its parameter does (channels_last or not).
            like = parameters[int(index)]
            placed = torch.empty_like(like, requires_grad=False).copy_(value) if value.shape == like.shape else value
            entries.setdefault(int(index), {})[key] = placed
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    ema.module.load_state_dict(last.tensors(EMA))


def refuse_used_folder(folder: Path) -> None:
    """Raise ConfigError where a run's folder holds checkpoints: those of two runs would replace one another."""
    if any((folder / CHECKPOINTS).glob("epoch=*")):
        raise ConfigError(f"{folder} holds the checkpoints of a run, and training.resume=false does not go on with it; "
                          f"{ANOTHER_FOLDER}")


def refuse_other_run(last: Checkpoint, texts: Mapping[str, str], fingerprint: str, training: TrainingSection,
                     monitor: str | None) -> None:
    """Raise ConfigError unless data, configuration, task and what ranks checkpoints are those of the checkpoint's run.

    max_steps may differ where the steps that are done had the same learning rates.
    """
    if last.meta["fingerprint"] != fingerprint:
        raise ConfigError(f"{last.folder.parent.parent} holds a run on other data, or on frames that are "
                          f"stored otherwise (data.*); {ANOTHER_FOLDER}")
    # Parsed and written anew, an older configuration gains the keys that have come since, at their defaults.
    config = last.config(PolicyConfig) if last.meta["kind"] == "policy" else last.config(ClassifierConfig)
    there = {CONFIG: config_text(config), TASK: task_text(last.task)}
    for name in (CONFIG, TASK):
        before, now = _what_matters(there[name]), _what_matters(texts[name])
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed == [MAX_STEPS] and _same_rates(last.step, config.training, training):
            continue
        if changed:
            key, why = next((key for key in changed if key != MAX_STEPS), MAX_STEPS), ""
            if key == MAX_STEPS:
                why = (f": with training.schedule={training.schedule} and warmup_steps={training.warmup_steps} the "
                       "steps that are done would have had other learning rates")
            raise ConfigError(f"{last.folder.parent.parent} holds a run with {key}={before.get(key)}, this one has "
                              f"{key}={now.get(key)} ({name}){why}; {ANOTHER_FOLDER}")
    if last.meta["monitor"] != monitor:
        before, now = last.meta["monitor"] or "nothing", monitor or "nothing"
        raise ConfigError(f"{last.folder.parent.parent} holds checkpoints ranked by {before}, those of this run would "
                          f"be ranked by {now}; leave rollouts on or off as they were, or {ANOTHER_FOLDER}")


def _same_rates(steps: int, before: TrainingSection, now: TrainingSection) -> bool:
    return all(learning_rate(step, before) == learning_rate(step, now) for step in range(steps))


def _what_matters(text: str) -> dict[str, object]:
    flat = _flatten(yaml.safe_load(text), "")
    free = {f"training.{key}" for key in FREE_TRAINING_KEYS} | {"task.dataset_path"}
    return {key: value for key, value in flat.items() if key not in free and not key.startswith(FREE_SECTIONS)}


def _flatten(value: object, prefix: str) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, object] = {}
    for key, inner in cast(dict[str, object], value).items():
        flat |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat
