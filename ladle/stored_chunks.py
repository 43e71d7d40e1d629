"""Which chunks of a zarr array are on the disk.

A chunk that is not there reads as the fill value, without a word: zarr leaves out chunks of zeros only, if it is not
told otherwise, and cannot tell one of these from one that was lost.
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr


@dataclass(frozen=True)
class AbsentChunks:
    """Chunks of one array that have no file.

    Attributes:
        name: the array's place in the store, "data/camera_1".
        absent, total: how many have none, and how many the array has.
        first, last: rows of the first such chunk, counted from 0 and both included.
    """

    name: str
    absent: int
    total: int
    first: int
    last: int

    def __str__(self) -> str:
        return (f"{self.name} lacks {self.absent} of its {self.total} chunks, the first one with the rows {self.first} "
                f"to {self.last}")


def absent_chunks(path: Path, arrays: Mapping[str, zarr.Array[Any]]) -> list[AbsentChunks]:
    """Look for the chunks of arrays (name in the store -> array) in a folder or a zip; the names are listed once."""
    found = [_absent(name, array, _stored(path, name)) for name, array in arrays.items()]
    return [absent for absent in found if absent is not None]


def _absent(name: str, array: zarr.Array[Any], stored: set[str]) -> AbsentChunks | None:
    shape = array.shards or array.chunks
    grid = [range(-(-size // max(chunk, 1))) for size, chunk in zip(array.shape, shape, strict=True)]
    expected = list(itertools.product(*grid))
    absent = [place for place in expected if array.metadata.encode_chunk_key(place) not in stored]
    if not absent:
        return None
    first = absent[0][0] * shape[0]
    return AbsentChunks(name, len(absent), len(expected), first, min(first + shape[0], array.shape[0]) - 1)


def _stored(path: Path, name: str) -> set[str]:
    """Names of the files below an array, relative to it."""
    if path.is_dir():
        return set(_below(path / name))
    with zipfile.ZipFile(path) as archive:
        return {member.removeprefix(f"{name}/") for member in archive.namelist() if member.startswith(f"{name}/")}


def _below(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        inside = Path(place).relative_to(folder).as_posix()
        yield from files if inside == "." else (f"{inside}/{file}" for file in files)
