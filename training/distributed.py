"""Processes that train together on several GPUs or machines: `accelerate launch` or `torchrun` starts them.

Each computes its part of every batch, gradients are averaged, and rank 0 alone writes. One that was started by itself
is alone, and nothing here touches it.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ladle.errors import ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator

# The others wait while rank 0 validates and rolls out.
TIMEOUT = timedelta(hours=2)
WORLD_SIZE = "WORLD_SIZE"  # both torchrun and accelerate say it


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; alone by default.

    Attributes:
        rank, count: its number and how many there are.
        accelerator: None where it is alone.
    """

    rank: int = 0
    count: int = 1
    accelerator: Accelerator | None = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def device(self, asked: str) -> str:
        """The device of this process: with CUDA each has a GPU of its own."""
        return asked if self.accelerator is None or asked == "cpu" else str(self.accelerator.device)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients that are averaged over the processes."""
        return module if self.accelerator is None else cast(nn.Module, self.accelerator.prepare_model(module))

    def unsynchronised(self, wrapped: nn.Module, active: bool) -> AbstractContextManager[Any]:
        """Inside, where active, gradients add up in each process without being averaged."""
        return nullcontext() if self.accelerator is None or not active else self.accelerator.no_sync(wrapped)

    def mean(self, value: float) -> float:
        """Of all processes."""
        if self.accelerator is None:
            return value
        mine = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        return float(cast(torch.Tensor, self.accelerator.reduce(mine, reduction="mean")))

    def from_main(self, value: Any) -> Any:
        """What rank 0 has, in every process."""
        if self.accelerator is None:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def launched() -> bool:
    """Whether a launcher started several processes."""
    return int(os.environ.get(WORLD_SIZE, "1")) > 1


def join(device: str) -> Processes:
    """Meet the other processes of the launcher, if there is one. Raises ConfigError where the device is one GPU."""
    if not launched():
        return Processes()
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"training.device={device} with a launcher, which gives each process its own; set it to cuda "
                          "or cpu")
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no",
                              kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT)])
    if not accelerator.is_main_process:
        logging.disable(logging.INFO)  # rank 0 says it
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator)
