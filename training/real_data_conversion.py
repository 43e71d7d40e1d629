"""Labelled episodes -> replay_buffer.zarr, and on request its .zarr.zip, as the Diffusion Policy code reads them.

    python training/real_data_conversion.py --dataset-path data/episodes --zip
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import Episode, EpisodeFolder
from ladle.errors import EpisodeError, LabelError, ReplayBufferError
from ladle.images import depth_view
from ladle.replaceable import require_own_buffer, require_own_zip
from ladle.replay_buffer import ReplayBufferWriter, zip_of, zip_replay_buffer
from ladle.script import run_script
from ladle.task import TaskConfig, load_task, task_from_text, task_text
from ladle.unfinished import of_another_program

log = logging.getLogger("ladle.conversion")

NAMED = 20
BUFFER_NAME = "replay_buffer.zarr"
Fault = EpisodeError | LabelError


def convert_episodes(
    dataset_path: str | Path, output: str | Path | None = None, *, make_zip: bool = False,
    skip_incomplete: bool = False, task: TaskConfig | None = None,
) -> Path:
    """Write all episodes of a folder, in the order of their numbers, into one replay buffer. Returns its path.

    Args:
        dataset_path: folder with actions/, frames/ and stamps/.
        output: the .zarr to write; dataset_path/replay_buffer.zarr by default. An older one that Ladle wrote is
            replaced at the end.
        make_zip: also write <output>.zip.
        skip_incomplete: leave out episodes that are half-made or unlabelled, instead of refusing.
        task: what the buffer shall hold; by default what the episodes were extracted for.

    Raises:
        EpisodeError, LabelError: no episodes, or some that cannot be used and are not to be skipped; each is named.
        ReplayBufferError: something else lies where the buffer or its zip would go.
    """
    path = Path(output) if output is not None else Path(dataset_path) / BUFFER_NAME
    require_place(path, Path(dataset_path), make_zip=make_zip)
    task, usable = usable_episodes(dataset_path, skip_incomplete=skip_incomplete, task=task)
    with ReplayBufferWriter(path, buffer_meta(task, usable)) as writer:
        for episode in usable:
            writer.append_episode(streams_of(episode, task))
    log.info("%d episodes in %s", len(usable), path)
    if make_zip:
        log.info("and in %s", zip_replay_buffer(path))
    return path


def require_place(path: Path, episodes: Path, *, make_zip: bool) -> None:
    """Raises ReplayBufferError when the buffer would take the place of anything but an older one of Ladle's."""
    if episodes.resolve().is_relative_to(path.resolve()):
        raise ReplayBufferError(f"the episodes {episodes} lie at or below {path} and would go with it; choose another "
                                "--output, as in replay_buffer.zarr")
    require_own_buffer(path)
    if make_zip:
        require_own_zip(zip_of(path))


def usable_episodes(
    dataset_path: str | Path, *, skip_incomplete: bool = False, task: TaskConfig | None = None,
) -> tuple[TaskConfig, list[Episode]]:
    """What the buffer shall hold, and the episodes that have it, in the order of their numbers; frames stay on disk.

    Raises:
        EpisodeError, LabelError: no episodes, or some that cannot be used and are not to be skipped; each is named.
    """
    folder = EpisodeFolder(dataset_path)
    folder.recover()
    loaded, faults = _load_all(folder)
    if not loaded and not faults:
        raise EpisodeError(f"no episodes in {folder.root}; "
                           "make them with read_sensors_utils/format_data_replay_buffer.py")
    if others := [str(number) for number in faults if of_another_program(folder.root, number) and not loaded]:
        raise EpisodeError(f"{folder.root} holds episodes of another program ({', '.join(others[:NAMED])}"
                           f"{', ...' if len(others) > NAMED else ''}), whose quaternions may be of either order; say "
                           "which: ladle convert with --quaternion-order wxyz or xyzw")
    if not loaded:
        raise _refusal(folder.root, faults, skippable=False)
    task = task or recorded_task(list(loaded.values()))
    faults |= {n: fault for n, episode in loaded.items() if (fault := _fault(episode, task)) is not None}
    usable = [episode for n, episode in loaded.items() if n not in faults]
    if faults and not (skip_incomplete and usable):
        raise _refusal(folder.root, faults, skippable=bool(usable))
    for number, fault in faults.items():
        log.warning("episode %d left out: %s", number, fault)
    return task, usable


