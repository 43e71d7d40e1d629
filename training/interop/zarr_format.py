"""The replay buffer of the Diffusion Policy code, as a folder or a zip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter, zip_replay_buffer
from training.interop.episode_set import Column, EpisodeSet, Streams, native
from training.interop.staging import remove

NUMBERS = "biufc"  # numpy's kinds


def read_zarr(path: Path) -> EpisodeSet:
    """Open a folder or a .zip of zarr format 2 or 3.

    Raises:
        ReplayBufferError: it is not a replay buffer, or needs a codec that is not installed.
    """
    buffer = ReplayBuffer.open(path)
    keys = [key for key in buffer.keys() if buffer[key].dtype.kind in NUMBERS]  # noqa: SIM118  (not a mapping)
    texts = [f"the array data/{key} of type {buffer[key].dtype}" for key in buffer.keys() if key not in keys]  # noqa: SIM118

    def read() -> Iterator[Streams]:
        for index in range(buffer.n_episodes):
            rows = buffer.episode_slice(index)
            try:
                streams = {key: native(np.asarray(buffer[key][rows])) for key in keys}
            except (OSError, RuntimeError, ValueError) as error:
                raise ReplayBufferError(f"{path}: rows {rows.start} to {rows.stop} cannot be read ({error}); the files "
                                        "are damaged, copy the data set again") from error
            yield streams

    lengths = tuple(int(length) for length in np.diff(buffer.episode_ends, prepend=0))
    return EpisodeSet(path, {key: Column.of(buffer[key]) for key in keys}, lengths, buffer.meta, read,
                      (*texts, *buffer.left_behind()))


def write_zarr(path: Path, source: EpisodeSet) -> None:
    """Write a folder, format 2 with Blosc: zarr 2 and 3 read it."""
    with ReplayBufferWriter(path, source.meta) as writer:
        for streams in source.episodes():
            writer.append_episode(streams)


def write_zarr_zip(path: Path, source: EpisodeSet) -> None:
    """Write a .zarr.zip by way of a folder beside it."""
    folder = path.with_name(path.name.removesuffix(".zip"))
    write_zarr(folder, source)
    zip_replay_buffer(folder).rename(path)
    remove(folder)
