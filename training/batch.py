"""What a network is given at once. Apart from the data set, so that the robot needs no zarr."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ladle.errors import ConfigError


def usable_device(name: str) -> torch.device:
    """The device of a name. Raises ConfigError where it is unknown or cannot hold a number on this machine."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); use cpu") from error
    return device


@dataclass(frozen=True)
class Batch:
    """One batch, on one device.

    Attributes:
        images: key -> (B, To, H, W, C) uint8, C = 3 or with depth 4.
        low_dim: key -> (B, To, D) float32, not normalised.
        stage: (B,) int64, stage of the newest observation; None without stages.
        action: (B, T, Da) float32, not normalised; None where nothing is to be learnt from it.
        mass_g: (B,) float32 final mass; None where it is unknown, or not asked for.
    """

    images: dict[str, Tensor]
    low_dim: dict[str, Tensor]
    stage: Tensor | None = None
    action: Tensor | None = None
    mass_g: Tensor | None = None

    @property
    def size(self) -> int:
        """B."""
        return len(next(iter((*self.images.values(), *self.low_dim.values()))))

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        if device.type == "cpu":
            return self
        return Batch(
            images={key: value.to(device, non_blocking=True) for key, value in self.images.items()},
            low_dim={key: value.to(device, non_blocking=True) for key, value in self.low_dim.items()},
            stage=None if self.stage is None else self.stage.to(device),
            action=None if self.action is None else self.action.to(device),
            mass_g=None if self.mass_g is None else self.mass_g.to(device),
        )
