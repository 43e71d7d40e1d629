"""The users' older folders of episodes, made before episode.json told what they hold.

    actions/N/current_eef_pos_interpolated.npy, target_end_effector_pos_interpolated.npy    (T, 7)
    actions/N/mass.txt                             rows of index and mass
    actions/N/annotations_video_interpolated.npy   (T,), or annotations_video.npy, one label a frame of 1.mp4
    videos/N/0.mp4, 1.mp4                          8-bit view of the depth, colour

A unit quaternion looks valid in either order, so whoever reads such a folder says which it is. The videos have no time
stamps: their rate was assumed when they were written. Their frames and the ticks are of one recording, so the ticks are
spread evenly over the frames, where the assumed rate would let the images drift against the poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeFolder, video_name
from ladle.episode_files import EEF_FILE, LABELS_FILE, MASS_FILE, TARGET_FILE, TICK_LABELS_FILE, actions_of, numbered
from ladle.errors import EpisodeError, LabelError
from ladle.images import to_task_size
from ladle.pose import from_xyz_wxyz, make_continuous
from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig, task_text
from ladle.unfinished import holds_data, of_another_program
from training.interop.episode_set import Column, EpisodeSet, Streams

QuaternionOrder = Literal["xyzw", "wxyz"]
Floats = NDArray[np.float64]

POSE_WIDTH = 7
UNIT_TOLERANCE = 1e-3  # the older files hold float32 or rounded numbers
UNREADABLE = (OSError, ValueError, EOFError)


@dataclass(frozen=True)
class OlderEpisode:
    """The small files of one episode, checked.

    Attributes:
        eef, target: (T, 7) metres and unit quaternion xyzw.
        mass_g: the final one; None where the task has none.
        labels: (T,) of the ticks, (F,) of the frames (`of_frames`), or None where the task has no stages.
    """

    number: int
    eef: Floats
    target: Floats
    mass_g: float | None
    labels: NDArray[np.int64] | None
    of_frames: bool


def older_numbers(root: Path) -> list[int]:
    """Numbers of the older episodes in a folder, in order."""
    return sorted(number for number in numbered(root / "actions")
                  if of_another_program(root, number) and holds_data(root, number))


def read_older_folder(root: Path, order: QuaternionOrder, task: TaskConfig, *, skip_incomplete: bool = False,
                      warn: Callable[[str], None] = lambda _: None) -> EpisodeSet:
    """Open such a folder as a replay buffer of the task would hold it, without depth in ticks.

    Args:
        order: of the quaternions in its poses.
        warn: called with a line for each episode that is left out.

    Raises:
        EpisodeError, LabelError: it holds none, or Ladle's own beside them; the task wants what such folders lack; or
            some cannot be used and are not to be skipped, each is named.
    """
    if own := EpisodeFolder(root).numbers():
        raise EpisodeError(f"episode {own[0]} in {root} has an episode.json, which tells the order of its quaternions; "
                           "leave out --quaternion-order, or move the older episodes into a folder of their own")
    if any(part.kind != "pose" for part in task.action) or task.frames is None:
        raise EpisodeError(f"task {task.name} wants more than poses, and {root} holds nothing else; extract its "
                           "recordings again")
    numbers = older_numbers(root)
    if not numbers:
        raise EpisodeError(f"no older episodes in {root}; expected actions/0/{EEF_FILE}")
    episodes, faults = _load_all(root, numbers, order, task)
    if faults and not (skip_incomplete and episodes):
        named = "; ".join(f"episode {number}: {fault}" for number, fault in faults.items())
        kind = LabelError if all(isinstance(fault, LabelError) for fault in faults.values()) else EpisodeError
        raise kind(f"{len(faults)} of the older episodes in {root} cannot be used ({named}); mend them, or pass "
                   "--skip-incomplete")
    for number, fault in faults.items():
        warn(f"episode {number} left out: {fault}")

    def read() -> Iterator[Streams]:
        for episode in episodes:
            yield _streams(root, episode, task)

    columns = {key: Column.of(values) for key, values in _streams(root, episodes[0], task).items()}
    lengths = tuple(len(episode.eef) for episode in episodes)
    meta = {"task": task_text(task), "episodes": [episode.number for episode in episodes],
            "source_quaternion_order": order}
    lost = tuple(f"{camera.ticks_key}: {root} has only the 8-bit view of the depth"
                 for camera in task.extracted_cameras.values() if camera.ticks_key is not None)
    return EpisodeSet(root, columns, lengths, meta, read, lost)


def read_poses(path: Path, order: QuaternionOrder) -> Floats:
    """(T, 7) metres and unit quaternion xyzw, sign-continuous. Raises EpisodeError for anything else."""
    try:
        poses = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except UNREADABLE as error:
        raise EpisodeError(f"{path.name} cannot be read ({error})") from error
    if poses.ndim != 2 or poses.shape[1] != POSE_WIDTH or not len(poses) or not np.all(np.isfinite(poses)):
        raise EpisodeError(f"{path.name} has shape {poses.shape}, expected finite numbers (T, {POSE_WIDTH})")
    norms = np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
    if (worst := float(np.max(np.abs(norms - 1.0)))) > UNIT_TOLERANCE:
        raise EpisodeError(f"{path.name} holds quaternions whose length is off by {worst:.3g}")
    poses[:, 3:] /= norms
    poses = from_xyz_wxyz(poses) if order == "wxyz" else poses
    poses[:, 3:] = make_continuous(poses[:, 3:])
    return poses


def _load_all(root: Path, numbers: list[int], order: QuaternionOrder,
              task: TaskConfig) -> tuple[list[OlderEpisode], dict[int, EpisodeError | LabelError]]:
    episodes: list[OlderEpisode] = []
    faults: dict[int, EpisodeError | LabelError] = {}
    for number in numbers:
        try:
            episodes.append(_load(root, number, order, task))
        except (EpisodeError, LabelError) as error:  # noqa: PERF203  (every faulty one is to be named)
            faults[number] = error
    return episodes, faults


def _load(root: Path, number: int, order: QuaternionOrder, task: TaskConfig) -> OlderEpisode:
    folder = root / actions_of(number)
    eef, target = read_poses(folder / EEF_FILE, order), read_poses(folder / TARGET_FILE, order)
    if len(eef) != len(target):
        raise EpisodeError(f"{EEF_FILE} has {len(eef)} ticks and {TARGET_FILE} {len(target)}")
    target[:, 3:] *= 1.0 if np.dot(eef[0, 3:], target[0, 3:]) >= 0 else -1.0  # one motion, one hemisphere
    for key in task.extracted_cameras:
        if not (video := _video(root, number, key)).is_file():
            raise EpisodeError(f"the video {video.name} is missing")
    labels, of_frames = _labels(folder, task)
    if labels is not None and not of_frames and len(labels) != len(eef):
        raise LabelError(f"{TICK_LABELS_FILE} has {len(labels)} labels for {len(eef)} ticks")
    mass_g = _final_mass_g(folder / MASS_FILE) if task.mass else None
    return OlderEpisode(number, eef, target, mass_g, labels, of_frames)


def _labels(folder: Path, task: TaskConfig) -> tuple[NDArray[np.int64] | None, bool]:
    """The labels, and whether they are of the frames."""
    if task.stages is None:
        return None, False
    path = next((folder / name for name in (TICK_LABELS_FILE, LABELS_FILE) if (folder / name).is_file()), None)
    if path is None:
        raise LabelError(f"it has neither {TICK_LABELS_FILE} nor {LABELS_FILE}")
    try:
        labels = np.load(path, allow_pickle=False).astype(np.int64).reshape(-1)
    except UNREADABLE as error:
        raise LabelError(f"{path.name} cannot be read ({error})") from error
    wrong = labels[(labels < 0) | (labels >= len(task.stages.names))]
    if len(wrong):
        raise LabelError(f"it has a label {wrong[0]}, expected 0 to {len(task.stages.names) - 1}")
    return labels, path.name == LABELS_FILE


def _final_mass_g(path: Path) -> float:
    """The last row's second column: the mass at the end, for what is scooped so far would tell the stage."""
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line.strip()]
        mass_g = float(rows[-1][1])
    except (OSError, ValueError, IndexError) as error:
        raise EpisodeError(f"{path.name} cannot be read ({error}); expected rows of index and mass") from error
    if not np.isfinite(mass_g) or mass_g < 0:
        raise EpisodeError(f"{path.name} ends with a mass of {mass_g}, expected grams, 0 or more")
    return mass_g


