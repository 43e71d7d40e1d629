"""Scaling to [-1, 1] by the limits of the data, kept inside the policy so that no checkpoint is without it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# A channel that hardly moves is centred, not blown up.
SMALLEST_RANGE = 1e-4


class LimitsNormalizer(nn.Module):
    """Per channel y = x * scale + offset.

    Attributes:
        scale, offset: (D,) buffers; ones and zeros until `fit`.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("offset", torch.zeros(width))

    def fit(self, values: NDArray[np.floating], fixed: NDArray[np.bool_]) -> None:
        """Set scale and offset from values (N, D); channels where fixed (D,) is true are left untouched."""
        self.fit_limits(values.min(axis=0), values.max(axis=0), fixed)

    def fit_limits(self, lower: NDArray[np.floating], upper: NDArray[np.floating], fixed: NDArray[np.bool_]) -> None:
        """Set scale and offset from the smallest and largest value of each channel, (D,) each."""
        lower, upper = lower.astype(np.float64), upper.astype(np.float64)
        spread = upper - lower
        still = spread < SMALLEST_RANGE
        scale = np.where(still, 1.0, 2.0 / np.where(still, 1.0, spread))
        offset = -scale * (upper + lower) / 2
        self.scale.copy_(torch.from_numpy(np.where(fixed, 1.0, scale)))
        self.offset.copy_(torch.from_numpy(np.where(fixed, 0.0, offset)))

    def normalize(self, values: Tensor) -> Tensor:
        """(..., D) in the data's units -> (..., D) in [-1, 1]."""
        return values * self.scale + self.offset

    def unnormalize(self, values: Tensor) -> Tensor:
        """(..., D) in [-1, 1] -> (..., D) in the data's units."""
        return (values - self.offset) / self.scale
