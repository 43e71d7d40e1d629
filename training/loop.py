"""The one training loop, for the classifier and the policy alike."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ladle.errors import ConfigError
from training.batch import Batch
from training.checkpoint import CONFIG, EMA, META, TRAIN_STATE, Kind, prune, save_checkpoint
from training.dataset import WindowBatches
from training.distributed import Processes, launched
from training.ema import Ema
from training.non_finite import all_finite, batch_path, non_finite_error, save_batch
from training.pace import Learner, Pace, fastest, loss_of, step_generator, threads
from training.pace import available_threads as available_threads
from training.parts import DrawsOfPart, Parts, part_generator, split
from training.precision import SMALLEST_LOSS_SCALE, loss_scaler, refuse_precision
from training.resume import CHECKPOINTS, latest_checkpoint, refuse_other_run, refuse_used_folder, restore, train_state
from training.run_log import RunLog
from training.schedules import learning_rate
from training.schema import EmaSection, LoggingSection, TrainingSection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What the loop needs to know of a run beside the module and its data.

    Attributes:
        folder: where logs and checkpoints go.
        texts: config.yaml and task.yaml as they are kept in each checkpoint.
        monitor: entry of the validation or rollout result that ranks checkpoints; None keeps the last only.
        highest_best: of the monitor.
        rollout: episodes in the task's environment with the averaged weights; None for none.
        rollout_at: after which optimiser steps they are done, beside the last.
        fingerprint: of the data; a resumed run must have the same.
        copies: folders that each checkpoint takes in, e.g. the classifier that a policy was trained with.
        processes: those that train together.
    """

    folder: Path
    kind: Kind
    training: TrainingSection
    logging: LoggingSection
    ema: EmaSection
    texts: Mapping[str, str]
    fingerprint: str
    monitor: str | None = None
    highest_best: bool = False
    rollout: Callable[[nn.Module], dict[str, float]] | None = None
    rollout_at: Callable[[int], bool] = lambda _: False
    copies: Mapping[str, Path] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)


def fit(module: nn.Module, batches: WindowBatches, validate: Callable[[nn.Module], dict[str, float]] | None,
        run: Run) -> Path:
    """Train to max_steps, from the latest checkpoint of the folder if there is one; the last checkpoint's folder.

    The batch and the noise of a step depend on seed and step alone, so a resumed run repeats what an uninterrupted
    one would have done.

    Args:
        batches: of the global size; each process computes its parts of them.
    """
    settings, processes = run.training, run.processes
    refuse_precision(settings.precision, settings.device)
    if not settings.resume:
        refuse_used_folder(run.folder)
    if launched() and processes.count == 1:
        raise ConfigError(f"a {run.kind} is trained by one process; start it without a launcher")
    parts = split(batches, settings, processes.rank, processes.count)
    return _fit(module, batches, parts, validate, run)


def _fit(module: nn.Module, batches: WindowBatches, parts: Parts,
         validate: Callable[[nn.Module], dict[str, float]] | None, run: Run) -> Path:
    settings, processes = run.training, run.processes
    module = module.to(settings.device)
    optimizer = torch.optim.AdamW(cast(Learner, module).parameter_groups(settings.weight_decay),
                                  lr=settings.learning_rate, betas=settings.betas, fused=True)
    ema = Ema(module, run.ema.power, run.ema.max_decay)
    start, how, scale = 0, Pace(settings.precision, settings.threads), dict[str, Any]()
    last = latest_checkpoint(run.folder / CHECKPOINTS, run.kind) if settings.resume else None
    if last is not None:
        refuse_other_run(last, run.texts, run.fingerprint, settings, run.monitor)
        restore(last, module, optimizer, ema)
        start, scale = last.step, last.meta.get("loss_scale", {})
        how = Pace(str(last.meta["precision"]) if settings.precision == "auto" else settings.precision,
                   settings.threads or int(last.meta["threads"]))
        refuse_precision(how.precision, settings.device)
    if start != processes.from_main(start):
        raise ConfigError(f"{run.folder} is not the same folder on all machines; put it where all can read it")
    if last is not None and start >= settings.max_steps:
        log.info("%s has %d steps already; training.max_steps is %d", run.folder, start, settings.max_steps)
        return last.folder
    if last is not None:
        log.info("going on from step %d of %s", start, last.folder)
    how = processes.from_main(fastest(module, parts.batches(0), settings, how))
    scaler = loss_scaler(how.precision, settings.device)
    if scale and scaler.is_enabled():
        scaler.load_state_dict(scale)
    wrapped = processes.wrap(_Loss(module, how.precision))
    run_log = (RunLog(run.folder, run.logging, {"config": run.texts[CONFIG]}, start) if processes.main
               else nullcontext())
    with threads(how.threads), run_log as rows:
        state = _State(module, wrapped, optimizer, scaler, ema, batches, parts, validate, run, how)
        return state.run_steps(start, rows)


class _Loss(nn.Module):
    """The loss as a forward pass, which is what processes average the gradients of."""

    def __init__(self, module: nn.Module, precision: str) -> None:
        super().__init__()
        self.module, self._precision = module, precision

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return loss_of(self.module, batch, generator, self._precision)


