"""Replay buffers whose images are compressed with a codec of the package imagecodecs.

The Diffusion Policy code writes JPEG 2000 for its real robots, UMI's data sets JPEG XL.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs

from ladle.errors import ReplayBufferError

CODEC = re.compile(r"imagecodecs_\w+")


def prepare(path: Path) -> None:
    """Register the codecs that the store needs.

    Raises:
        ReplayBufferError: one is needed, and the optional package is not installed, or does not have it.
    """
    needed = sorted({name for text in _array_descriptions(path) for name in CODEC.findall(text)})
    if not needed:
        return
    if importlib.util.find_spec("imagecodecs") is None:
        raise ReplayBufferError(f"{path} holds images compressed with {', '.join(needed)}; install the package "
                                "imagecodecs (pip install imagecodecs) and run the same command again")
    module = importlib.import_module("imagecodecs.numcodecs")
    known = {str(item.codec_id): item for item in vars(module).values() if hasattr(item, "codec_id")}
    for name in needed:
        if name not in known:
            raise ReplayBufferError(f"{path} holds images compressed with {name}, which this version of imagecodecs "
                                    "does not have; install a newer one (pip install --upgrade imagecodecs)")
        numcodecs.register_codec(_tolerant(known[name]), name)


def _tolerant(codec: Any) -> type[Any]:
    """The codec, deaf to settings that its version does not know: they matter to the encoder only."""
    known = set(inspect.signature(codec.__init__).parameters)

    class Tolerant(codec):
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(**{key: value for key, value in config.items() if key in known})

    return Tolerant


def _array_descriptions(path: Path) -> Iterator[str]:
    """The text of every array's description in a folder or a zip."""
    if path.is_dir():
        for file in path.glob("data/*/.zarray"):
            yield file.read_text()
        for file in path.glob("data/*/zarr.json"):
            yield file.read_text()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith((".zarray", "zarr.json")):
                    yield archive.read(name).decode()
