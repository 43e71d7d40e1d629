"""A loss, gradient or weight that is not a number stops the run, and what it came from is kept."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from ladle.atomic import replace_file
from ladle.errors import ConfigError
from training.batch import Batch


def non_finite_error(what: str, value: float, step: int, seed: int, learning_rate: float, saved: Path) -> ConfigError:
    """The error that stops the run."""
    return ConfigError(f"the {what} became {value} at step {step}; lower training.learning_rate (now "
                       f"{learning_rate}), or set training.precision=float32; the batch of that step (seed {seed}) is "
                       f"in {saved}, the last checkpoint is from before")


def batch_path(folder: Path, step: int) -> Path:
    """Where the batch of a step is kept, beside the run log."""
    return folder / f"not_finite_step={step:06d}.safetensors"


def save_batch(path: Path, batch: Batch, step: int, seed: int) -> None:
    """Write a batch under flat names (images.KEY, low_dim.KEY, stage, action, mass_g), step and seed as metadata."""
    tensors: dict[str, Tensor] = {f"images.{key}": value for key, value in batch.images.items()}
    tensors |= {f"low_dim.{key}": value for key, value in batch.low_dim.items()}
    more = {"stage": batch.stage, "action": batch.action, "mass_g": batch.mass_g}
    tensors |= {key: value for key, value in more.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial,
                  metadata={"step": str(step), "seed": str(seed)})


def all_finite(module: nn.Module) -> bool:
    """Whether every weight is a finite number."""
    return all(bool(value.isfinite().all()) for value in module.parameters())
