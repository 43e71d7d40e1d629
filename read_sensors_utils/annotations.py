"""Labels of the colour frames -> labels of the ticks: each tick gets the label of the frame that it shows."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeFolder
from ladle.episode_commit import label_folders
from ladle.episode_files import PEOPLES_FILES
from ladle.errors import EpisodeError, LabelError
from ladle.task import TaskConfig

log = logging.getLogger("ladle.extract")

REMEDY = "go on with annotator/annotator_parsor.py"


def labels_at_ticks(labels: NDArray[np.int64], stamps: Mapping[str, NDArray[Any]], task: TaskConfig,
                    number: int) -> NDArray[np.int64]:
    """(F,) labels of the frames -> (T,) labels of the ticks.

    Raises:
        LabelError: not one label per frame, or a label that is no stage.
    """
    camera = task.labelled_camera
    if f"header_ns_{camera}" not in stamps:
        raise LabelError(f"episode {number} has no camera {camera} of task {task.name}; pass the --task that it was "
                         "extracted with")
    n_frames = len(stamps[f"header_ns_{camera}"])
    if labels.shape != (n_frames,):
        raise LabelError(f"episode {number}: {len(labels)} labels for {n_frames} frames; {REMEDY}")
    n_stages = len(task.stages.names) if task.stages else None
    wrong = np.flatnonzero((labels < 0) | (labels >= n_stages if n_stages is not None else False))
    if len(wrong):
        expected = f"0 to {n_stages - 1}" if n_stages is not None else "0 or more"
        raise LabelError(f"episode {number}: frame {wrong[0]} has the label {labels[wrong[0]]}, expected {expected} "
                         f"({len(wrong)} such frames); {REMEDY}")
    return labels[stamps[f"frame_index_{camera}"]].astype(np.int64)


def require_same_frames(folder: EpisodeFolder, number: int, task: TaskConfig,
                        received_ns: Mapping[str, Sequence[int]]) -> None:
    """Labels of an episode that is made again must be of the frames that it has now, told by their receive stamps.

    Raises:
        LabelError: they were made for other frames.
    """
    files = [path for labels in label_folders(folder.root, number) for name in PEOPLES_FILES
             if (path := labels / name).is_file()]
    if not files or not any(camera.kind == "color" for camera in task.extracted_cameras.values()):
        return
    try:
        before = folder.stamps(number)[f"receive_ns_{task.labelled_camera}"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return  # lost or damaged, so nobody can tell; their number is compared all the same
    if not np.array_equal(before, received_ns[task.labelled_camera]):
        names = " and ".join(str(path.relative_to(folder.root)) for path in files)
        raise LabelError(f"episode {number} has labels of another recording's frames; to make it of this recording, "
                         f"move {names} out of {folder.root} and label it anew afterwards")


def bring_labels_to_ticks(root: Path, task: TaskConfig) -> None:
    """`interpolate_labels` of a folder in which every episode is to be labelled, and say what was done.

    Raises:
        EpisodeError: there is no episode.
        LabelError: after all others were written, naming the episodes whose labels are missing or do not fit.
    """
    folder = EpisodeFolder(root)
    if not folder.numbers():
        raise EpisodeError(f"no episodes in {root}; extract recordings first with --path-load")
    done = interpolate_labels(folder, task, required=True)
    log.info("labels of %d episodes brought to the ticks in %s", len(done), root)


def interpolate_labels(folder: EpisodeFolder, task: TaskConfig, *, required: bool) -> list[int]:
    """Write the tick labels of every labelled episode; returns their numbers.

    Args:
        required: whether an episode without labels, or with unfinished ones, is an error or just left for later.

    Raises:
        LabelError: after all others were written, naming the episodes whose labels are missing or do not fit.
    """
    done: list[int] = []
    problems: list[str] = []
    for number in folder.numbers():
        labels = folder.frame_labels(number)
        if labels is None:
            problems.append(f"episode {number} has no labels; {REMEDY}")
            continue
        try:
            folder.save_tick_labels(number, labels_at_ticks(labels, folder.stamps(number), task, number))
        except LabelError as error:
            problems.append(str(error))
            if not required:
                log.warning("%s", error)
            continue
        done.append(number)
    if required and problems:
        more = f" (and {len(problems) - 1} more episodes)" if len(problems) > 1 else ""
        raise LabelError(problems[0] + more)
    return done
