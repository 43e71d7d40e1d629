"""Reading robomimic's HDF5, as robomimic and as others write it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from ladle.errors import ReplayBufferError
from training.interop.episode_set import Column, EpisodeSet, Streams, meta_with, native
from training.interop.robomimic_layout import DATA, DEMO, MASK, OBS, OWN, is_demo, is_list_of_names, key_of, number_of
from training.interop.robomimic_leftovers import demo_attributes, left_behind

REMEDY_NO_OBS = ("raw simulator data; make observations with robomimic's dataset_states_to_obs.py, or pass "
                 "--without-obs to convert states and actions as they are")


def read_robomimic(path: Path, *, filter_key: str | None = None, without_obs: bool = False) -> EpisodeSet:
    """Open a robomimic file. Demonstrations come in the order of their numbers, gaps or not.

    Args:
        path: the .hdf5.
        filter_key: only the demonstrations named in mask/<filter_key>.
        without_obs: accept a file without observations.

    Raises:
        ReplayBufferError: not such a file, no such filter key, no observations, or demonstrations that differ.
    """
    with open_hdf5(path) as file:
        demos = demonstrations(file, path, filter_key)
        data = cast(h5py.Group, file[DATA])
        found = [_datasets(path, cast(h5py.Group, data[demo])) for demo in demos]
        first = found[0]
        if not without_obs and OWN not in file and not any(name.startswith(f"{OBS}/") for name in first):
            raise ReplayBufferError(f"{path} has no observations ({DATA}/{demos[0]} holds {', '.join(first)}): "
                                    f"{REMEDY_NO_OBS}")
        _no_clash(path, list(first))
        lengths = tuple(_length(path, demo, datasets) for demo, datasets in zip(demos, found, strict=True))
        columns = {key_of(name): Column.of(dataset) for name, dataset in first.items()}
        meta, not_carried = _meta(file, demos)

    def read() -> Iterator[Streams]:
        with open_hdf5(path) as again:
            for demo in demos:
                try:
                    group = cast(h5py.Group, again[f"{DATA}/{demo}"])
                    found = _datasets(path, group)
                    streams = {key_of(name): native(np.asarray(item[()])) for name, item in found.items()}
                except (OSError, RuntimeError, KeyError) as error:
                    raise ReplayBufferError(f"{path}: {demo} cannot be read ({error}); the file is damaged, copy it "
                                            "again") from error
                yield streams

    return EpisodeSet(path, columns, lengths, meta, read, tuple(not_carried))


def open_hdf5(path: Path) -> h5py.File:
    """Open for reading. Raises ReplayBufferError when it is no HDF5 file, or holds no data/demo_*."""
    if not path.is_file():
        raise ReplayBufferError(f"no file at {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ReplayBufferError(f"{path} is not a readable HDF5 file: {error}") from error
    data = file.get(DATA)
    if not isinstance(data, h5py.Group) or not _demo_names(data):
        file.close()
        raise ReplayBufferError(f"{path} is not a robomimic file: it needs {DATA}/{DEMO}0, {DEMO}1, ...")
    return file


def demonstrations(file: h5py.File, path: Path, filter_key: str | None = None) -> list[str]:
    """Names of the demonstrations in the order of their numbers. Raises ReplayBufferError on an unknown filter key."""
    data = cast(h5py.Group, file[DATA])
    names = _demo_names(data)
    if filter_key is not None:
        known = filter_lists(file)
        if filter_key not in known:
            raise ReplayBufferError(f"{path} has no filter key {filter_key!r}; it has {', '.join(known) or 'none'}")
        missing = sorted(set(known[filter_key]) - set(names))
        if missing:
            raise ReplayBufferError(f"{path}: filter key {filter_key!r} names {', '.join(missing[:3])}, not in {DATA}/")
        names = known[filter_key]
    if not names:
        raise ReplayBufferError(f"{path}: there is no demonstration to read")
    return sorted(names, key=number_of)


def _demo_names(data: h5py.Group) -> list[str]:
    return [name for name, item in cast(Any, data).items() if is_demo(name) and isinstance(item, h5py.Group)]


def filter_lists(file: h5py.File) -> dict[str, list[str]]:
    """mask/: filter key -> names of demonstrations. What else lies there is named by `not_carried`."""
    mask = file.get(MASK)
    if not isinstance(mask, h5py.Group):
        return {}
    lists = {str(key): item for key, item in mask.items() if is_list_of_names(item)}
    return {key: [name.decode() if isinstance(name, bytes) else str(name) for name in cast(Any, item)[()]]
            for key, item in lists.items()}


def own_meta(file: h5py.File) -> dict[str, Any]:
    """What Ladle wrote into the file; empty for files of others."""
    own = file.get(OWN)
    if not isinstance(own, h5py.Dataset):
        return {}
    return cast(dict[str, Any], json.loads(own[()].decode()))


def _datasets(path: Path, demo: h5py.Group) -> dict[str, h5py.Dataset]:
    """Every array that has a row for each step, but next_obs: obs moved by one step.

    Raises:
        ReplayBufferError: an observation is no array of numbers, or a group of them.
    """
    synthetic = set(own_meta(demo.file).get("synthetic", []))
    found = {name: item for name, item in demo.items() if isinstance(item, h5py.Dataset) and item.ndim}
    observations = demo.get(OBS)
    if isinstance(observations, h5py.Group):
        found |= {f"{OBS}/{key}": item for key, item in cast(Any, observations).items()}
    found = {name: item for name, item in sorted(found.items()) if name not in synthetic}
    for name, item in found.items():
        where = f"{path}: {demo.name}/{name}"
        if not isinstance(item, h5py.Dataset):
            raise ReplayBufferError(f"{where} is a group, expected an array; move what is in it to {OBS}/KEY")
        if not item.ndim:
            raise ReplayBufferError(f"{where} is a single value, expected an array with a row for each step; remove "
                                    "it, or repeat it at each step")
        if item.dtype.kind not in "biuf":
            raise ReplayBufferError(f"{where} is of type {item.dtype}, expected numbers; remove it")
    return found


def _length(path: Path, demo: str, datasets: Mapping[str, h5py.Dataset]) -> int:
    """Steps of a demonstration: as its arrays say, whatever num_samples says."""
    lengths = {name: int(item.shape[0]) for name, item in datasets.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ReplayBufferError(f"{path}: {demo}: all arrays must have the same number of steps, got {lengths}; "
                                "mend or remove the demonstration")
    return next(iter(lengths.values()))


def _no_clash(path: Path, names: list[str]) -> None:
    keys = [key_of(name) for name in names]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ReplayBufferError(f"{path}: {twice[0]!r} is both an observation and an array of the demonstration; "
                                "rename one of them")


def _meta(file: h5py.File, demos: list[str]) -> tuple[dict[str, Any], list[str]]:
    data = cast(h5py.Group, file[DATA])
    numbers = [number_of(demo) for demo in demos]
    own = own_meta(file)
    attributes, not_carried = demo_attributes(data, demos)
    not_carried = [*not_carried, *left_behind(file, demos)]
    environment = _env_args(data) if not own or "env_args" in own.get("meta", {}) else None
    if environment is None and not own and "env_args" in data.attrs:
        not_carried.append("env_args, which is no JSON object")
    filters = {key: sorted(number for number in numbers if f"{DEMO}{number}" in set(names))
               for key, names in filter_lists(file).items()}
    meta = cast(dict[str, Any], own.get("meta", {}))
    known = {"env_args": environment, "filters": filters, "attributes": attributes}
    if "fps_hz" not in meta and "task" not in meta and environment:
        known["fps_hz"] = _control_frequency(environment)
    return meta_with(_for_these(meta, numbers), numbers, **known), not_carried


def _for_these(meta: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    """`meta` without the texts of episodes that are not read."""
    texts, known = meta.get("instructions"), meta.get("episodes")
    if not isinstance(texts, list):
        return meta
    old = cast(list[int], known) if isinstance(known, list) else list(range(len(cast(list[str], texts))))
    by_number = dict(zip(old, cast(list[str], texts), strict=False))
    return {**meta, "instructions": [by_number.get(number, "") for number in numbers]}


def _env_args(data: h5py.Group) -> dict[str, Any] | None:
    text = data.attrs.get("env_args")
    if text is None:
        return None
    try:
        found: Any = json.loads(text.decode() if isinstance(text, bytes) else str(text))
    except json.JSONDecodeError:
        return None
    return cast(dict[str, Any], found) if isinstance(found, dict) else None


def _control_frequency(environment: Mapping[str, Any]) -> float | None:
    """Steps per second of a robosuite environment."""
    found = environment.get("env_kwargs")
    frequency: Any = cast(dict[str, Any], found).get("control_freq") if isinstance(found, dict) else None
    return float(frequency) if isinstance(frequency, int | float) and frequency > 0 else None
