"""Number formats of the forward pass, and what float16 needs beside."""

from __future__ import annotations

import torch

from ladle.errors import ConfigError

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALLEST_LOSS_SCALE = 1.0  # below it a gradient is not finite by itself, not for float16's short range


def refuse_precision(precision: str, device: str) -> None:
    """Raise ConfigError for float16 without CUDA, where its small numbers cannot be rescued."""
    if precision == "float16" and not device.startswith("cuda"):
        raise ConfigError(f"training.precision=float16 needs CUDA, and training.device is {device}; set "
                          "training.precision=float32 or bfloat16")


def loss_scaler(precision: str, device: str) -> torch.amp.GradScaler:
    """Scales float16's losses; does nothing for other precisions."""
    return torch.amp.GradScaler(device.partition(":")[0], enabled=precision == "float16")
