"""Where the frames of a data set lie while training: in memory, in a memory map, or compressed where they are.

All three give the same rows. What is kept is what the network sees: cropped, resized, uint8.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer
from training.features import network_frames
from training.model_schema import ImageInput
from training.schema import DataSection

log = logging.getLogger(__name__)

READ_ROWS = 512
MEGABYTE = 1_000_000
DISK_MARGIN = 1.1
RUNS_PER_GROUP = 16

Storage = Literal["ram", "memmap", "zarr"]


class FrameSource(Protocol):
    """Frames (N, H, W, C) uint8; a numpy array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    def take(self, indices: NDArray[np.int64], /, axis: Literal[0]) -> NDArray[np.uint8]:
        """(n,) rows -> (n, H, W, C)."""
        ...


class ZarrFrames:
    """Frames that are decompressed chunk by chunk; the chunks used last stay in memory.

    Attributes:
        rows_per_chunk: of the replay buffer's array.
        capacity: chunks that are kept.
    """

    def __init__(self, buffer: ReplayBuffer, spec: ImageInput, ram_limit_bytes: int) -> None:
        self._buffer, self._spec = buffer, spec
        self.rows_per_chunk = int(buffer[spec.key].chunks[0])
        self.capacity = max(2, ram_limit_bytes // (self.rows_per_chunk * row_bytes(spec)))
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self.n_decoded = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return (self._buffer.n_steps, self._spec.height_px, self._spec.width_px, self._spec.channels)

    def take(self, indices: NDArray[np.int64], /, axis: Literal[0] = 0) -> NDArray[np.uint8]:
        """See FrameSource."""
        assert axis == 0
        taken = np.empty((len(indices), *self.shape[1:]), np.uint8)
        chunks, offsets = np.divmod(indices, self.rows_per_chunk)
        for number in np.unique(chunks):
            mine = np.flatnonzero(chunks == number)
            taken[mine] = self._chunk(int(number))[offsets[mine]]
        return taken

    def _chunk(self, number: int) -> NDArray[np.uint8]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        while len(self._kept) >= self.capacity:
            self._kept.popitem(last=False)
        rows = slice(number * self.rows_per_chunk, (number + 1) * self.rows_per_chunk)
        self._kept[number] = _read(self._buffer, self._spec, rows)
        self.n_decoded += 1
        return self._kept[number]


def load_frames(buffer: ReplayBuffer, specs: tuple[ImageInput, ...], data: DataSection) -> dict[str, FrameSource]:
    """The frames of each image input, where the section wants them or where they fit.

    Raises:
        ConfigError: they do not fit where the section wants them.
    """
    if not specs:
        return {}
    size = buffer.n_steps * sum(row_bytes(spec) for spec in specs)
    storage = choose_storage(size, data)
    if storage != "ram":
        log.info("%.0f MB of frames, with a limit of %d MB: they are kept as %s", size / MEGABYTE, data.ram_limit_mb,
                 storage)
    if storage == "zarr":
        share = data.ram_limit_mb * MEGABYTE // len(specs)
        return {spec.key: ZarrFrames(buffer, spec, share) for spec in specs}
    found: dict[str, FrameSource] = {}
    for spec in specs:
        found[spec.key] = _filled(buffer, spec, _empty(buffer.n_steps, spec, storage, data))
    return found


def choose_storage(size_bytes: int, data: DataSection) -> Storage:
    """Memory if the frames fit into its limit, else a memory map if the disk has room, else the store itself."""
    limit, room = data.ram_limit_mb * MEGABYTE, shutil.disk_usage(_cache_dir(data)).free
    needed = size_bytes * DISK_MARGIN
    if data.storage == "auto":
        return "ram" if size_bytes <= limit else "memmap" if needed <= room else "zarr"
    if data.storage == "ram" and size_bytes > limit:
        raise ConfigError(f"data.storage=ram: the frames take {size_bytes // MEGABYTE} MB, data.ram_limit_mb is "
                          f"{data.ram_limit_mb}; raise it, or set data.storage=auto")
    if data.storage == "memmap" and needed > room:
        raise ConfigError(f"data.storage=memmap: the frames take {size_bytes // MEGABYTE} MB, {_cache_dir(data)} has "
                          f"{room // MEGABYTE} MB left; set data.cache_dir to another disk, or data.storage=zarr")
    return data.storage


def grouped_order(first_rows: NDArray[np.int64], rows_per_chunk: int, capacity: int,
                  rng: np.random.Generator) -> NDArray[np.int64]:
    """An order of windows in which each chunk is decompressed about once: first_rows (W,) -> (W,) permutation.

    Runs of neighbouring chunks are shuffled, so many of them as fit into memory are taken together, and the windows of
    such a group are shuffled.
    """
    # A window may reach into the chunk behind its run.
    run_chunks = max(1, capacity // RUNS_PER_GROUP)
    runs_together = max(1, capacity // (run_chunks + 1))
    run = first_rows // (rows_per_chunk * run_chunks)
    place = np.empty(int(run.max()) + 1, np.int64)
    place[rng.permutation(len(place))] = np.arange(len(place))
    group = place[run] // runs_together
    return np.lexsort((rng.random(len(run)), group)).astype(np.int64)


def row_bytes(spec: ImageInput) -> int:
    """Of one frame as the network sees it."""
    return spec.height_px * spec.width_px * spec.channels


def _cache_dir(data: DataSection) -> Path:
    folder = Path(data.cache_dir or tempfile.gettempdir())
    if not folder.is_dir():
        raise ConfigError(f"data.cache_dir {folder} is no folder; make it, or leave it out")
    return folder


def _empty(n_steps: int, spec: ImageInput, storage: Storage, data: DataSection) -> NDArray[np.uint8]:
    shape = (n_steps, spec.height_px, spec.width_px, spec.channels)
    if storage == "ram":
        return np.empty(shape, np.uint8)
    # The file has no name: nothing is left behind, whatever ends the process.
    with tempfile.TemporaryFile(dir=_cache_dir(data)) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _filled(buffer: ReplayBuffer, spec: ImageInput, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    for rows in _row_blocks(buffer.n_steps):
        frames[rows] = _read(buffer, spec, rows)
    return frames


def _row_blocks(n_steps: int) -> Iterator[slice]:
    for start in range(0, n_steps, READ_ROWS):
        yield slice(start, start + READ_ROWS)


def _read(buffer: ReplayBuffer, spec: ImageInput, rows: slice) -> NDArray[np.uint8]:
    streams: dict[str, NDArray[Any]] = {key: np.asarray(buffer[key][rows]) for key in spec.keys}
    return network_frames(streams, spec)
