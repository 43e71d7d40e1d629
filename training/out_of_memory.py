"""What to do when memory runs out, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import yaml

from ladle.errors import ConfigError

# A processor's allocator has no exception of its own: parts of its messages on Linux, Windows and macOS.
CPU_ALLOCATOR = ("can't allocate memory", "not enough memory", "DefaultCPUAllocator")

KEEP_LESS = "lower data.ram_limit_mb with data.storage=auto (frames then lie on the disk), "


@contextmanager
def named_out_of_memory(config_text: str, precision: str) -> Iterator[None]:
    """Inside, memory that runs out is a ConfigError that names what takes it. Other errors pass.

    Args:
        config_text: the run's configuration as YAML.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(_advice(yaml.safe_load(config_text), precision)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed, on a GPU or beside it."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(text in str(error) for text in CPU_ALLOCATOR)


def _advice(config: dict[str, Any], precision: str) -> str:
    training, images = config["training"], config["observations"]["images"]
    crop = config["encoder"]["crop_px"]
    sizes = [crop] if crop else [[image["height_px"], image["width_px"]] for image in images]
    seen = f"images of {' and '.join(f'{height} x {width} px' for height, width in sizes)} (encoder.crop_px)"
    return (f"out of memory on {training['device']} with training.batch_size={training['batch_size']}, "
            f"training.gradient_accumulation={training['gradient_accumulation']}, "
            f"{seen if images else 'no images'}, training.precision={precision}; raise gradient_accumulation (same "
            f"results), lower batch_size{' or the crop' if images else ''}, {KEEP_LESS if images else ''}or take "
            "another precision")
