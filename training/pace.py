"""How fast a step can be: precision and threads, chosen by timing them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from training.batch import Batch
from training.precision import AUTOCAST
from training.schema import TrainingSection

log = logging.getLogger(__name__)

PROBE_STEPS = 3
NO_BFLOAT16 = ("DEFAULT", "AVX2")  # here bfloat16 is emulated, some forty times slower


class Learner(Protocol):
    """What can be trained."""

    def compute_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """A scalar; all randomness from the generator."""
        ...

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser is given: parameters with their weight decay."""
        ...


@dataclass(frozen=True)
class Pace:
    """precision: float32, bfloat16, float16, or auto while undecided; threads of torch, 0 while undecided."""

    precision: str
    threads: int


def loss_of(module: nn.Module, batch: Batch, generator: torch.Generator, precision: str) -> Tensor:
    """The module's loss, under autocast for the short formats."""
    short = AUTOCAST[precision]
    with torch.autocast(generator.device.type, dtype=short, enabled=short is not None):
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
    if how.precision == "auto" and settings.device == "cpu" and torch.backends.cpu.get_cpu_capability() in NO_BFLOAT16:
        precisions = ("float32",)
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
