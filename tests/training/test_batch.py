"""Devices that a machine has or has not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ladle.errors import ConfigError
from training.batch import usable_device
from training.inference import load_policy
from training.train import run
from training.train_classifier import run as run_classifier


def test_the_processor_is_always_usable():
    """cpu is a device."""
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:9999", "meta", ""])
def test_a_device_that_is_not_here_is_one_line(name: str):
    """A typing error, hardware that is missing, and a device that holds no numbers."""
    with pytest.raises(ConfigError, match=rf"device '{name}' cannot be used here \(.+\); use cpu") as caught:
        usable_device(name)
    assert "\n" not in str(caught.value)


def test_training_and_loading_say_so_before_anything_else(tmp_path: Path):
    """Neither data nor checkpoint is looked for."""
    for start in (run, run_classifier):
        with pytest.raises(ConfigError, match="device 'gpu' cannot be used here"):
            start(["training.device=gpu", f"task.dataset_path={tmp_path}/none", f"training.output_dir={tmp_path}/out"])
    with pytest.raises(ConfigError, match="device 'gpu' cannot be used here"):
        load_policy(tmp_path / "none", "gpu")
