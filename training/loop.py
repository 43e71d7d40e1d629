"""The one training loop, for the classifier and the policy alike."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ladle.errors import ConfigError
from training.batch import Batch
from training.checkpoint import CONFIG, EMA, META, TRAIN_STATE, Kind, prune, save_checkpoint
from training.ema import Ema
from training.resume import latest_checkpoint, refuse_other_run, restore, train_state
from training.run_log import RunLog
from training.schema import EmaSection, LoggingSection, TrainingSection

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
PROBE_STEPS = 3


class Learner(Protocol):
    """What can be trained."""

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar; all randomness from the generator."""
        ...


class Batches(Protocol):
    """Batches as a function of the step."""

    def __call__(self, step: int) -> Batch:
        """The batch of step 0, 1, ..."""
        ...

    def epoch(self, step: int) -> float:
        """Passes over the data after `step` batches."""
        ...


@dataclass(frozen=True)
class Pace:
    """precision: float32, bfloat16, or auto while undecided; threads of torch, 0 while undecided."""

    precision: str
    threads: int


@dataclass(frozen=True)
class Run:
    """What the loop needs to know of a run beside the module and its data.

    Attributes:
        folder: where logs and checkpoints go.
        texts: config.yaml and task.yaml as they are kept in each checkpoint.
        monitor: entry of the validation result that ranks checkpoints, lowest best; None keeps the last only.
        fingerprint: of the data; a resumed run must have the same.
        copies: folders that each checkpoint takes in, e.g. the classifier that a policy was trained with.
    """

    folder: Path
    kind: Kind
    training: TrainingSection
    logging: LoggingSection
    ema: EmaSection
    texts: Mapping[str, str]
    fingerprint: str
    monitor: str | None = None
    copies: Mapping[str, Path] = field(default_factory=dict)


def fit(module: nn.Module, batches: Batches, validate: Callable[[nn.Module], dict[str, float]] | None,
        run: Run) -> Path:
    """Train to max_steps, from the latest checkpoint of the folder if there is one; the last checkpoint's folder.

    The batch and the noise of a step depend on seed and step alone, so a resumed run repeats what an uninterrupted
    one would have done.
    """
    settings = run.training
    module = module.to(settings.device)
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate, betas=settings.betas,
                                  weight_decay=settings.weight_decay, fused=True)
    ema = Ema(module, run.ema.power, run.ema.max_decay)
    start, how = 0, Pace(settings.precision, settings.threads)
    if settings.resume and (last := latest_checkpoint(run.folder / CHECKPOINTS, run.kind)):
        refuse_other_run(last, run.texts, run.fingerprint)
        restore(last, module, optimizer, ema)
        start = last.step
        how = Pace(str(last.meta["precision"]) if settings.precision == "auto" else settings.precision,
                   settings.threads or int(last.meta["threads"]))
        if start >= settings.max_steps:
            log.info("%s has its %d steps already", run.folder, settings.max_steps)
            return last.folder
        log.info("going on from step %d of %s", start, last.folder)
    how = fastest(module, batches(0), settings, how)
    with threads(how.threads), RunLog(run.folder, run.logging, {"config": run.texts[CONFIG]}, start) as run_log:
        return _State(module, optimizer, ema, batches, validate, run, how).run_steps(start, run_log)


