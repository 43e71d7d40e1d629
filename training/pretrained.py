"""Weights that a ResNet begins with, from a local safetensors file with torchvision's names."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ladle.errors import ConfigError
from training.models.resnet import ResNet

HEAD = "fc."
BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def load_pretrained(network: ResNet, path: str | Path) -> None:
    """Take over the weights of a file.

    Where the file holds batch statistics only its convolutions are taken: the scale and shift that were learnt behind
    them mean nothing behind a GroupNorm. A fourth image channel begins as the mean of the three.

    Raises:
        ConfigError: no such file, not safetensors, or weights of another network; the first that differs is named.
    """
    given, own = _read(Path(path)), network.state_dict()
    batch_norm = any(name.endswith(BATCH_STATISTICS) for name in given)
    # Vectors are norms: these convolutions have no bias.
    wanted = [name for name, value in own.items() if value.dim() > 1 or not batch_norm]
    first = given.get("conv1.weight")
    if first is not None and first.shape[1] == 3 and own["conv1.weight"].shape[1] == 4:
        given["conv1.weight"] = torch.cat([first, first.mean(dim=1, keepdim=True)], dim=1)
    for name in wanted:
        there = tuple(given[name].shape) if name in given else "missing"
        if there != tuple(own[name].shape):
            raise ConfigError(f"encoder.pretrained {path}: {name} is {there}, expected {tuple(own[name].shape)}; "
                              "is it the file of encoder.backbone, with torchvision's names?")
    network.load_state_dict({**own, **{name: given[name] for name in wanted}})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"encoder.pretrained: no file at {path}; give a .safetensors file, or null")
    try:
        loaded = cast("dict[str, Tensor]", load_file(path))
    except SafetensorError as error:
        raise ConfigError(f"encoder.pretrained {path} is no safetensors file ({' '.join(str(error).split())}); "
                          "convert the weights once with safetensors.torch.save_file") from error
    return {name: value for name, value in loaded.items() if not name.startswith(HEAD)}
