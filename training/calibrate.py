"""`ladle calibrate`: the limits of a policy's monitor, from episodes that it has not been trained on."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.errors import ConfigError
from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBuffer
from training.checkpoint import open_checkpoint
from training.dataset import reads_pose, refuse_other_data
from training.inference import CheckpointPolicy, load_policy
from training.monitor import N_NEIGHBOURS, N_SAMPLES, SCORES, FeatureBank, Monitor, limits_of, save_monitor
from training.schema import PolicyConfig
from training.windows import validation_mask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationSettings:
    """How to calibrate.

    Attributes:
        bank_size: at most so many training observations are kept, evenly over all of them.
        decision_ticks: ticks between two decisions, as in deployment; the limit on disagreement depends on it.
        decisions: at most so many held-out decisions are looked at.
        quantile, margin: a score slows down above margin times its quantile over held-out decisions. The margin is for
            a quantile that a few hundred decisions only roughly tell.
        hold: the robot holds above so many times the limit for slow.
    """

    bank_size: int = 2000
    decision_ticks: int = 4
    decisions: int = 400
    quantile: float = 0.99
    margin: float = 1.2
    hold: float = 1.5
    seed: int = 0
    device: str = "cpu"


def calibrate(checkpoint: str | Path, dataset: str | Path, settings: CalibrationSettings) -> dict[str, Any]:
    """Write the monitor beside a checkpoint; what was found.

    The episodes of the data set are split as in the policy's training: the bank is of those that it was trained on, the
    limits of those that it was validated on.

    Raises:
        ConfigError: the data set is of another task, or was trained on as a whole.
    """
    opened = open_checkpoint(checkpoint, "policy")
    config, buffer = opened.config(PolicyConfig), ReplayBuffer.open(dataset)
    refuse_other_data(buffer, opened.task, reads_pose(config.observations, opened.task))
    held_out = validation_mask(buffer.n_episodes, config.training.val_ratio, config.training.seed)
    if not held_out.any():
        raise ConfigError(f"{opened.folder} was trained on all {buffer.n_episodes} episodes (training.val_ratio="
                          f"{config.training.val_ratio:g}), so none is left to calibrate on; train with a higher "
                          "training.val_ratio")
    policy = load_policy(opened.folder, settings.device, monitored=False)
    bank = FeatureBank.of(_bank_features(policy, buffer, ~held_out, settings.bank_size))
    policy.monitor = Monitor(policy.network, policy.n_obs_steps, opened.task.period_s, bank, {})
    began_s = time.perf_counter()
    found = _held_out_scores(policy, buffer, held_out, settings)
    count = len(found["spread"])
    log.info("%d held-out decisions, %.0f ms each with the monitor", count,
             1000 * (time.perf_counter() - began_s) / count)
    limits = {name: limits_of(np.array(found[name]), settings.quantile, settings.margin, settings.hold)
              for name in SCORES if found[name]}
    about = {"dataset": str(dataset), "decisions": count, "held_out_episodes": int(held_out.sum()),
             "samples": N_SAMPLES, "neighbours": N_NEIGHBOURS, "settings": settings.__dict__}
    folder = save_monitor(opened, bank, limits, about)
    log.info("the monitor lies in %s", folder)
    return {"limits": limits, **about}


def episode_windows(buffer: ReplayBuffer, episode: int, policy: CheckpointPolicy, every: int) -> \
        Iterator[tuple[ObservationWindow, bool]]:
    """The windows of an episode, tick by tick, and whether a decision is due; the first observation repeats."""
    steps = buffer.episode_slice(episode)
    streams = {key: np.asarray(buffer[key][steps]) for key in policy.observation_keys}
    period_s = policy.task.period_s
    for tick in range(steps.stop - steps.start):
        rows = np.arange(tick - policy.n_obs_steps + 1, tick + 1)
        yield ObservationWindow(period_s * tick, period_s * rows.astype(np.float64), {
            key: value[np.maximum(rows, 0)] for key, value in streams.items()}), tick % every == 0


def _bank_features(policy: CheckpointPolicy, buffer: ReplayBuffer, episodes: NDArray[np.bool_],
                   size: int) -> torch.Tensor:
    """(n, F) features of the newest observation of at most `size` training ticks."""
    chosen = np.flatnonzero(episodes)
    lengths = np.array([buffer.episode_slice(int(e)).stop - buffer.episode_slice(int(e)).start for e in chosen])
    every = max(1, -(-int(lengths.sum()) // size))
    return torch.stack([policy.features(window) for episode in chosen
                        for window, due in episode_windows(buffer, int(episode), policy, every) if due])


def _held_out_scores(policy: CheckpointPolicy, buffer: ReplayBuffer, episodes: NDArray[np.bool_],
                     settings: CalibrationSettings) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    for episode in np.flatnonzero(episodes):
        policy.reset(settings.seed + int(episode))
        for window, due in episode_windows(buffer, int(episode), policy, settings.decision_ticks):
            if not due:
                policy.observe(window)
                continue
            for name, score in (policy.predict(window).monitor or {}).items():
                found[name].append(score.value)
        if len(found["spread"]) >= settings.decisions:
            break
    return found
