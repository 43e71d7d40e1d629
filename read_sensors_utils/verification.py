"""Is a folder of episodes what it claims to be? Every fault in one line, with what to do about it."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeFolder
from ladle.episode_checksums import damaged_files, read_checksums
from ladle.episode_files import CHECKSUMS_FILE, LABELS_FILE, PARTIAL, PARTIAL_LABELS_FILE, READY, REPLACED, numbered
from ladle.errors import EpisodeError, LabelError, LadleError
from ladle.script import one_line
from ladle.task import TaskConfig, task_from_text
from ladle.unfinished import holds_data, of_another_program
from read_sensors_utils.annotations import labels_at_ticks
from read_sensors_utils.array_checks import decoding_faults, mass_faults, motion_faults, stamp_faults
from read_sensors_utils.video_checks import video_faults

EXTRACT_AGAIN = "extract it again: ladle repair with --bags and the folder of its recording"
OTHER_PROGRAM = "it is left as it is; ladle convert reads it with --quaternion-order wxyz or xyzw"
REPAIR = "run ladle repair"
AT_TICKS = "run read_sensors_utils/format_data_replay_buffer.py --annotations"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Fault:
    """Something that does not fit. where: the episode or file, "" for the data set as a whole."""

    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}" if self.where else f"{self.what}; {self.remedy}"


@dataclass
class Verdict:
    """What a check found. notes: what is worth knowing and no fault, as missing labels."""

    episodes: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    notes: list[str] = field(default_factory=list[str])


def verify_folder(root: Path) -> Verdict:
    """Check every episode of a folder: checksums, lengths, stamps, quaternions, labels, mass, decodable frames.

    Raises:
        EpisodeError: there is no episode at all.
    """
    folder = EpisodeFolder(root)
    numbers = folder.numbers()
    verdict = Verdict(episodes=len(numbers))
    for number, reason in folder.incomplete().items():
        verdict.faults.append(unfinished_fault(root, number, reason))
    left_over = {n for prefix in (PARTIAL, READY, REPLACED) for n in numbered(root, prefix)}
    for number in sorted(left_over & set(numbers)):
        verdict.faults.append(Fault(f"episode {number}", "an interrupted replacement lies beside it", REPAIR))
    for number in numbers:
        verdict.faults += episode_faults(folder, number)
        verdict.faults += _partial_label_faults(folder, number)
        with contextlib.suppress(EpisodeError, *UNREADABLE):  # a fault, which is named already
            verdict.notes += _notes(folder, number)
    if not numbers and not verdict.faults:
        raise EpisodeError(f"no episodes in {root}; make them with read_sensors_utils/format_data_replay_buffer.py")
    return verdict


def unfinished_fault(root: Path, number: int, reason: str) -> Fault:
    """Of what is no episode: `ladle repair` is advised only where it mends."""
    where = f"episode {number}"
    if of_another_program(root, number):
        return Fault(where, reason, OTHER_PROGRAM)
    return Fault(where, f"is half-made: {reason}", EXTRACT_AGAIN if holds_data(root, number) else REPAIR)


def episode_faults(folder: EpisodeFolder, number: int) -> list[Fault]:
    """What is wrong with one episode: files that changed, else what their content shows, and its labels."""
    return data_faults(folder, number) or label_faults(folder, number)


def data_faults(folder: EpisodeFolder, number: int) -> list[Fault]:
    """What only a new extraction can mend."""
    where = f"episode {number}"
    try:
        changed = [Fault(where, f"{name} {what}", EXTRACT_AGAIN) for name, what in damaged_files(folder.root, number)]
        return changed or [Fault(where, what, EXTRACT_AGAIN) for what in _content_faults(folder, number)]
    except LadleError as error:
        return [Fault(where, one_line(error).partition(";")[0].removeprefix(f"{where}: "), EXTRACT_AGAIN)]
    except UNREADABLE as error:
        return [Fault(where, f"cannot be read: {one_line(error)}", EXTRACT_AGAIN)]


def label_faults(folder: EpisodeFolder, number: int) -> list[Fault]:
    """Labels cover every frame and name stages, and a tick's label is that of the frame that it shows."""
    where = f"episode {number}"
    try:
        labels = folder.frame_labels(number)
    except UNREADABLE as error:
        return [Fault(where, f"{LABELS_FILE} cannot be read ({one_line(error)})", "label it again")]
    try:
        episode, stamps = folder.load(number), folder.stamps(number)
        task = task_of(episode.description, number)
    except (LadleError, *UNREADABLE):
        return []  # the data are damaged, not people's work: see data_faults
    if labels is None and episode.labels is not None and not _partial_labels(folder, number).is_file():
        return [Fault(where, f"its ticks have labels, but {LABELS_FILE} is missing", "label it again")]
    if labels is None or task is None:
        return []
    try:
        at_ticks = labels_at_ticks(labels, stamps, task, number)
    except LabelError as error:
        what, _, remedy = one_line(error).removeprefix(f"{where}: ").partition("; ")
        return [Fault(where, what, remedy)]
    if episode.labels is None or not np.array_equal(episode.labels, at_ticks):
        return [Fault(where, "the labels of its ticks are not those of its frames", AT_TICKS)]
    return []


def task_of(description: Mapping[str, Any], number: int) -> TaskConfig | None:
    """The task that an episode was extracted for; None where it does not say."""
    text = description.get("task")
    return task_from_text(str(text), f"episode {number}") if text is not None else None


def _content_faults(folder: EpisodeFolder, number: int) -> Iterator[str]:
    episode = folder.load(number)
    if episode.description.get("checksums") and read_checksums(folder.root, number) is None:
        yield f"{CHECKSUMS_FILE} is missing"
    task = task_of(episode.description, number)
    stamps = folder.stamps(number)
    yield from motion_faults(episode)
    yield from stamp_faults(stamps)
    yield from mass_faults(folder.action_folder(number), episode, task)
    if task is not None:
        yield from decoding_faults(episode, task)
        yield from video_faults(folder.video_folder(number), stamps, task)


def _partial_labels(folder: EpisodeFolder, number: int) -> Path:
    return folder.action_folder(number) / PARTIAL_LABELS_FILE


def _partial_label_faults(folder: EpisodeFolder, number: int) -> list[Fault]:
    partial = _partial_labels(folder, number)
    try:
        if partial.is_file():
            np.load(partial, allow_pickle=False)
    except UNREADABLE as error:
        what = f"{PARTIAL_LABELS_FILE} cannot be read ({one_line(error)})"
        return [Fault(f"episode {number}", what, "label it again")]
    return []


def _notes(folder: EpisodeFolder, number: int) -> Iterator[str]:
    if read_checksums(folder.root, number) is None:
        yield f"episode {number} has no checksums: it was made by an older version"
    partial = _partial_labels(folder, number)
    if partial.is_file():
        labels: NDArray[Any] = np.load(partial, allow_pickle=False)
        yield f"episode {number}: {int(np.sum(labels < 0))} of {len(labels)} frames are not labelled yet"
    elif folder.frame_labels(number) is None:
        yield f"episode {number} is not labelled"
