"""How far a decision is from the demonstrations: three scores, each with limits from held-out episodes.

    checkpoints/epoch=.../monitor/
        features.safetensors   the feature bank, its mean and spread, float32
        monitor.json           limits, what they come from, SHA-256 of the bank and of the weights that they belong to

spread: of N_SAMPLES chunks sampled from different noise for the same observation. distance: of the encoder's features
of the newest observation to their N_NEIGHBOURS nearest among those of the training episodes, each feature in units of
its own spread there (k-nearest neighbours; Sun et al. 2022, arXiv:2204.06507). disagreement: between the mean of these
samples and that of the decision before, where both speak of the same instants (Agia et al. 2024, arXiv:2410.04640, find
the same inconsistency to tell erratic failures). All are root mean squares, the first and last in normalised actions.

The samples have noise of their own: a policy moves the robot the same with and without its monitor.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ladle.atomic import PARTIAL, replace_folder
from ladle.errors import CheckpointError
from ladle.policy import MonitorScore
from training.batch import Batch
from training.checkpoint import EMA, Checkpoint, file_sha256
from training.policy import DiffusionPolicy

log = logging.getLogger(__name__)

FOLDER, BANK, LIMITS = "monitor", "features.safetensors", "monitor.json"
SCHEMA_VERSION = 1
N_SAMPLES = 4
N_NEIGHBOURS = 5
SMALLEST_SPREAD = 0.02  # of a feature; all of them are of the order of one
SCORES = ("spread", "distance", "disagreement")


@dataclass(frozen=True)
class FeatureBank:
    """Features of observations seen in training.

    Attributes:
        features: (N, F), each less its mean and divided by its spread.
        mean, spread: (F,).
    """

    features: Tensor
    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureBank:
        """From raw features (N, F)."""
        mean, spread = features.mean(dim=0), features.std(dim=0).clamp_min(SMALLEST_SPREAD)
        return cls((features - mean) / spread, mean, spread)

    def distance(self, features: Tensor) -> float:
        """Mean over the nearest neighbours of the root mean square difference of features (F,)."""
        standard = (features - self.mean) / self.spread
        gaps = torch.linalg.vector_norm(self.features - standard, dim=1) / len(standard) ** 0.5
        return float(gaps.topk(min(N_NEIGHBOURS, len(gaps)), largest=False).values.mean())


class Monitor:
    """Scores the decisions of one run.

    Args:
        limits: name of a score -> (slow_above, hold_above); without any the scores have none (for calibration).
    """

    def __init__(self, network: DiffusionPolicy, n_obs_steps: int, period_s: float, bank: FeatureBank,
                 limits: Mapping[str, tuple[float, float]]) -> None:
        self._network, self._present, self._period_s = network, n_obs_steps - 1, period_s
        self._bank, self._limits = bank, dict(limits)
        self._generator = torch.Generator()
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget the decisions before."""
        self._generator.manual_seed(seed)
        self._before: tuple[float, Tensor] | None = None

    def scores(self, time_s: float, batch: Batch, condition: tuple[Tensor, Tensor],
               guidance_weight: float) -> dict[str, MonitorScore]:
        """Of one decision at observation time time_s; disagreement is missing where nothing overlaps."""
        observed, extra = condition
        copies = (observed.expand(N_SAMPLES, -1, -1), extra.expand(N_SAMPLES, -1))
        sampled = self._network.sample(batch, self._generator, guidance_weight, condition=copies)
        future = self._network.normalized(sampled, batch)[:, self._present:]
        found = {"spread": _rms(future - future.mean(dim=0)),
                 "distance": self._bank.distance(observed[0, -1].float())}
        mean = sampled.mean(dim=0, keepdim=True)[:, self._present:]
        if (gap := self._disagreement(time_s, mean, batch)) is not None:
            found["disagreement"] = gap
        self._before = (time_s, mean)
        limit = (float("inf"), float("inf"))
        return {name: MonitorScore(value, *self._limits.get(name, limit)) for name, value in found.items()}

    def _disagreement(self, time_s: float, mean: Tensor, batch: Batch) -> float | None:
        if self._before is None:
            return None
        ticks = round((time_s - self._before[0]) / self._period_s)
        length = mean.shape[1] - ticks
        if ticks < 0 or length < 1:
            return None
        old, new = self._before[1][:, ticks:], mean[:, :length]
        return _rms(self._network.normalized(new, batch) - self._network.normalized(old, batch))


def open_monitor(checkpoint: Checkpoint, network: DiffusionPolicy, n_obs_steps: int, device: str) -> Monitor | None:
    """The monitor beside a checkpoint; None, and a line in the log, where it has none.

    Raises:
        CheckpointError: damaged, of an unknown version, or of other weights.
    """
    folder = checkpoint.folder / FOLDER
    if not (folder / LIMITS).is_file():
        log.warning("%s has no calibrated monitor: nothing will tell that an observation is unlike the "
                    "demonstrations; make one with `ladle calibrate`", checkpoint.folder)
        return None
    try:
        told = json.loads((folder / LIMITS).read_text())
        version, limits = told["schema_version"], {name: (float(low), float(high))
                                                   for name, (low, high) in told["limits"].items()}
        of_bank, of_weights = told["sha256"][BANK], told["sha256"][EMA]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / LIMITS} is damaged ({error}); run `ladle calibrate` again") from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(f"{folder / LIMITS} has schema version {version}, this Ladle reads {SCHEMA_VERSION}; "
                              "run `ladle calibrate` again")
    if of_weights != checkpoint.meta["sha256"].get(EMA):
        raise CheckpointError(f"{folder} was calibrated for other weights than those beside it; run `ladle calibrate` "
                              "again")
    if not (folder / BANK).is_file() or file_sha256(folder / BANK) != of_bank:
        raise CheckpointError(f"{folder / BANK} is missing or damaged: its SHA-256 is not the one in {LIMITS}; run "
                              "`ladle calibrate` again")
    try:
        bank = {name: value.to(device) for name, value in load_file(folder / BANK).items()}
    except SafetensorError as error:
        raise CheckpointError(f"{folder / BANK} cannot be read ({error}); run `ladle calibrate` again") from error
    return Monitor(network, n_obs_steps, checkpoint.task.period_s, FeatureBank(**bank), limits)


def save_monitor(checkpoint: Checkpoint, bank: FeatureBank, limits: Mapping[str, tuple[float, float]],
                 about: Mapping[str, Any]) -> Path:
    """Write the monitor beside its checkpoint, whole or not at all; the folder."""
    partial = checkpoint.folder / f"{PARTIAL}{FOLDER}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file({name: getattr(bank, name).float().contiguous().cpu() for name in ("features", "mean", "spread")},
              partial / BANK)
    content = {"schema_version": SCHEMA_VERSION, "limits": dict(limits), **about,
               "sha256": {BANK: file_sha256(partial / BANK), EMA: checkpoint.meta["sha256"][EMA]}}
    (partial / LIMITS).write_text(json.dumps(content, indent=2) + "\n")
    replace_folder(partial, checkpoint.folder / FOLDER)
    return checkpoint.folder / FOLDER


def limits_of(values: NDArray[np.float64], quantile: float, margin: float, hold: float) -> tuple[float, float]:
    """slow_above, hold_above: the quantile of held-out values (n,) times margin, and that times hold."""
    slow = margin * float(np.quantile(values, quantile))
    return slow, hold * slow


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
