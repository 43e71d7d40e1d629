"""Labels from a sequence of key presses instead of a person, through the same labeller and the same store."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from annotator.store import LabelStore, Sitting
from ladle.episode import EpisodeFolder
from ladle.errors import LabelError
from ladle.task import TaskConfig


def press_keys(store: LabelStore, n_frames: int, n_stages: int, keys: Iterable[str]) -> Sitting:
    """Press keys one after the other, each saved before the next. A sitting that was interrupted goes on."""
    sitting = Sitting(store, n_frames, n_stages)
    for key in keys:
        sitting.press(key)
    return sitting


def truth_at_frames(
    frame_header_ns: NDArray[np.int64], truth_header_ns: NDArray[np.int64], truth_stage: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Stage of each frame: header stamps (F,) and truth (M,) on the same clock -> (F,).

    A frame takes the truth with its own header stamp.

    Raises:
        LabelError: a frame whose stamp the truth does not have: the truth is of another recording.
    """
    order = np.argsort(truth_header_ns, kind="stable")
    stamps = np.asarray(truth_header_ns, dtype=np.int64)[order]
    if len(stamps) == 0 or len(stamps) != len(truth_stage):
        raise LabelError(f"truth needs one stage per stamp, got {len(stamps)} stamps and {len(truth_stage)} stages")
    place = np.minimum(np.searchsorted(stamps, frame_header_ns), len(stamps) - 1)
    missing = np.flatnonzero(stamps[place] != frame_header_ns)
    if len(missing):
        raise LabelError(f"{len(missing)} of {len(frame_header_ns)} frames have header stamps that the truth lacks, "
                         f"first frame {missing[0]} at {frame_header_ns[missing[0]]} ns; "
                         "give the truth of the same recording")
    return np.asarray(truth_stage, dtype=np.int64)[order][place]


def label_from_truth(
    folder: EpisodeFolder, n: int, truth_header_ns: NDArray[np.int64], truth_stage: NDArray[np.int64], task: TaskConfig
) -> NDArray[np.int64]:
    """Label episode n with a known stage per colour frame; returns the labels (F,).

    Args:
        folder: episodes; stamps/N.npz must hold the header stamps of the camera that the task labels.
        truth_header_ns, truth_stage: (M,) stamp of each recorded frame and its stage.

    Raises:
        LabelError: stamps that do not match, or labels of an earlier sitting that differ from the truth.
    """
    stages = truth_at_frames(folder.stamps(n)[f"header_ns_{task.labelled_camera}"], truth_header_ns, truth_stage)
    store = LabelStore(folder.action_folder(n))
    sitting = Sitting(store, len(stages), len(task.stages.names) if task.stages else 0)
    already = sitting.labeller.cursor
    if not np.array_equal(sitting.labeller.labels[:already], stages[:already]):
        raise LabelError(f"episode {n} in {folder.root} already has labels that differ from the truth; "
                         "delete them to label it anew")
    for stage in stages[already:]:
        sitting.press(str(int(stage)))
    return sitting.labeller.labels
