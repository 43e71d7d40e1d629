"""Data sets from any of the known formats to any other, one episode in memory at a time.

    ladle convert data/replay_buffer.zarr data/scoop.hdf5
    ladle convert data/replay_buffer.zarr data/scoop --fps 10
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import zip_replay_buffer
from ladle.task import load_task
from training.interop.episode_set import Column, EpisodeSet, Streams, meta_with
from training.interop.kinds import Kind, kind_of, kind_to_write, require_replaceable
from training.interop.lerobot_read import read_lerobot
from training.interop.lerobot_write import write_lerobot
from training.interop.older_folder import QuaternionOrder, read_older_folder
from training.interop.robomimic_read import read_robomimic
from training.interop.robomimic_write import write_robomimic
from training.interop.staging import staged
from training.interop.zarr_format import read_zarr, write_zarr, write_zarr_zip
from training.real_data_conversion import (
    BUFFER_NAME,
    buffer_meta,
    convert_episodes,
    require_place,
    streams_of,
    usable_episodes,
)

log = logging.getLogger("ladle.conversion")


@dataclass(frozen=True)
class Choices:
    """What a user may decide about a conversion.

    Attributes:
        override: replace a target that exists.
        fps_hz: steps per second, where the data do not say.
        video: LeRobot only: images as mp4, smaller and lossy, instead of PNG.
        filter_key: robomimic only: the demonstrations of this filter key.
        without_obs: robomimic only: accept raw simulator data, which has no observations.
        skip_incomplete: episode folder only: leave out half-made or unlabelled episodes.
        quaternion_order: older episode folder only, without episode.json: how its poses are written.
        task: of such a folder, which does not tell it.
    """

    override: bool = False
    fps_hz: float | None = None
    video: bool = False
    filter_key: str | None = None
    without_obs: bool = False
    skip_incomplete: bool = False
    quaternion_order: QuaternionOrder | None = None
    task: str = "scoop"


def convert(source: str | Path, target: str | Path, choices: Choices | None = None) -> Path:
    """Write a data set in the format that the target's name asks for. Returns the target.

    The target appears whole or not at all.

    Raises:
        ReplayBufferError: the source cannot be read, the target exists, or cannot hold what the source has.
        EpisodeError, LabelError: episodes of a folder that cannot be used.
    """
    source, target, choices = Path(source), Path(target), choices or Choices()
    kind = kind_to_write(target)
    if source.resolve() == target.resolve():
        raise ReplayBufferError(f"{source} would be converted into itself; choose another target")
    if source.resolve().is_relative_to(target.resolve()):
        raise ReplayBufferError(f"{source} lies within {target} and would go with it; choose another target")
    if choices.video and kind is not Kind.LEROBOT:
        raise ReplayBufferError(f"--video is for LeRobot, and {target} is of kind {kind.value}; leave it out, or "
                                "choose another target")
    episodes = open_episodes(source, choices)
    if kind is Kind.LEROBOT and episodes.fps_hz is None:
        raise ReplayBufferError(f"{source} does not say how many steps a second it has, which LeRobot needs; "
                                "pass --fps")
    for what in episodes.not_carried:
        log.warning("not carried over: %s", what)
    with staged(target, override=choices.override, check_old=lambda old: require_replaceable(old, kind)) as whole:
        _write(kind, whole, episodes, choices)
    log.info("%d episodes, %d steps in %s", len(episodes.lengths), sum(episodes.lengths), target)
    return target


def convert_as_asked(
    source: Path | None, target: Path | None, *, dataset_path: Path | None, output: Path | None, make_zip: bool,
    choices: Choices,
) -> Path:
    """The command's two forms: SOURCE TARGET, or a folder of episodes into a replay buffer. Returns what was written.

    Raises:
        ReplayBufferError: the forms are mixed, or `convert` refuses.
        EpisodeError, LabelError: episodes of a folder that cannot be used.
    """
    if (source is None) == (dataset_path is None):
        raise ReplayBufferError("say what to convert, once: ladle convert SOURCE TARGET, or ladle convert "
                                "--dataset-path EPISODES")
    if source is not None and target is not None:
        if output is not None or make_zip:
            raise ReplayBufferError(f"--output and --zip do not go with the target {target}; end its name in "
                                    ".zarr.zip for a zip")
        return convert(source, target, choices)
    folder = source or dataset_path
    assert folder is not None
    if source is not None and source.exists() and kind_of(source) is not Kind.EPISODES:
        raise ReplayBufferError(f"say where {source} shall go: ladle convert {source} TARGET")
    if choices.quaternion_order is not None:
        return _convert_older(folder, output, choices, make_zip=make_zip)
    return convert_episodes(folder, output, make_zip=make_zip, skip_incomplete=choices.skip_incomplete)


def _convert_older(folder: Path, output: Path | None, choices: Choices, *, make_zip: bool) -> Path:
    """An older folder into a replay buffer; the folder's own, by the program that made it, is not replaced."""
    path = output if output is not None else folder / BUFFER_NAME
    require_place(path, folder, make_zip=make_zip)
    episodes = open_episodes(folder, choices)
    for what in episodes.not_carried:
        log.warning("not carried over: %s", what)
    write_zarr(path, episodes)
    log.info("%d episodes, %d steps in %s", len(episodes.lengths), sum(episodes.lengths), path)
    if make_zip:
        log.info("and in %s", zip_replay_buffer(path))
    return path