@dataclass
class _State:
    module: nn.Module
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema
    batches: WindowBatches
    parts: Parts
    validate: Callable[[nn.Module], dict[str, float]] | None
    run: Run
    how: Pace

    def run_steps(self, start: int, run_log: RunLog | None) -> Path:
        """The remaining steps; run_log is None in processes that write nothing."""
        settings, began_s = self.run.training, time.monotonic()
        checkpoint = self.run.folder / CHECKPOINTS
        with tqdm(total=settings.max_steps, initial=start, desc=self.run.kind, unit="step", mininterval=1.0,
                  disable=run_log is None) as bar:
            for step in range(start, settings.max_steps):
                rate = learning_rate(step, settings)
                loss = self.train_step(step, rate)
                done = step + 1
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if run_log is None:
                    continue
                metrics = self.measure(done)
                row = {"step": step, "epoch": self.batches.epoch(step), "train_loss": loss, "lr": rate}
                run_log.write(row | metrics)
                if done == settings.max_steps or done % settings.checkpoint_every == 0:
                    checkpoint = self.save(done, metrics)
        self.run.processes.wait()
        steps = settings.max_steps - start
        log.info("%s: %d steps in %.0f s, %s, %d threads", self.run.folder, steps, time.monotonic() - began_s,
                 self.how.precision, self.how.threads)
        return checkpoint

    def measure(self, done: int) -> dict[str, float]:
        """Validation and rollouts where they are due; a checkpoint between two of them has no value."""
        last = done == self.run.training.max_steps
        metrics: dict[str, float] = {}
        if self.validate is not None and (last or done % self.run.training.validate_every == 0):
            metrics |= self.validate(self.ema.module)
        if self.run.rollout is not None and (last or self.run.rollout_at(done)):
            metrics |= self.run.rollout(self.ema.module)
        return metrics

    def train_step(self, step: int, rate: float) -> float:
        """One step of the optimiser; the loss of the whole batch."""
        settings = self.run.training
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        generator = step_generator(settings.seed, step, settings.device)
        value = self.run.processes.mean(sum(self.backward(step, number, generator) for number in
                                            range(self.parts.here)) / self.parts.here)
        if not math.isfinite(value):
            raise self.not_finite("loss", value, step)
        self.scaler.unscale_(self.optimizer)
        limit = settings.max_gradient_norm
        parameters = [value for value in self.module.parameters() if value.grad is not None]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit) if limit is not None
                     else torch.nn.utils.get_total_norm([cast(Tensor, value.grad) for value in parameters]))
        if not math.isfinite(norm) and (not self.scaler.is_enabled()
                                        or self.scaler.get_scale() <= SMALLEST_LOSS_SCALE):
            raise self.not_finite("gradient", norm, step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update(self.module, step)
        return value

    def backward(self, step: int, number: int, generator: torch.Generator) -> float:
        """Add the gradient of one part of the batch; the part's loss."""
        parts, processes = self.parts, self.run.processes
        part = parts.first + number
        batch = parts.batches(step * parts.count + part).to(torch.device(self.run.training.device))
        whole = parts.count == 1
        draws = nullcontext() if whole else DrawsOfPart(part, parts.count)
        with processes.unsynchronised(self.wrapped, number + 1 < parts.here):
            with draws:
                loss: Tensor = self.wrapped(batch, generator if whole else part_generator(generator, part))
            value = float(loss.detach())
            self.scaler.scale(loss if parts.here == 1 else loss / parts.here).backward()
        return value

    def not_finite(self, what: str, value: float, step: int) -> ConfigError:
        """Keep the batch; the error to raise."""
        run = self.run
        path = batch_path(run.folder, step)
        if run.processes.main:
            save_batch(path, self.batches(step), step, run.training.seed)
        return non_finite_error(what, value, step, run.training.seed, run.training.learning_rate, path)

    def save(self, done: int, metrics: Mapping[str, float]) -> Path:
        """Write a checkpoint after `done` steps, but none of weights that are no numbers; its folder."""
        run, epoch = self.run, self.batches.epoch(done)
        if not all_finite(self.module):
            raise self.not_finite("weights", math.nan, done - 1)
        value = metrics.get(run.monitor) if run.monitor else None
        name = f"epoch={int(epoch):04d}" + (f"-{run.monitor}={value:.4g}" if value is not None else f"-step={done:06d}")
        folder = run.folder / CHECKPOINTS / name
        if _step_of(folder) not in (None, done):  # as good to four digits, in the same epoch
            folder = folder.with_name(f"{name}-step={done:06d}")
        save_checkpoint(
            folder,
            kind=run.kind,
            tensors={EMA: self.ema.module.state_dict(), TRAIN_STATE: train_state(self.module, self.optimizer)},
            texts={**run.texts, "normalizer.json": normalizer_text(self.ema.module)},
            meta={"step": done, "epoch": epoch, "monitor": run.monitor, "monitor_value": value,
                  "highest_best": run.highest_best, "metrics": dict(metrics), "precision": self.how.precision,
                  "threads": self.how.threads, "fingerprint": run.fingerprint,
                  "loss_scale": self.scaler.state_dict()},
            copies=run.copies,
        )
        prune(folder.parent, run.training.keep_top_k if run.monitor else 0)
        return folder


def _step_of(folder: Path) -> int | None:
    path = folder / META
    return int(json.loads(path.read_text())["step"]) if path.is_file() else None


def normalizer_text(module: nn.Module) -> str:
    """Scale and offset of every normaliser as JSON, for people; the weights hold the same."""
    limits = (".scale", ".offset")
    state = {name: value.tolist() for name, value in module.state_dict().items() if name.endswith(limits)}
    return json.dumps(state, indent=1) + "\n"
