"""Training straight from robomimic's HDF5 or a LeRobot folder.

The streams that a configuration reads are converted once into a replay buffer beside the runs, `converted/`. Its name
holds a fingerprint of the source, so that a source that has changed is converted anew.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ladle.atomic import locked_folder, replace_file
from ladle.errors import ConfigError
from ladle.pose import POSE_KEY
from ladle.task import ActionPartConfig, TaskConfig, load_task, task_from_text, task_text
from training.compose import Composed, compose_config
from training.dataset import ACTION_KEY, LABEL_KEY, MASS_KEY
from training.interop.episode_set import EpisodeSet, Streams
from training.interop.kinds import HDF5_SUFFIXES
from training.interop.lerobot_layout import INFO
from training.interop.lerobot_read import read_lerobot
from training.interop.robomimic_read import read_robomimic
from training.interop.zarr_format import write_zarr
from training.schema import PolicyConfig

log = logging.getLogger(__name__)

CACHE = "converted"
WAIT_FOR_CONVERSION_S = 3600.0
SAME_RATE = 1e-3  # relative: 29.97 Hz is not 30 Hz
# What a derived configuration has instead of a file's own line.
RUN_FOLDER = {"run": {"dir": "results/${now:%Y-%m-%d_%H-%M-%S}_${name}"}}
DERIVED_TASK = "derived"


def is_foreign(source: Path) -> bool:
    """Whether it must be converted before it can be trained on."""
    return source.suffix in HDF5_SUFFIXES or (source / INFO).is_file()


def with_replay_buffer(composed: Composed[PolicyConfig]) -> Composed[PolicyConfig]:
    """The same with dataset_path leading to a replay buffer, converted if need be.

    Raises:
        ConfigError: the data lack a stream, have another rate than the task, or an episode shorter than the horizon.
        ReplayBufferError: they cannot be read.
    """
    config = composed.config
    source = Path(config.task.dataset_path)
    if not is_foreign(source):
        return composed
    keys = streams_read(config)
    episodes = open_foreign(source, keys)
    refuse_what_does_not_fit(episodes, config.horizon, load_task(config.task.name))
    return with_data(composed, convert_once(episodes, keys, cache_of(composed)))


def streams_read(config: PolicyConfig) -> set[str]:
    """Keys of the replay buffer that training on this configuration reads."""
    labels = {LABEL_KEY} if config.observations.stage != "none" else set[str]()
    return {*config.observations.keys, ACTION_KEY, *labels, *([MASS_KEY] if config.mass.condition else [])}


def open_foreign(source: Path, keys: Collection[str] | None = None, filter_key: str | None = None) -> EpisodeSet:
    """Open an HDF5 file or a LeRobot folder; given keys, only these streams. Raises ConfigError where one is missing.

    filter_key: of robomimic's file, for a part of its demonstrations.
    """
    lerobot = (source / INFO).is_file()
    episodes = read_lerobot(source, keys) if lerobot else read_robomimic(source, filter_key=filter_key)
    if keys is None:
        return episodes
    if missing := sorted(set(keys) - set(episodes.columns)):
        there = read_lerobot(source).columns if lerobot else episodes.columns
        raise ConfigError(f"{source} has no {missing[0]!r}, which the configuration reads; it has "
                          f"{', '.join(sorted(there))}")

    def read() -> Iterator[Streams]:
        for streams in episodes.read():
            yield {key: streams[key] for key in sorted(keys)}

    return replace(episodes, columns={key: episodes.columns[key] for key in sorted(keys)}, read=read)


def refuse_what_does_not_fit(episodes: EpisodeSet, horizon: int, task: TaskConfig) -> None:
    """Raise ConfigError on another rate than the task's, and on an episode shorter than the horizon."""
    fps_hz = episodes.fps_hz
    if fps_hz is not None and abs(fps_hz - task.rate_hz) > SAME_RATE * task.rate_hz:
        raise ConfigError(f"{episodes.origin} has {fps_hz:g} steps a second, but task {task.name} has "
                          f"{task.rate_hz:g}, so its horizon would span another time; set task.name to a task file "
                          f"with rate_hz: {fps_hz:g}")
    shortest = min(range(len(episodes.lengths)), key=lambda index: episodes.lengths[index])
    if horizon > episodes.lengths[shortest]:
        raise ConfigError(f"horizon {horizon} is longer than episode {episodes.numbers[shortest]} of "
                          f"{episodes.origin}, which has {episodes.lengths[shortest]} steps; lower `horizon`, or "
                          "remove the episode")


def convert_once(episodes: EpisodeSet, keys: Collection[str], cache: Path, chosen: str = "") -> Path:
    """The replay buffer of these streams in the cache folder, written unless it is there.

    chosen: what else the episodes depend on, e.g. a filter key.
    """
    source = episodes.origin
    digest = hashlib.sha256(repr((source_fingerprint(source), sorted(keys), chosen)).encode()).hexdigest()
    target = cache / f"{source.stem}-{digest[:16]}.zarr"
    lock = cache / f".converting-{target.stem}"
    with locked_folder(lock, WAIT_FOR_CONVERSION_S) as held:
        if not held:
            raise ConfigError(f"{target} is being written by another process; let it finish")
        try:
            if not target.exists():
                log.info("converting %s (%s) to %s", source, ", ".join(sorted(keys)), target)
                write_zarr(target, episodes)
        finally:
            lock.rmdir()
    return target


