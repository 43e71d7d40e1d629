"""`ladle bench train`: optimiser steps of ready-made configurations against plain PyTorch eager.

Ours as `training/loop.py` runs it, with the precision and threads that it finds best; eager in float32 with its own
best number of threads. Both have the same weights, batch and noise, and keep a running average; they alternate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from app.benchmarks.baselines_training import EagerTraining
from ladle.task import load_task
from training.batch import Batch
from training.compose import compose_config
from training.ema import Ema
from training.loop import Pace, available_threads, fastest, loss_of, step_generator, threads
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig

PRESETS: dict[str, tuple[str, Sequence[str]]] = {
    "pusht_lowdim": ("pusht_lowdim", ()),
    "pusht_lowdim_wide": ("pusht_lowdim", ("unet.down_dims=[256,512,1024]", "training.batch_size=16")),
    "pusht_image": ("pusht_image_proof", ()),
    "scoop_image": ("franka_end_effector_image_obs", ("observations.stage=labels",)),
}
ROUNDS = 5
BUDGET_S = 35.0  # of one preset; slow machines measure fewer rounds
LEAST_ROUNDS = 1


class LadleTraining:
    """One optimiser step as the loop does it."""

    def __init__(self, policy: DiffusionPolicy, config: PolicyConfig, how: Pace) -> None:
        self.policy, self._how = policy.train(), how
        settings = config.training
        self._optimizer = torch.optim.AdamW(policy.parameter_groups(settings.weight_decay), lr=settings.learning_rate,
                                            betas=settings.betas, fused=True)
        self._ema = Ema(policy, config.ema.power, config.ema.max_decay)

    def step(self, batch: Batch, number: int) -> float:
        """One optimiser step; its loss."""
        loss = loss_of(self.policy, batch, step_generator(0, number, "cpu"), self._how.precision)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._ema.update(self.policy, number)
        return float(loss.detach())


@dataclass(frozen=True)
class _Timed:
    step: Callable[[Batch, int], float]
    n_threads: int
    seconds: list[float]


def measure_train(presets: dict[str, tuple[str, Sequence[str]]] | None = None) -> dict[str, dict[str, float | str]]:
    """Preset -> ratio_vs_eager, and what was measured."""
    return {name: _measure(*preset) for name, preset in (presets or PRESETS).items()}


def table(found: dict[str, dict[str, float | str]]) -> str:
    """For people."""
    lines = [f"{'preset':<20} {'ratio':>6} {'ms':>8} {'eager ms':>9} {'precision':>10} {'threads':>8}"]
    lines += [f"{name:<20} {row['ratio_vs_eager']:>6} {row['step_ms']:>8} {row['eager_step_ms']:>9} "
              f"{row['precision']:>10} {row['threads']:>8}" for name, row in found.items()]
    return "\n".join(lines)


def made_up_batch(config: PolicyConfig, seed: int = 0) -> Batch:
    """A batch of the configuration's shapes."""
    generator, size = torch.Generator().manual_seed(seed), config.training.batch_size
    task = load_task(config.task.name)
    seen = (size, config.n_obs_steps)
    width = DiffusionPolicy(config, task).action_width
    return Batch(
        images={spec.key: torch.randint(0, 256, (*seen, spec.height_px, spec.width_px, spec.channels),
                                        generator=generator, dtype=torch.uint8) for spec in config.observations.images},
        low_dim={spec.key: torch.rand((*seen, spec.width), generator=generator)
                 for spec in config.observations.low_dim},
        stage=torch.zeros(size, dtype=torch.long) if config.observations.stage != "none" else None,
        action=torch.rand((size, config.horizon, width), generator=generator))


def _measure(config_name: str, overrides: Sequence[str]) -> dict[str, float | str]:
    config = compose_config(PolicyConfig, config_name, [*overrides, "training.device=cpu"]).config
    torch.manual_seed(0)
    policy, batch = DiffusionPolicy(config, load_task(config.task.name)), made_up_batch(config)
    eager = EagerTraining(policy, config.training.learning_rate, config.training.weight_decay)
    how = fastest(policy, batch, config.training, Pace("auto", 0))
    ours = LadleTraining(policy, config, how)
    counts = list(dict.fromkeys((available_threads(), 1)))
    runs = [_Timed(ours.step, how.threads, []), *(_Timed(eager.step, count, []) for count in counts)]
    began_s = time.perf_counter()
    for number in range(ROUNDS + 1):
        if number > LEAST_ROUNDS and time.perf_counter() - began_s > BUDGET_S:
            break
        for run in runs:
            with threads(run.n_threads):
                started_s = time.perf_counter()
                run.step(batch, number)
                run.seconds.append(time.perf_counter() - started_s)
    mine, *theirs = [median(run.seconds[1:]) for run in runs]
    return {"ratio_vs_eager": round(min(theirs) / mine, 2), "step_ms": round(1e3 * mine, 1),
            "eager_step_ms": round(1e3 * min(theirs), 1), "precision": how.precision, "threads": how.threads,
            "eager_threads": counts[int(np.argmin(theirs))]}
