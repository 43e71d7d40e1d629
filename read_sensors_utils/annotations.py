"""Labels of the colour frames -> labels of the ticks: each tick gets the label of the frame that it shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeFolder
from ladle.errors import LabelError
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
