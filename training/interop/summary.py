"""What a data set on the disk holds, whichever of the formats it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from ladle.errors import ReplayBufferError
from training.interop.episode_set import EpisodeSet
from training.interop.kinds import Kind, kind_of
from training.interop.lerobot_layout import features_of, load_info
from training.interop.lerobot_read import data_path, episode_table, parquet, read_lerobot, video_path
from training.interop.robomimic_layout import DATA, number_of
from training.interop.robomimic_read import demonstrations, filter_lists, open_hdf5, read_robomimic
from training.interop.zarr_format import read_zarr


@dataclass(frozen=True)
class StreamSummary:
    """One array of a data set: shape of a row (no leading time axis) and dtype as stored ("float32", "video", ...)."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class DatasetSummary:
    """Attributes:
        kind: "zarr", "zarr.zip", "robomimic" or "lerobot".
        episodes, steps: how many there are.
        streams: key -> shape and dtype.
        fps_hz: steps per second; None where the data set does not say.
        size_bytes: what it takes on the disk.
        faults: one line for each thing that does not fit; empty when all is well.
    """

    path: Path
    kind: str
    episodes: int
    steps: int
    streams: dict[str, StreamSummary]
    fps_hz: float | None
    size_bytes: int
    faults: list[str] = field(default_factory=list[str])


def summarise(path: str | Path) -> DatasetSummary:
    """Look into a data set without reading its frames.

    Raises:
        ReplayBufferError: nothing there, none of the known kinds, or so damaged that nothing can be said.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is Kind.EPISODES:
        raise ReplayBufferError(f"{path} is a folder of episodes, not a data set; convert it with ladle convert")
    readers: dict[Kind, tuple[Callable[[Path], EpisodeSet], Callable[[Path], list[str]]]] = {
        Kind.ZARR: (read_zarr, _no_faults), Kind.ZARR_ZIP: (read_zarr, _no_faults),
        Kind.ROBOMIMIC: (_robomimic_with_all, _robomimic_faults), Kind.LEROBOT: (read_lerobot, _lerobot_faults),
    }
    read, find_faults = readers[kind]
    found = read(path)
    streams = {key: StreamSummary(column.shape, column.dtype.name) for key, column in found.columns.items()}
    if kind is Kind.LEROBOT:
        features = features_of(load_info(path), path).values()
        streams = {feature.name: StreamSummary(feature.shape, feature.dtype) for feature in features}
    return DatasetSummary(path, kind.value, len(found.lengths), sum(found.lengths), streams, found.fps_hz,
                          _size_bytes(path), find_faults(path))


def _robomimic_with_all(path: Path) -> EpisodeSet:
    return read_robomimic(path, without_obs=True)


def _no_faults(_: Path) -> list[str]:
    """A replay buffer whose arrays do not fit is not opened at all."""
    return []


def _robomimic_faults(path: Path) -> list[str]:
    faults: list[str] = []
    with open_hdf5(path) as file:
        data = cast(h5py.Group, file[DATA])
        demos = demonstrations(file, path)
        actions = {demo: cast(Any, data[demo]).get("actions") for demo in demos}
        actions = {demo: values if isinstance(values, h5py.Dataset) and values.ndim else None
                   for demo, values in actions.items()}
        steps = sum(len(values) for values in actions.values() if values is not None)
        if "total" not in data.attrs or int(cast(Any, data.attrs["total"])) != steps:
            faults.append(f"total is {data.attrs.get('total', 'missing')}, the demonstrations have {steps} steps")
        numbers = [number_of(demo) for demo in demos]
        if missing := sorted(set(range(numbers[-1])) - set(numbers)):
            faults.append(f"the numbering has gaps: {_few([f'demo_{number}' for number in missing])} missing")
        wrong = [demo for demo, values in actions.items() if values is not None
                 and int(cast(Any, data[demo].attrs.get("num_samples", -1))) != len(values)]
        if wrong:
            faults.append(f"num_samples is missing or wrong in {_few(wrong)}")
        if not any(isinstance(cast(Any, data[demo]).get("obs"), h5py.Group) for demo in demos):
            faults.append("no observations: raw simulator data")
        if "env_args" not in data.attrs:
            faults.append("env_args is missing")
        for key, names in filter_lists(file).items():
            if unknown := sorted(set(names) - set(demos)):
                faults.append(f"filter key {key!r} names {_few(unknown)}, which are not there")
    return faults


def _lerobot_faults(path: Path) -> list[str]:
    info, table = load_info(path), episode_table(path)
    features = features_of(info, path)
    faults: list[str] = []
    steps = sum(int(row["length"]) for row in table)
    for name, found in (("total_episodes", len(table)), ("total_frames", steps)):
        if info.get(name) != found:
            faults.append(f"{name} is {info.get(name)}, the episodes table has {found}")
    in_files: dict[Path, int] = {}
    for row in table:
        file = data_path(path, info, row)
        in_files[file] = in_files.get(file, 0) + int(row["length"])
        faults += [f"episode {row['episode_index']}: {missing} is missing"
                   for name, feature in features.items() if feature.dtype == "video"
                   and not (missing := video_path(path, info, row, name)).is_file()]
    for file, expected in in_files.items():
        try:
            rows = parquet(file).metadata.num_rows
        except ReplayBufferError as error:
            faults.append(str(error))
            continue
        if rows != expected:
            faults.append(f"{file.relative_to(path)} has {rows} rows, the episodes table says {expected}")
    return faults


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return int(np.sum([file.stat().st_size for file in files], dtype=np.int64))
