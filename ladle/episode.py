"""Episodes: what one demonstration is, checked, and the folder in which they lie.

    actions/N/   current_eef_pos_interpolated.npy, target_end_effector_pos_interpolated.npy, mass.txt,
                 annotations_video.npy, annotations_video_interpolated.npy, episode.json
    videos/N/    0.mp4 (8-bit depth view), 0_depth.avi (ticks, lossless), 1.mp4 (colour)
    numpy/N/     0.npy, 1.npy: first image of each
    frames/N.zarr   the frames of the ticks at the task's size, lossless
    stamps/N.npz    every time stamp, and the joints at the ticks

N is the bag's own number. An episode is complete when actions/N is there: it comes last. Beside its data, actions/N
holds checksums.json, the SHA-256 of every file of the episode.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from ladle.atomic import replace_file
from ladle.episode_checksums import read_checksums
from ladle.episode_commit import EpisodeWriter, label_folders, recover, staged_episode
from ladle.episode_files import (
    DESCRIPTION_FILE,
    EEF_FILE,
    MASS_FILE,
    PARTIAL,
    READY,
    REPLACED,
    TARGET_FILE,
    TICK_LABELS_FILE,
    actions_of,
    numbered,
)
from ladle.episode_files import LABELS_FILE as LABELS_FILE
from ladle.episode_files import PARTIAL_LABELS_FILE as PARTIAL_LABELS_FILE
from ladle.errors import EpisodeError, LabelError
from ladle.task import DepthCodec
from ladle.unfinished import of_another_program

Floats = NDArray[np.float64]

PART_SUFFIXES = {"videos": "", "numpy": "", "frames": ".zarr", "stamps": ".npz"}
REMEDY = "re-run read_sensors_utils/format_data_replay_buffer.py"


@dataclass(frozen=True)
class Episode:
    """One demonstration on one clock: T ticks, every array has length T.

    Attributes:
        index: the bag's number.
        decision_s, observation_s: (T,) seconds from the bag's start.
        joints: (T, n) rad at the observation times; target_joints: (T, n) one period later.
        eef, target: (T, 7) metres and quaternion xyzw, or None where the task has no frames.
        mass_g: final scooped mass, or None where the task has none.
        labels: (T,) stage, or None before labelling.
        frames: camera or ticks key -> lazily read array (T, H, W[, 3]).
        description: the content of episode.json.
    """

    index: int
    decision_s: Floats
    observation_s: Floats
    joints: Floats
    target_joints: Floats
    eef: Floats | None
    target: Floats | None
    mass_g: float | None
    labels: NDArray[np.int64] | None
    frames: Mapping[str, Any]
    description: Mapping[str, Any]

    def __post_init__(self) -> None:
        arrays: dict[str, Any] = {
            "decision_s": self.decision_s, "observation_s": self.observation_s, "joints": self.joints,
            "target_joints": self.target_joints, "eef": self.eef, "target": self.target, "labels": self.labels,
            **self.frames,
        }
        lengths = {name: int(values.shape[0]) for name, values in arrays.items() if values is not None}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise EpisodeError(
                f"episode {self.index}: all streams must share one clock, got lengths {lengths}; {REMEDY}"
            )
        if np.any(np.diff(self.decision_s) <= 0) or np.any(self.observation_s > self.decision_s + 1e-9):
            raise EpisodeError(
                f"episode {self.index}: decision times must increase and observations precede them; {REMEDY}"
            )
        for name, poses in (("eef", self.eef), ("target", self.target)):
            if poses is not None and not np.allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0, atol=1e-6):
                raise EpisodeError(f"episode {self.index}: quaternions in {name} are not of unit length; {REMEDY}")

    def __len__(self) -> int:
        return len(self.decision_s)


class EpisodeFolder:
    """A folder of episodes. Reading checks; writing is atomic per episode."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def action_folder(self, number: int) -> Path:
        """actions/N."""
        return self.root / actions_of(number)

    def video_folder(self, number: int) -> Path:
        """videos/N."""
        return self.root / "videos" / str(number)

    def video(self, number: int, camera_key: str) -> Path:
        """The view of a camera for people, all source frames."""
        return self.video_folder(number) / f"{video_name(camera_key)}.mp4"

    def numbers(self) -> list[int]:
        """Numbers of the complete episodes, in order."""
        numbers = numbered(self.root / "actions")
        return sorted(n for n in numbers if (self.action_folder(n) / DESCRIPTION_FILE).is_file())

    def incomplete(self) -> dict[int, str]:
        """Episodes that were begun and not finished, or that another program made -> what is missing."""
        complete = set(self.numbers())
        found: dict[int, str] = dict.fromkeys(numbered(self.root, READY), "it was not put in place to the end")
        found |= {n: f"no actions/{n}/{DESCRIPTION_FILE}" for n in numbered(self.root / "actions") - set(found)}
        for kind, suffix in PART_SUFFIXES.items():
            alone = numbered(self.root / kind, suffix=suffix) - complete - set(found)
            found |= {n: f"{kind}/{n}{suffix} without actions/{n}" for n in alone}
        found |= dict.fromkeys(numbered(self.root, PARTIAL), "extraction was interrupted")
        found |= dict.fromkeys(numbered(self.root, REPLACED) - set(found), "only an older episode's labels are left")
        return {n: f"made by another program, {reason}" if of_another_program(self.root, n) else reason
                for n, reason in sorted(found.items()) if n not in complete}

    def load(self, number: int) -> Episode:
        """Read one episode; frames stay on disk until they are indexed.

        Raises:
            EpisodeError: it is missing, half-made or inconsistent.
        """
        if number not in self.numbers():
            known = self.numbers()
            reason = self.incomplete().get(number, f"complete episodes are {known}")
            raise EpisodeError(f"episode {number} in {self.root} is missing or half-made ({reason}); {REMEDY}")
        try:
            return self._load(number)
        except EpisodeError:
            raise
        except (FileNotFoundError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise EpisodeError(f"episode {number} in {self.root} is damaged: {error}; {REMEDY} --override") from error

    def stamps(self, number: int) -> dict[str, NDArray[Any]]:
        """Everything in stamps/N.npz."""
        with np.load(self.root / "stamps" / f"{number}.npz", allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def frame_labels(self, number: int) -> NDArray[np.int64] | None:
        """(F,) labels of the colour frames, or None before labelling.

        People's work is found again even when a kill hit the moment in which an episode was being replaced.
        """
        for folder in label_folders(self.root, number):
            path = folder / LABELS_FILE
            if path.is_file():
                return np.load(path, allow_pickle=False).astype(np.int64)
        return None

    def save_tick_labels(self, number: int, labels: NDArray[np.int64]) -> None:
        """Write the (T,) labels of the ticks."""
        steps = len(self.stamps(number)["decision_s"])
        if len(labels) != steps:
            raise LabelError(f"episode {number}: {len(labels)} labels for {steps} ticks")
        with replace_file(self.action_folder(number) / TICK_LABELS_FILE) as partial, partial.open("wb") as file:
            np.save(file, labels)

    @contextmanager
    def writer(self, number: int, *, override: bool = False) -> Generator[EpisodeWriter, None, None]:
        """Stage an episode; at the end of the block it is put in place, actions/N last.

        An exception removes what was staged. A kill leaves a `.partial-N` folder, or a `.ready-N` folder with the
        whole episode, which `recover` puts in place.

        Raises:
            EpisodeError: the episode is there already, or another process is writing it.
        """
        if number in self.numbers() and not override:
            raise EpisodeError(f"episode {number} is already in {self.root}; pass --override to replace it")
        with staged_episode(self.root, number) as writer:
            yield writer

    def recover(self) -> list[int]:
        """Put in place what was whole when a kill came, and remove what was not; returns the numbers of the former."""
        return recover(self.root)

    def _load(self, number: int) -> Episode:
        folder = self.action_folder(number)
        description = cast(dict[str, Any], json.loads((folder / DESCRIPTION_FILE).read_text()))
        stamps = self.stamps(number)
        frames_path = self.root / "frames" / f"{number}.zarr"
        group = zarr.open_group(frames_path, mode="r") if frames_path.is_dir() else None
        self._require_frames(number)
        mass = folder / MASS_FILE
        return Episode(
            index=number, decision_s=stamps["decision_s"], observation_s=stamps["observation_s"],
            joints=stamps["joints"], target_joints=stamps["target_joints"],
            eef=_array_or_none(folder / EEF_FILE), target=_array_or_none(folder / TARGET_FILE),
            mass_g=float(np.loadtxt(mass, ndmin=2)[0, 1]) if mass.is_file() else None,
            labels=_array_or_none(folder / TICK_LABELS_FILE),
            frames=dict(group.arrays()) if group is not None else {}, description=description,
        )

    def _require_frames(self, number: int) -> None:
        """A chunk that is gone would be read as black frames; the checksums tell which there were."""
        frames = f"frames/{number}.zarr/"
        for name in read_checksums(self.root, number) or {}:
            if name.startswith(frames) and not (self.root / name).is_file():
                raise EpisodeError(f"episode {number} in {self.root} is damaged: {name} is missing; {REMEDY} "
                                   "--override")


def video_name(camera_key: str) -> str:
    """camera_1 -> "1"; a key without a number keeps its whole name."""
    digits = camera_key.rsplit("_", 1)[-1]
    return digits if digits.isdigit() else camera_key


def depth_video_name(camera_key: str, codec: DepthCodec) -> str:
    """The file of a camera's lossless depth; each codec lies in a container that holds it."""
    return f"{video_name(camera_key)}_depth.{'avi' if codec == 'ffvhuff' else 'mkv'}"


def _array_or_none(path: Path) -> NDArray[Any] | None:
    return np.load(path, allow_pickle=False) if path.is_file() else None
