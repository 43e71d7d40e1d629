"""A live window as the network's input. Runs on the robot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.policy import ObservationWindow
from training.batch import Batch
from training.features import low_dim_features, network_frames
from training.schema import ObservationSection


def make_batch(window: ObservationWindow, observations: ObservationSection, device: str, blind: bool = False,
               stage: int | None = None) -> Batch:
    """A window as a batch of one, by the same functions as in training."""
    images: dict[str, torch.Tensor] = {}
    for spec in observations.images:
        frames = network_frames(window.streams, spec)
        images[spec.key] = batch_of_one(np.zeros_like(frames) if blind else frames, device)
    low_dim = {spec.key: batch_of_one(low_dim_features(np.asarray(window.streams[spec.key]), spec), device)
               for spec in observations.low_dim}
    return Batch(images=images, low_dim=low_dim,
                 stage=None if stage is None else torch.tensor([stage], dtype=torch.long, device=device))


def batch_of_one(values: NDArray[Any], device: str) -> torch.Tensor:
    """(...) -> (1, ...) on the device."""
    return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)