def open_episodes(source: Path, choices: Choices) -> EpisodeSet:
    """Open a data set of any kind.

    Raises:
        ReplayBufferError, EpisodeError, LabelError: it cannot be read.
    """
    kind = kind_of(source)
    if choices.quaternion_order is not None:
        if kind is not Kind.EPISODES:
            raise ReplayBufferError(f"{source} is of kind {kind.value}; --quaternion-order is for folders of episodes "
                                    "without episode.json, leave it out")
        episodes = read_older_folder(source, choices.quaternion_order, load_task(choices.task),
                                     skip_incomplete=choices.skip_incomplete, warn=log.warning)
    elif kind is Kind.EPISODES:
        episodes = _episode_folder(source, choices)
    elif kind is Kind.ROBOMIMIC:
        episodes = read_robomimic(source, filter_key=choices.filter_key, without_obs=choices.without_obs)
    else:
        episodes = read_lerobot(source) if kind is Kind.LEROBOT else read_zarr(source)
    if choices.filter_key is not None and kind is not Kind.ROBOMIMIC:
        raise ReplayBufferError(f"{source} is of kind {kind.value}; only robomimic files have filter keys")
    if choices.fps_hz is None:
        return episodes
    if choices.fps_hz <= 0:
        raise ReplayBufferError(f"--fps is {choices.fps_hz}, expected steps per second above 0")
    if episodes.fps_hz not in (None, choices.fps_hz):
        raise ReplayBufferError(f"{source} has {episodes.fps_hz:g} steps a second, --fps says {choices.fps_hz:g}; "
                                "leave out --fps")
    if episodes.fps_hz is not None:
        return episodes
    meta = meta_with(episodes.meta, episodes.numbers, fps_hz=choices.fps_hz)
    return EpisodeSet(episodes.origin, episodes.columns, episodes.lengths, meta, episodes.read, episodes.not_carried)


def _write(kind: Kind, path: Path, episodes: EpisodeSet, choices: Choices) -> None:
    if kind is Kind.LEROBOT:
        assert episodes.fps_hz is not None
        write_lerobot(path, episodes, fps_hz=episodes.fps_hz, video=choices.video)
    elif kind is Kind.ROBOMIMIC:
        write_robomimic(path, episodes)
    elif kind is Kind.ZARR_ZIP:
        write_zarr_zip(path, episodes)
    else:
        write_zarr(path, episodes)


def _episode_folder(source: Path, choices: Choices) -> EpisodeSet:
    """Ladle's own episodes, as a replay buffer would hold them."""
    task, usable = usable_episodes(source, skip_incomplete=choices.skip_incomplete)

    def read() -> Iterator[Streams]:
        for episode in usable:
            yield streams_of(episode, task)

    first = streams_of(usable[0], task)
    columns = {key: Column.of(values) for key, values in first.items()}
    return EpisodeSet(source, columns, tuple(len(episode) for episode in usable), buffer_meta(task, usable), read)
