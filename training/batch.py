"""What a network is given at once. Apart from the data set, so that the robot needs no zarr."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch, on one device.

    Attributes:
        images: key -> (B, To, H, W, 3) uint8.
        low_dim: key -> (B, To, D) float32, not normalised.
        stage: (B,) int64, stage of the newest observation; None without stages.
        action: (B, T, Da) float32, not normalised; None where nothing is to be learnt from it.
    """

    images: dict[str, Tensor]
    low_dim: dict[str, Tensor]
    stage: Tensor | None = None
    action: Tensor | None = None

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
        )