def _streams(root: Path, episode: OlderEpisode, task: TaskConfig) -> dict[str, NDArray[Any]]:
    steps = len(episode.eef)
    frames = {key: _frames(_video(root, episode.number, key), camera)
              for key, camera in task.extracted_cameras.items()}
    streams: dict[str, NDArray[Any]] = {key: images[_shown(len(images), steps)] for key, images in frames.items()}
    streams["eef"] = episode.eef.astype(np.float32)
    if episode.labels is not None:
        streams["label"] = _at_ticks(episode, frames, task).astype(np.float32).reshape(steps, 1)
    if episode.mass_g is not None:
        streams["mass"] = np.full((steps, 1), episode.mass_g, np.float32)
    streams["action"] = np.concatenate([episode.target] * len(task.action), axis=1).astype(np.float32)
    return streams


def _at_ticks(episode: OlderEpisode, frames: Mapping[str, NDArray[Any]], task: TaskConfig) -> NDArray[np.int64]:
    assert episode.labels is not None
    if not episode.of_frames:
        return episode.labels
    n_frames = len(frames[task.labelled_camera])
    if len(episode.labels) != n_frames:
        raise LabelError(f"episode {episode.number}: {len(episode.labels)} labels for {n_frames} frames; label it "
                         "again")
    return episode.labels[_shown(n_frames, len(episode.eef))]


def _shown(n_frames: int, steps: int) -> NDArray[np.int64]:
    """(steps,) the frame that each tick shows: the first shows the first, the last the last."""
    return np.rint(np.linspace(0, n_frames - 1, steps)).astype(np.int64)


def _video(root: Path, number: int, key: str) -> Path:
    return root / "videos" / str(number) / f"{video_name(key)}.mp4"


def _frames(path: Path, camera: CameraConfig) -> NDArray[np.uint8]:
    """(F, H, W, 3) at the task's size. Of a depth view the nearest pixel is taken, as of the depth itself."""
    frames: list[NDArray[Any]] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                image = frame.to_ndarray(format="rgb24")
                if camera.kind == "color":
                    frames.append(to_task_size(image, camera))
                else:
                    size_px = (camera.width_px, camera.height_px)
                    frames.append(np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_NEAREST)))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise EpisodeError(f"{path} cannot be decoded ({error}); copy it again") from error
    if not frames:
        raise EpisodeError(f"{path} holds no frames; copy it again")
    return np.stack(frames)
