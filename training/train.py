"""Train a diffusion policy: `python train.py task.dataset_path=... training.path_classifier_state_dict=...`."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from training.distributed import Processes, join
from training.env_runner import MakeRunner, NetworkPolicy
from training.features import ActionCodec
from training.foreign_data import with_replay_buffer
from training.lerobot_training import compose_lerobot, names_lerobot
from training.loop import Run, fit, step_generator
from training.out_of_memory import named_out_of_memory
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig, config_text
from training.starts import starts_text
from training.template import compose_template, names_template
from training.windows import at_most, index_windows, validation_mask

log = logging.getLogger(__name__)

CONFIG_NAME = "franka_end_effector_image_obs"
DESCRIPTION = ("Train a diffusion policy. Several seeds: --seeds 42,43,44. From robomimic's template: --config "
               "FILE.json --dataset FILE.hdf5. On a LeRobot data set: dataset.lerobot=FOLDER.")
MONITOR, ROLLOUT_MONITOR = "val_action_error", "rollout_score"


def run(overrides: Sequence[str], config_name: str = CONFIG_NAME, config_dir: Path | None = None,
        make_runner: MakeRunner | None = None) -> Path:
    """Compose the configuration and train; the folder of the last checkpoint."""
    return train_policy(compose_config(PolicyConfig, config_name, overrides, config_dir), make_runner)


def train_policy(composed: Composed[PolicyConfig], make_runner: MakeRunner | None = None) -> Path:
    """Train the policy of a configuration, or go on with it; the folder of the last checkpoint.

    Args:
        make_runner: environments for rollout.every; training by itself knows none.
    """
    usable_device(composed.config.training.device)
    processes = join(composed.config.training.device)
    composed = with_replay_buffer(replace(composed, output_dir=processes.from_main(composed.output_dir)))
    with named_out_of_memory(config_text(composed.config), composed.config.training.precision):
        return _train(composed, processes, make_runner)


def _train(composed: Composed[PolicyConfig], processes: Processes, make_runner: MakeRunner | None) -> Path:
    text = config_text(composed.config)
    training = replace(composed.config.training, device=processes.device(composed.config.training.device))
    config, task = replace(composed.config, training=training), load_task(composed.config.task.name)
    buffer = ReplayBuffer.open(config.task.dataset_path)
    refuse_other_data(buffer, task, reads_pose(config.observations, task))
    steps = load_steps(buffer, config.observations, ActionCodec(task), config.mass.condition, config.data)
    steps = steps.with_stages(_stages(config, task, buffer))
    masks = validation_mask(steps.n_episodes, config.training.val_ratio, config.training.seed)
    trained_on = at_most(~masks, config.training.max_train_episodes, config.training.seed)
    batches = window_batches(config, steps, trained_on)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        policy = DiffusionPolicy(config, task)
    policy.encoder.load_pretrained()
    _fit_normalizers(policy, batches, steps.episode_mask_to_steps(trained_on))
    log.info("%d windows of %d episodes, %.1f million parameters, results in %s", len(batches.index),
             int(trained_on.sum()), sum(p.numel() for p in policy.parameters()) / 1e6, composed.output_dir)
    validate = Validation(window_batches(config, steps, masks), config) if masks.any() else None
    rollout = _rollout(config, task, make_runner) if processes.main else None
    classifier = config.training.path_classifier_state_dict
    return fit(policy, batches, validate, Run(
        folder=composed.output_dir, kind="policy", training=config.training, logging=config.logging, ema=config.ema,
        texts={CONFIG: text, TASK: task_text(task), **starts_text(buffer, trained_on)}, fingerprint=_fingerprint(steps),
        # The same in every process, though only the first has environments.
        monitor=ROLLOUT_MONITOR if config.rollout.wanted else MONITOR if validate else None,
        highest_best=config.rollout.wanted, rollout=rollout,
        rollout_at=lambda step: config.rollout.due(step, batches.batch_size, len(batches.index)),
        copies={"classifier": open_checkpoint(classifier, "classifier").folder}
        if classifier and config.observations.stage == "classifier" else {}, processes=processes))


def window_batches(config: PolicyConfig, steps: Steps, episode_mask: NDArray[np.bool_]) -> WindowBatches:
    """Windows of the episodes where the mask is true, padded as in the paper."""
    index = index_windows(steps.episode_ends, config.horizon, config.n_obs_steps - 1, config.window_pad_after,
                          episode_mask)
    return WindowBatches(steps, index, config.n_obs_steps, config.horizon, config.training.batch_size,
                         config.training.seed)


def _fit_normalizers(policy: DiffusionPolicy, batches: WindowBatches, rows: NDArray[np.bool_]) -> None:
    steps = batches.steps
    assert steps.action is not None
    blind = replace(batches, steps=replace(steps, images={}))
    policy.fit_normalizers({key: values[rows] for key, values in steps.low_dim.items()}, steps.action[rows],
                           None if steps.mass_g is None else steps.mass_g[rows],
                           blind.chunks(np.arange(len(batches.index))) if policy.relative else ())


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
            sampled = module.sample(batch, step_generator(2, number, str(self._device)))
            sampled = module.normalized(sampled, batch)[:, self._executed]
            errors.append(float(F.mse_loss(sampled, module.normalized(batch.action, batch)[:, self._executed])))
        return {"val_loss": float(np.average(losses, weights=sizes)),
                MONITOR: float(np.average(errors, weights=sizes))}


def _rollout(config: PolicyConfig, task: TaskConfig,
             make_runner: MakeRunner | None) -> Callable[[nn.Module], dict[str, float]] | None:
    if not config.rollout.wanted:
        return None
    if make_runner is None:
        raise ConfigError("rollout.every needs the task's environment: start with `ladle train` or `python train.py`, "
                          "or set rollout.every=0 and every_epochs=0")
    runner = make_runner(config, task)

    def rollout(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, DiffusionPolicy)
        module.eval()
        policy = NetworkPolicy(module, config, task, config.training.device)
        policy.reset(config.training.seed)
        return runner.run(policy).summary()

    return rollout


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
    order = steps.visiting_order.encode()
    return hashlib.sha256(steps.fingerprint.encode() + stages + order).hexdigest()


def train_from_arguments(arguments: Sequence[str], make_runner: MakeRunner | None = None) -> None:
    """What the command line does: Hydra's overrides and options, robomimic's template, or a LeRobot folder."""
    if names_template(arguments) or names_lerobot(arguments):
        train_policy((compose_template if names_template(arguments) else compose_lerobot)(arguments), make_runner)
        return
    command_line(arguments, CONFIG_NAME, DESCRIPTION, PolicyConfig,
                 lambda composed: train_policy(composed, make_runner))


def refuse_wrong_arguments(arguments: Sequence[str]) -> None:
    """Raise ConfigError where `train_from_arguments` would without any data; not for foreign data."""
    if not names_template(arguments) and not names_lerobot(arguments):
        command_line(arguments, CONFIG_NAME, DESCRIPTION, PolicyConfig, lambda _: None)


def main(make_runner: MakeRunner | None = None) -> None:
    """Entry of `python train.py`."""
    run_script(lambda: train_from_arguments(sys.argv[1:], make_runner))


if __name__ == "__main__":
    main()
