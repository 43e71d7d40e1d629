"""Train a diffusion policy: `python train.py task.dataset_path=... training.path_classifier_state_dict=...`."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import nn

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer
from ladle.script import run_script
from ladle.task import TaskConfig, load_task, task_text
from training.batch import usable_device
from training.checkpoint import CONFIG, TASK, open_checkpoint
from training.classifier_training import held_out_stages
from training.compose import Composed, command_line, compose_config
from training.dataset import Steps, WindowBatches, load_labels, load_steps, reads_pose, refuse_other_data
from training.features import ActionCodec
from training.loop import Run, fit, step_generator
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig, config_text
from training.windows import index_windows, validation_mask

log = logging.getLogger(__name__)

CONFIG_NAME = "franka_end_effector_image_obs"
MONITOR = "val_action_error"


def run(overrides: Sequence[str], config_name: str = CONFIG_NAME, config_dir: Path | None = None) -> Path:
    """Compose the configuration and train; the folder of the last checkpoint."""
    return train_policy(compose_config(PolicyConfig, config_name, overrides, config_dir))


def train_policy(composed: Composed[PolicyConfig]) -> Path:
    """Train the policy of a configuration, or go on with it; the folder of the last checkpoint."""
    usable_device(composed.config.training.device)
    config, task = composed.config, load_task(composed.config.task.name)
    buffer = ReplayBuffer.open(config.task.dataset_path)
    refuse_other_data(buffer, task, reads_pose(config.observations, task))
    steps = load_steps(buffer, config.observations, ActionCodec(task))
    steps = steps.with_stages(_stages(config, task, buffer))
    masks = validation_mask(steps.n_episodes, config.training.val_ratio, config.training.seed)
    batches = window_batches(config, steps, ~masks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        policy = DiffusionPolicy(config, task)
    train_rows = steps.episode_mask_to_steps(~masks)
    policy.encoder.fit_normalizers({key: values[train_rows] for key, values in steps.low_dim.items()})
    assert steps.action is not None
    policy.action_normalizer.fit(steps.action[train_rows], ActionCodec(task).fixed)
    log.info("%d windows of %d episodes, %.1f million parameters, results in %s", len(batches.index),
             int((~masks).sum()), sum(p.numel() for p in policy.parameters()) / 1e6, composed.output_dir)
    validate = Validation(window_batches(config, steps, masks), config) if masks.any() else None
    classifier = config.training.path_classifier_state_dict
    return fit(policy, batches, validate, Run(
        folder=composed.output_dir, kind="policy", training=config.training, logging=config.logging, ema=config.ema,
        texts={CONFIG: config_text(config), TASK: task_text(task)}, fingerprint=_fingerprint(steps),
        monitor=MONITOR if validate else None,
        copies={"classifier": open_checkpoint(classifier, "classifier").folder}
        if classifier and config.observations.stage == "classifier" else {}))


def window_batches(config: PolicyConfig, steps: Steps, episode_mask: NDArray[np.bool_]) -> WindowBatches:
    """Windows of the episodes where the mask is true, padded as in the paper."""
    index = index_windows(steps.episode_ends, config.horizon, config.n_obs_steps - 1, config.window_pad_after,
                          episode_mask)
    return WindowBatches(steps, index, config.n_obs_steps, config.horizon, config.training.batch_size,
                         config.training.seed)


class Validation:
    """Error of sampled actions and loss on windows of held-out episodes; the same windows and noise every time."""

    def __init__(self, batches: WindowBatches, config: PolicyConfig) -> None:
        count = min(config.training.val_windows, len(batches.index))
        self._batches = batches.chunks(np.linspace(0, len(batches.index) - 1, count).astype(np.int64))
        self._device = torch.device(config.training.device)
        self._executed = slice(config.n_obs_steps - 1, config.n_obs_steps - 1 + config.n_action_steps)

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> dict[str, float]:
        """val_action_error: mean squared error of the executed actions in normalised units; val_loss."""
        assert isinstance(module, DiffusionPolicy)
        module.eval()
        errors: list[float] = []
        losses: list[float] = []
        sizes = [batch.size for batch in self._batches]
        for number, kept in enumerate(self._batches):
            batch = kept.to(self._device)
            assert batch.action is not None
            losses.append(float(module.compute_loss(batch, step_generator(1, number, str(self._device)))))
            sampled = module.sample(batch, step_generator(2, number, str(self._device)))[:, self._executed]
            normalize = module.action_normalizer.normalize
            errors.append(float(F.mse_loss(normalize(sampled), normalize(batch.action[:, self._executed]))))
        return {"val_loss": float(np.average(losses, weights=sizes)),
                MONITOR: float(np.average(errors, weights=sizes))}


def _stages(config: PolicyConfig, task: TaskConfig, buffer: ReplayBuffer) -> NDArray[np.int64] | None:
    source = config.observations.stage
    if source == "none":
        return None
    if source == "labels":
        return load_labels(buffer, task)
    path = config.training.path_classifier_state_dict
    if path is None:
        raise ConfigError("this policy reads the classifier's stage: train one with train_classifier.py and give it as "
                          "training.path_classifier_state_dict=PATH, or set observations.stage=none")
    return held_out_stages(open_checkpoint(path, "classifier"), task, buffer, config.training.device)


def _fingerprint(steps: Steps) -> str:
    stages = b"" if steps.stages is None else steps.stages.tobytes()
    return hashlib.sha256(steps.fingerprint.encode() + stages).hexdigest()


def train_from_arguments(arguments: Sequence[str]) -> None:
    """What the command line does with Hydra's overrides and options."""
    command_line(arguments, CONFIG_NAME, "Train a diffusion policy.", PolicyConfig, train_policy)


def main() -> None:
    """Entry of `python train.py`."""
    run_script(lambda: train_from_arguments(sys.argv[1:]))


if __name__ == "__main__":
    main()