def source_fingerprint(source: Path) -> str:
    """Of the place, names, sizes and times of change of a data set's files."""
    files = [source] if source.is_file() else sorted(file for file in source.rglob("*") if file.is_file())
    stats = [(str(file.relative_to(source)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(source.resolve()), stats)).encode()).hexdigest()


def cache_of(composed: Composed[PolicyConfig]) -> Path:
    """Where converted data sets lie: data.cache_dir, else beside the run, so that its neighbours share them."""
    chosen = composed.config.data.cache_dir
    return Path(chosen) / CACHE if chosen else composed.output_dir.absolute().parent / CACHE


def with_data(composed: Composed[PolicyConfig], dataset: Path, task_name: str | None = None) -> Composed[PolicyConfig]:
    """The same on another data set, and for another task if one is given."""
    section = composed.config.task
    section = replace(section, dataset_path=str(dataset), name=task_name or section.name)
    return replace(composed, config=replace(composed.config, task=section))


def derived_task(episodes: EpisodeSet, fps_hz: float | None) -> TaskConfig:
    """Ladle's own task where the data carry it, else one whose action is a plain vector.

    Raises:
        ConfigError: no action, or no rate anywhere.
    """
    if text := episodes.meta.get("task"):
        return task_from_text(text, str(episodes.origin))
    action = episodes.columns.get(ACTION_KEY)
    if action is None or len(action.shape) != 1:
        raise ConfigError(f"{episodes.origin} has no action vector; it has {', '.join(sorted(episodes.columns))}")
    rate_hz = fps_hz or episodes.fps_hz
    if rate_hz is None:
        raise ConfigError(f"{episodes.origin} does not say how many steps a second it has; pass --fps")
    return TaskConfig(name=episodes.origin.stem, rate_hz=rate_hz,
                      action=(ActionPartConfig(name=ACTION_KEY, kind="vector", size=action.shape[0]),))


def derived_observations(episodes: EpisodeSet, low_dim: Sequence[str], images: Sequence[str],
                         highest_px: int) -> dict[str, Any]:
    """The section `observations` for these streams; images are made smaller where they are higher than highest_px.

    Raises:
        ConfigError: the data have no such stream, or it is no image.
    """
    vectors: list[dict[str, Any]] = []
    for key in low_dim:
        shape = list(_column(episodes, key).shape)
        pose = key == POSE_KEY and shape == [7] and "task" in episodes.meta
        vectors.append({"key": key, "kind": "pose" if pose else "vector", "shape": shape})
    pictures: list[dict[str, Any]] = []
    for key in images:
        column = _column(episodes, key)
        if not column.is_image or column.shape[2] != 3:
            raise ConfigError(f"{episodes.origin}: {key!r} has shape {column.shape} and type {column.dtype}, expected "
                              "an RGB image (height, width, 3)")
        height, width = column.shape[:2]
        share = min(1.0, highest_px / height)
        pictures.append({"key": key, "width_px": round(width * share), "height_px": round(height * share)})
    return {"low_dim": vectors, "images": pictures}


def _column(episodes: EpisodeSet, key: str) -> Any:
    if key not in episodes.columns:
        raise ConfigError(f"{episodes.origin} has no {key!r}; it has {', '.join(sorted(episodes.columns))}")
    return episodes.columns[key]


def compose_derived(plain: Mapping[str, Any], overrides: Sequence[str], episodes: EpisodeSet, task: TaskConfig,
                    filter_key: str | None = None) -> Composed[PolicyConfig]:
    """A configuration that was made up for a data set, with the user's overrides, its data converted.

    A task that the overrides do not name is written beside the converted data.

    Raises:
        ConfigError: an override that does not exist, or data that do not fit.
    """
    with tempfile.TemporaryDirectory() as folder:
        content = {**plain, "task": {"name": DERIVED_TASK, "dataset_path": str(episodes.origin)}, "hydra": RUN_FOLDER}
        (Path(folder) / f"{plain['name']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        composed = compose_config(PolicyConfig, str(plain["name"]), overrides, Path(folder))
    cache, keys = cache_of(composed), streams_read(composed.config)
    own = composed.config.task.name
    task = task if own == DERIVED_TASK else load_task(own)
    refuse_what_does_not_fit(episodes, composed.config.horizon, task)
    chosen = open_foreign(episodes.origin, keys, filter_key)
    dataset = convert_once(chosen, keys, cache, filter_key or "")
    if own != DERIVED_TASK:
        return with_data(composed, dataset)
    path = dataset.with_suffix(".yaml")
    with replace_file(path) as partial:
        partial.write_text(task_text(task))
    return with_data(composed, dataset, str(path))
