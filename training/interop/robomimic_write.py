"""Writing robomimic's HDF5."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from ladle.errors import ReplayBufferError
from training.interop.episode_set import Array, EpisodeSet, Streams
from training.interop.hdf5_file import new_hdf5
from training.interop.robomimic_layout import ACTION, DATA, DEMO, MASK, OWN, dataset_name, env_args

# Below this a row is a vector and stays uncompressed, as robomimic itself writes it.
IMAGE_ROW_BYTES = 1024
CHUNK_BYTES = 1_000_000


def write_robomimic(path: Path, source: EpisodeSet) -> None:
    """Write one demonstration per episode, demo_<the episode's number>, without loss.

    robomimic's loader insists on rewards and dones. Where the data have none, rewards are 0 and dones mark the last
    step; that they were made up is noted, and they vanish on the way back.

    Raises:
        ReplayBufferError: there is no action, or a key cannot be a name in HDF5.
    """
    if ACTION not in source.columns:
        raise ReplayBufferError(f"{source.origin} has no {ACTION!r}, which robomimic needs; it has "
                                f"{', '.join(source.columns)}")
    if odd := [key for key in source.columns if "/" in key]:
        raise ReplayBufferError(f"{source.origin}: the key {odd[0]!r} cannot be a name in HDF5; rename it")
    synthetic = [key for key in ("rewards", "dones") if key not in source.columns]
    with new_hdf5(path) as (file, check_disk):
        data = file.create_group(DATA)
        total = 0
        for number, streams in zip(source.numbers, source.episodes(), strict=True):
            demo = data.create_group(f"{DEMO}{number}")
            for key, values in {**_made_up(streams, synthetic), **streams}.items():
                _write(demo, dataset_name(key), values)
            steps = len(streams[ACTION])
            demo.attrs["num_samples"] = steps
            total += steps
            for name, value in _attributes(source.meta, number).items():
                demo.attrs[name] = value
            check_disk()
        data.attrs["total"] = total
        data.attrs["env_args"] = env_args(source.meta, source.instructions[0])
        _write_filters(file, source)
        own = {"meta": dict(source.meta), "synthetic": synthetic}
        file.create_dataset(OWN, data=np.bytes_(json.dumps(own).encode()))


def _made_up(streams: Streams, names: list[str]) -> dict[str, Array]:
    steps = len(streams[ACTION])
    dones = np.zeros(steps, np.int64)
    dones[-1] = 1
    return {name: dones if name == "dones" else np.zeros(steps, np.float64) for name in names}


def _write(demo: h5py.Group, name: str, values: Array) -> None:
    row_bytes = int(values[:1].nbytes)
    if row_bytes < IMAGE_ROW_BYTES:
        demo.create_dataset(name, data=values)
        return
    rows = int(np.clip(CHUNK_BYTES // row_bytes, 1, len(values)))
    demo.create_dataset(name, data=values, chunks=(rows, *values.shape[1:]), compression="gzip", compression_opts=1,
                        shuffle=True)


def _attributes(meta: Mapping[str, Any], number: int) -> dict[str, Any]:
    known = cast(dict[str, dict[str, Any]], meta.get("attributes", {}))
    return known.get(str(number), {})


def _write_filters(file: h5py.File, source: EpisodeSet) -> None:
    here = set(source.numbers)
    for key, numbers in cast(dict[str, list[int]], source.meta.get("filters", {})).items():
        names = [f"{DEMO}{number}" for number in numbers if number in here]
        file.create_dataset(f"{MASK}/{key}", data=np.array(names, dtype="S"))
