"""Replay buffers whose images are JPEG 2000, as the Diffusion Policy code writes them for its real robots."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numcodecs

from ladle.errors import ReplayBufferError

CODEC = "imagecodecs_jpeg2k"


def prepare(path: Path) -> None:
    """Register the codec when the store needs it.

    Raises:
        ReplayBufferError: it is needed, and the optional package that holds it is not installed.
    """
    if not any(CODEC in text for text in _array_descriptions(path)):
        return
    if importlib.util.find_spec("imagecodecs") is None:
        raise ReplayBufferError(f"{path} holds images compressed with {CODEC}; install the package imagecodecs "
                                "(pip install imagecodecs) and run the same command again")
    codec = cast(Any, importlib.import_module("imagecodecs.numcodecs")).Jpeg2k
    numcodecs.register_codec(_tolerant(codec), CODEC)


def _tolerant(codec: type[Any]) -> type[Any]:
    """The codec, deaf to settings that its version does not know: they matter to the encoder only."""
    known = set(inspect.signature(codec.__init__).parameters)

    class Jpeg2k(codec):
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(**{key: value for key, value in config.items() if key in known})

    return Jpeg2k


def _array_descriptions(path: Path) -> Iterator[str]:
    """The text of every array's description in a folder or a zip."""
    if path.is_dir():
        for file in path.glob("data/*/.zarray"):
            yield file.read_text()
        for file in path.glob("data/*/zarr.json"):
            yield json.dumps(json.loads(file.read_text()))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".zarray", "zarr.json")):
                    yield archive.read(name).decode()
