"""A batch in equal parts, by process and by gradient accumulation, that together do what the whole batch does.

A part draws the random numbers of the whole batch and keeps its own rows, so noise, crops and mass dropout do not
depend on how a batch is split. A transformer's dropout is other for every part: it does depend on the split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ladle.errors import ConfigError
from training.dataset import WindowBatches
from training.schema import TrainingSection

DRAWS: tuple[Callable[..., Any], ...] = (torch.rand, torch.randn, torch.randint)


class PartGenerator(torch.Generator):
    """Draws as the step's generator does; what is seeded from it (dropout) differs from part to part."""

    dropout_seed = 0

    def initial_seed(self) -> int:
        """For dropout only."""
        return self.dropout_seed


class DrawsOfPart(TorchFunctionMode):
    """Inside, a draw from a generator gives the part's rows of what the whole batch would be given."""

    def __init__(self, part: int, parts: int) -> None:
        super().__init__()
        self._part, self._parts = part, parts

    def __torch_function__(self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        """Called for each function of torch."""
        named = kwargs or {}
        if func not in DRAWS or named.get("generator") is None:
            return func(*args, **named)
        *before, shape = args
        rows = int(shape[0])
        whole = func(*before, (rows * self._parts, *shape[1:]), **named)
        return whole[self._part * rows:(self._part + 1) * rows]


@dataclass(frozen=True)
class Parts:
    """Which parts of each batch this process computes.

    Attributes:
        batches: of the size of one part.
        here: parts of this process, one after the other.
        first: the number of its first one.
        count: of all processes.
    """

    batches: WindowBatches
    here: int
    first: int
    count: int


def split(batches: WindowBatches, settings: TrainingSection, rank: int, processes: int) -> Parts:
    """Parts of batches of the global size. Raises ConfigError where the size does not divide."""
    here = settings.gradient_accumulation
    count = here * processes
    if batches.batch_size % count:
        raise ConfigError(f"training.batch_size={batches.batch_size} is that of all processes together and must be a "
                          f"multiple of {processes} processes x gradient_accumulation={here}; set it to "
                          f"{-(-batches.batch_size // count) * count}")
    part = batches if count == 1 else replace(batches, batch_size=batches.batch_size // count)
    return Parts(part, here, rank * here, count)


def part_generator(whole: torch.Generator, part: int) -> torch.Generator:
    """A generator for one part with the state of the step's fresh one."""
    seed = whole.initial_seed()
    generator = PartGenerator(device=whole.device)
    generator.manual_seed(seed)
    generator.dropout_seed = int(np.random.SeedSequence([seed, part]).generate_state(1, np.uint64)[0] >> 1)
    return generator