@dataclass
class _State:
    module: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema
    batches: Batches
    validate: Callable[[nn.Module], dict[str, float]] | None
    run: Run
    how: Pace

    def run_steps(self, start: int, run_log: RunLog) -> Path:
        settings, began_s = self.run.training, time.monotonic()
        checkpoint = self.run.folder / CHECKPOINTS
        with tqdm(total=settings.max_steps, initial=start, desc=self.run.kind, unit="step", mininterval=1.0) as bar:
            for step in range(start, settings.max_steps):
                rate = learning_rate(step, settings)
                loss = self.train_step(step, rate)
                row = {"step": step, "epoch": self.batches.epoch(step), "train_loss": loss, "lr": rate}
                done = step + 1
                last = done == settings.max_steps
                metrics: dict[str, float] = {}  # a checkpoint between two validations has no value
                if self.validate is not None and (last or done % settings.validate_every == 0):
                    metrics = self.validate(self.ema.module)
                    row |= metrics
                run_log.write(row)
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if last or done % settings.checkpoint_every == 0:
                    checkpoint = self.save(done, metrics)
        steps = settings.max_steps - start
        log.info("%s: %d steps in %.0f s, %s, %d threads", self.run.folder, steps, time.monotonic() - began_s,
                 self.how.precision, self.how.threads)
        return checkpoint

    def train_step(self, step: int, rate: float) -> float:
        settings = self.run.training
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = step_generator(settings.seed, step, settings.device)
        batch = self.batches(step).to(torch.device(settings.device))
        loss = loss_of(self.module, batch, generator, self.how.precision)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(f"the loss became {value} at step {step}; lower training.learning_rate (now "
                              f"{settings.learning_rate}), or set training.precision=float32")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), settings.max_gradient_norm)
        self.optimizer.step()
        self.ema.update(self.module, step)
        return value

    def save(self, done: int, metrics: Mapping[str, float]) -> Path:
        run, epoch = self.run, self.batches.epoch(done)
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
                  "metrics": dict(metrics), "precision": self.how.precision, "threads": self.how.threads,
                  "fingerprint": run.fingerprint},
            copies=run.copies,
        )
        prune(folder.parent, run.training.keep_top_k if run.monitor else 0)
        return folder


def _step_of(folder: Path) -> int | None:
    path = folder / META
    return int(json.loads(path.read_text())["step"]) if path.is_file() else None


def learning_rate(step: int, settings: TrainingSection) -> float:
    """Linear warm-up, then half a cosine down to zero at max_steps."""
    warmup = min(settings.warmup_steps, settings.max_steps - 1)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.max_steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def loss_of(module: nn.Module, batch: Batch, generator: torch.Generator, precision: str) -> Tensor:
    """The module's loss, under autocast for bfloat16."""
    device = generator.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        return cast(Learner, module).compute_loss(batch, generator)


def step_generator(seed: int, step: int, device: str) -> torch.Generator:
    """Randomness of one step; neighbouring seeds and steps are independent."""
    state = int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=device).manual_seed(state)


def fastest(module: nn.Module, batch: Batch, settings: TrainingSection, how: Pace) -> Pace:
    """Time forward and backward with what is still open in `how` ("auto" precision, 0 threads); weights stay.

    All cores lose against one when another process is busy; bfloat16 loses where the processor lacks it.
    """
    batch = batch.to(torch.device(settings.device))
    precisions = ("float32", "bfloat16") if how.precision == "auto" else (how.precision,)
    counts = (available_threads(), 1) if how.threads == 0 else (how.threads,)
    choices = [Pace(precision, count) for count in dict.fromkeys(counts) for precision in precisions]
    if len(choices) == 1:
        return choices[0]
    module.train()
    seconds = {choice: _step_seconds(module, batch, settings, choice) for choice in choices}
    module.zero_grad(set_to_none=True)
    log.info("a step takes %s", ", ".join(f"{1e3 * value:.0f} ms ({choice.precision}, {choice.threads} threads)"
                                          for choice, value in seconds.items()))
    return min(choices, key=lambda choice: seconds[choice])


def _step_seconds(module: nn.Module, batch: Batch, settings: TrainingSection, choice: Pace) -> float:
    times: list[float] = []
    with threads(choice.threads):
        for attempt in range(PROBE_STEPS + 1):
            began = time.perf_counter()
            loss_of(module, batch, step_generator(0, attempt, settings.device), choice.precision).backward()
            if settings.device.startswith("cuda"):
                torch.cuda.synchronize(settings.device)
            times.append(time.perf_counter() - began)
    return sorted(times[1:])[PROBE_STEPS // 2]


def available_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch threads inside the block; 0 takes every core that this process may use."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or available_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def normalizer_text(module: nn.Module) -> str:
    """Scale and offset of every normaliser as JSON, for people; the weights hold the same."""
    limits = (".scale", ".offset")
    state = {name: value.tolist() for name, value in module.state_dict().items() if name.endswith(limits)}
    return json.dumps(state, indent=1) + "\n"
