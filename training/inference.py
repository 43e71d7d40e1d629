"""The one door from a checkpoint to a policy. Runs on the robot: no Hydra, no diffusers, no zarr, Python 3.10."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.chunks import kept_weights, parts_at
from ladle.errors import CheckpointError, ObservationError
from ladle.policy import ActionChunk, Guidance, ObservationWindow, RunningChunk
from ladle.task import TaskConfig
from training.batch import Batch, usable_device
from training.checkpoint import EMA, Checkpoint, open_checkpoint
from training.features import ActionCodec
from training.inpainting import Prefix
from training.monitor import Monitor, open_monitor
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig
from training.stage_estimator import StageEstimator
from training.starts import read_starts
from training.window_batch import batch_of_one, make_batch

EMBEDDED_CLASSIFIER = "classifier"


def load_policy(
    checkpoint: str | Path,
    device: str = "cpu",
    classifier: str | Path | None = None,
    *,
    task: TaskConfig | None = None,
    blind: bool = False,
    guidance: Guidance | None = None,
    monitored: bool = True,
) -> CheckpointPolicy:
    """Build a policy from its checkpoint folder or run folder.

    Args:
        classifier: checkpoint of the stage classifier; by default the one that the policy was trained with,
            which its checkpoint holds.
        task: what the robot is set up for; a checkpoint for something else is refused.
        blind: see black images only (the control experiment).
        guidance: a mass to ask for; can be changed later with `guide`.
        monitored: whether chunks carry the scores of the monitor beside the checkpoint, where there is one.

    Raises:
        CheckpointError: damaged, of another kind, for another task, or not trained with the mass that is asked for.
        ConfigError: no such device here.
    """
    usable_device(device)
    opened = open_checkpoint(checkpoint, "policy")
    config, trained_for = opened.config(PolicyConfig), opened.task
    if task is not None:
        refuse_other_task(opened.folder, trained_for, task)
    network = load_network(opened, config, device)
    stages = None
    if network.n_stages:
        source = Path(classifier) if classifier is not None else opened.folder / EMBEDDED_CLASSIFIER
        if classifier is None and not source.exists():
            raise CheckpointError(f"checkpoint {opened.folder} reads a stage but holds no classifier; name one "
                                  "(--path-classifier)")
        stages = StageEstimator.from_checkpoint(source, trained_for, device)
    policy = CheckpointPolicy(network, config, trained_for, stages, device, blind)
    policy.guide(guidance)
    policy.start_poses = read_starts(opened)
    if monitored:
        policy.monitor = open_monitor(opened, network, config.n_obs_steps, device)
    return policy


def load_network(opened: Checkpoint, config: PolicyConfig, device: str) -> DiffusionPolicy:
    """The averaged weights of a checkpoint in their network, ready to sample.

    Raises:
        CheckpointError: the weights are not those of the configuration.
    """
    network = DiffusionPolicy(config, opened.task)
    try:
        network.load_state_dict(opened.tensors(EMA))
    except RuntimeError as error:
        raise CheckpointError(f"{opened.folder}: the weights do not fit its config.yaml "
                              f"({' '.join(str(error).split())[:200]}); copy the checkpoint again") from error
    return network.eval().requires_grad_(False).to(device)


class CheckpointPolicy:
    """Satisfies `ladle.policy.Policy`, `GuidedPolicy` and `ContinuingPolicy`.

    Attributes:
        task: what it was trained for.
        n_obs_steps, n_action_steps, horizon: To, Ta and T of its training.
        observation_keys: streams that it and its classifier read.
        network: what samples.
        monitor: scores each decision; None for none.
        start_poses: (n, 7) where the training episodes began; None where the checkpoint does not tell.
    """

    def __init__(self, network: DiffusionPolicy, config: PolicyConfig, task: TaskConfig,
                 stages: StageEstimator | None, device: str, blind: bool) -> None:
        self.task, self.config = task, config
        self.n_obs_steps, self.n_action_steps, self.horizon = config.n_obs_steps, config.n_action_steps, config.horizon
        sections = [config.observations, *([stages.observations] if stages else [])]
        self.observation_keys = tuple(sorted({key for section in sections for key in section.keys}))
        self.network, self._stages, self._device, self._blind = network, stages, device, blind
        self.monitor: Monitor | None = None
        self.start_poses: NDArray[np.float64] | None = None
        self._codec = ActionCodec(task)
        self._generator = torch.Generator().manual_seed(0)
        self._guidance: Guidance | None = None

    def guide(self, guidance: Guidance | None) -> None:
        """From the next prediction on, ask for a mass; None asks for none.

        Raises:
            CheckpointError: the policy was not told the mass in its training.
        """
        if guidance is not None and self.network.mass is None:
            raise CheckpointError(f"a mass of {guidance.target_mass_g:g} g is asked of a policy that was trained "
                                  "without the mass; train one with mass.condition=true, or ask for none")
        self._guidance = guidance

    def reset(self, seed: int) -> None:
        """Forget the last episode; the noise of the next one comes from the seed."""
        self._generator.manual_seed(seed)
        if self.monitor is not None:
            self.monitor.reset(seed)
        if self._stages is not None:
            self._stages.reset()

    @torch.inference_mode()
    def observe(self, window: ObservationWindow) -> None:
        """Take in a tick at which no action is wanted: the stage's hysteresis counts every tick."""
        self._check(window)
        if self._stages is not None:
            self._stages.update(window, self._blind)

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """Targets from t0 + dt to the horizon's end, T - To + 1 of them; the first n_action_steps are meant to be
        executed.

        Raises:
            ObservationError: a stream is missing or has another shape than in training.
        """
        return self._predict(window, None)

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        """As `predict`, with what is frozen of the running chunk kept and the rest inpainted (real-time chunking).

        Raises:
            ObservationError: a stream is missing or has another shape than in training.
        """
        return self._predict(window, running)

    @torch.inference_mode()
    def _predict(self, window: ObservationWindow, running: RunningChunk | None) -> ActionChunk:
        self._check(window)
        stage, probabilities = self._stages.update(window, self._blind) if self._stages else (None, None)
        batch = make_batch(window, self.config.observations, self._device, self._blind, stage)
        if self._guidance is not None:
            batch = replace(batch, mass_g=torch.tensor([self._guidance.target_mass_g], device=self._device))
        weight = self._guidance.weight if self._guidance else 1.0
        prefix = None if running is None else self._prefix(window, batch, running)
        condition = self.network.condition(batch)
        sampled = self.network.sample(batch, self._generator, weight, prefix, condition)
        monitor = None if self.monitor is None else self.monitor.scores(window.time_s, batch, condition, weight)
        actions = sampled[0, self.n_obs_steps - 1:].cpu().numpy()
        times_s = self._horizon_s(window)[self.n_obs_steps - 1:]
        return ActionChunk(observation_time_s=window.time_s, times_s=times_s, parts=self._codec.decode(actions),
                           stage=stage, stage_probabilities=probabilities, monitor=monitor)

    @torch.inference_mode()
    def features(self, window: ObservationWindow) -> torch.Tensor:
        """(F,) what the encoder makes of the newest observation."""
        self._check(window)
        batch = make_batch(window, self.config.observations, self._device, self._blind)
        return self.network.encoder(batch, None)[0, -1].float()

    def _horizon_s(self, window: ObservationWindow) -> NDArray[np.float64]:
        """(T,) when each element of the horizon is to be reached: t0 + (i - To + 2) dt."""
        ticks = np.arange(self.horizon, dtype=np.float64) - self.n_obs_steps + 2
        return window.time_s + self.task.period_s * ticks

    def _prefix(self, window: ObservationWindow, batch: Batch, running: RunningChunk) -> Prefix:
        """The running chunk at the instants of the new horizon, those already past included."""
        times_s = self._horizon_s(window)
        poses = [part.name for part in self.task.action if part.kind == "pose"]
        parts = parts_at(running.chunk, times_s, poses)
        outer = np.concatenate([parts[part.name] for part in self.task.action], axis=1)
        weights = kept_weights(times_s, running.chunk, running.frozen_until_s)
        return self.network.prefix(batch_of_one(self._codec.encode(outer), self._device),
                                    batch_of_one(weights.astype(np.float32), self._device), batch)

    def _check(self, window: ObservationWindow) -> None:
        if len(window.observation_times_s) != self.n_obs_steps:
            raise ObservationError(f"the policy needs {self.n_obs_steps} observations, the window has "
                                   f"{len(window.observation_times_s)}")
        missing = sorted(set(self.observation_keys) - set(window.streams))
        if missing:
            raise ObservationError(f"the window lacks {', '.join(missing)}; it has {', '.join(sorted(window.streams))}")
        for key in self.observation_keys:
            camera, shape = self.task.cameras.get(key), window.streams[key].shape[1:3]
            if camera is not None and shape != (camera.height_px, camera.width_px):
                raise ObservationError(f"{key} has shape {shape}, the policy was trained with "
                                       f"{(camera.height_px, camera.width_px)}; bring it to the task's size")


def refuse_other_task(folder: Path, trained_for: TaskConfig, task: TaskConfig) -> None:
    """Raise CheckpointError naming the first thing in which the two tasks differ for a policy."""
    checks: list[tuple[str, Any, Any]] = [
        ("name", trained_for.name, task.name),
        ("rate_hz", trained_for.rate_hz, task.rate_hz),
        ("action", trained_for.action, task.action),
        ("frames", _frames(trained_for), _frames(task)),
        ("cameras", _sizes(trained_for), _sizes(task)),
        ("stages", trained_for.stages, task.stages),
    ]
    for what, theirs, ours in checks:
        if theirs != ours:
            raise CheckpointError(f"checkpoint {folder} is for another task: its {what} is {theirs!r}, "
                                  f"task {task.name} has {ours!r}; train one for this task")


def _frames(task: TaskConfig) -> tuple[str, str] | None:
    return None if task.frames is None else (task.frames.base, task.frames.tip)


def _sizes(task: TaskConfig) -> dict[str, tuple[str, int, int]]:
    return {key: (camera.kind, camera.height_px, camera.width_px) for key, camera in task.extracted_cameras.items()}