def buffer_meta(task: TaskConfig, episodes: Sequence[Episode]) -> dict[str, Any]:
    """What a replay buffer says about itself: the task's text and the episodes' numbers."""
    return {"task": task_text(task), "episodes": [episode.index for episode in episodes]}


def check_episode(episode: Episode, task: TaskConfig) -> None:
    """Raises EpisodeError or LabelError when the episode lacks what the task needs."""
    again = f"extract it again for task {task.name!r}"
    if task.frames is not None and (episode.eef is None or episode.target is None):
        raise EpisodeError(f"it has no poses; {again}")
    if task.joints is not None and episode.joints.shape[1] != len(task.joints.names):
        raise EpisodeError(f"it has {episode.joints.shape[1]} joints, expected {len(task.joints.names)}; {again}")
    if task.mass and (episode.mass_g is None or not np.isfinite(episode.mass_g)):
        raise EpisodeError(f"its scooped mass is {episode.mass_g}; add its row to data.csv and {again}")
    for key, camera in task.extracted_cameras.items():
        stored_key = camera.ticks_key or key
        expected = (len(episode), camera.height_px, camera.width_px, *((3,) if camera.kind == "color" else ()))
        found = episode.frames[stored_key].shape if stored_key in episode.frames else None
        if found != expected:
            raise EpisodeError(f"its frames {stored_key!r} have shape {found}, expected {expected}; {again}")
    for name, values in (("joints", episode.joints), ("eef", episode.eef), ("target", episode.target)):
        if values is not None and not np.all(np.isfinite(values)):
            raise EpisodeError(f"its {name} are not finite; {again}")
    if task.stages is not None:
        _check_labels(episode.labels, len(task.stages.names))


def streams_of(episode: Episode, task: TaskConfig) -> dict[str, NDArray[Any]]:
    """An episode's arrays under their replay-buffer names, T rows each.

    camera_0 (T, H, W, 3) uint8, the depth view three times as in the original layout; depth_0 (T, H, W) uint16
    ticks; camera_1 (T, H, W, 3) uint8 RGB; eef (T, 7) and action (T, Da) float32, metres and xyzw or rad;
    label (T, 1) float32; mass (T, 1) float32 grams.
    """
    steps = len(episode)
    streams: dict[str, NDArray[Any]] = {}
    for key, camera in task.extracted_cameras.items():
        frames = _frames(episode, camera.ticks_key or key)
        if camera.ticks_key is not None:
            streams[camera.ticks_key] = frames
            view = depth_view(frames, camera)
            streams[key] = np.repeat(view[..., None], 3, axis=-1)
        else:
            streams[key] = frames
    if episode.eef is not None and task.frames is not None:
        streams["eef"] = episode.eef.astype(np.float32)
    else:
        streams["joints"] = episode.joints.astype(np.float32)
    if episode.labels is not None and task.stages is not None:
        streams["label"] = episode.labels.astype(np.float32).reshape(steps, 1)
    if episode.mass_g is not None and task.mass:
        streams["mass"] = np.full((steps, 1), episode.mass_g, np.float32)
    streams["action"] = _action(episode, task)
    return streams


def _frames(episode: Episode, key: str) -> NDArray[Any]:
    """(T, ...) as stored. Raises EpisodeError when a chunk cannot be decoded."""
    try:
        return np.asarray(episode.frames[key][:])
    except (RuntimeError, ValueError) as error:  # Blosc, numpy
        raise EpisodeError(f"episode {episode.index}: its frames {key!r} cannot be decoded ({error}); extract it "
                           "again: ladle repair with --bags and the folder of its recording") from error


def recorded_task(episodes: Sequence[Episode]) -> TaskConfig:
    """The task that the episodes were extracted for. Raises EpisodeError when they differ or do not say."""
    tasks: list[TaskConfig] = []
    for episode in episodes:
        text = episode.description.get("task")
        if text is None:
            raise EpisodeError(f"episode {episode.index} does not say for which task it was extracted; pass --task")
        tasks.append(task_from_text(text, f"episode {episode.index}"))
        if tasks[-1] != tasks[0]:
            raise EpisodeError(f"episodes {episodes[0].index} ({tasks[0].name!r}) and {episode.index} "
                               f"({tasks[-1].name!r}) were extracted for different tasks; extract all with the same")
    return tasks[0]


def _load_all(folder: EpisodeFolder) -> tuple[dict[int, Episode], dict[int, Fault]]:
    """Every complete episode by its number, in order, and what is wrong with the others. Frames stay on disk."""
    loaded: dict[int, Episode] = {}
    faults: dict[int, Fault] = {n: EpisodeError(reason) for n, reason in folder.incomplete().items()}
    for number in folder.numbers():
        try:
            loaded[number] = folder.load(number)
        except EpisodeError as error:  # noqa: PERF203  (every faulty episode is to be named, not the first)
            faults[number] = error
    return loaded, faults


def _fault(episode: Episode, task: TaskConfig) -> Fault | None:
    try:
        check_episode(episode, task)
    except (EpisodeError, LabelError) as error:
        return error
    return None


def _action(episode: Episode, task: TaskConfig) -> NDArray[np.float32]:
    columns: list[NDArray[Any]] = []
    for part in task.action:
        values = {"pose": episode.target, "joints": episode.target_joints}.get(part.kind)
        if values is None:
            raise EpisodeError(f"action part {part.name!r} ({part.kind}) of task {task.name!r} is not in the episodes; "
                               "they have pose and joints")
        columns.append(values)
    return np.concatenate(columns, axis=1).astype(np.float32)


def _check_labels(labels: NDArray[np.int64] | None, n_stages: int) -> None:
    if labels is None:
        raise LabelError("it has no labels at its ticks; label it with annotator/annotator_parsor.py, then run "
                         "read_sensors_utils/format_data_replay_buffer.py --annotations")
    wrong = labels[(labels < 0) | (labels >= n_stages)]
    if len(wrong):
        raise LabelError(f"it has a label {wrong[0]}, expected 0 to {n_stages - 1}; label it again")


def _refusal(root: Path, faults: Mapping[int, Fault], *, skippable: bool) -> Fault:
    kind = LabelError if all(isinstance(fault, LabelError) for fault in faults.values()) else EpisodeError
    named = "; ".join(f"episode {number}: {faults[number]}" for number in sorted(faults))
    remedy = "mend it, or pass --skip-incomplete" if skippable else "none is left to convert"
    return kind(f"{len(faults)} of the episodes in {root} cannot be used ({named}); {remedy}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Labelled episodes -> replay_buffer.zarr.")
    parser.add_argument("--dataset-path", type=Path, required=True, help="folder of episodes")
    parser.add_argument("--output", type=Path, default=None, help=f"default: {BUFFER_NAME} in the folder")
    parser.add_argument("--zip", action="store_true", help="also write <output>.zip")
    parser.add_argument("--skip-incomplete", action="store_true", help="leave out half-made or unlabelled episodes")
    parser.add_argument("--task", default=None, help="task name or file; default: the one used at the extraction")
    options = parser.parse_args()
    run_script(lambda: convert_episodes(
        options.dataset_path, options.output, make_zip=options.zip, skip_incomplete=options.skip_incomplete,
        task=load_task(options.task) if options.task else None))


if __name__ == "__main__":
    main()
