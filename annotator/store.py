"""Labels on disk, saved at every key: a kill at any moment loses nothing that was pressed.

An episode's labels lie in one of two files, never both: `annotations_video_partial.npy` while frames are
missing, `annotations_video.npy` once all are labelled. One becomes the other by a rename. A key changes one label, and
that is written in place: eight bytes in one system call are there or not.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotator.labels import UNLABELLED, Labeller
from ladle.atomic import replace_file
from ladle.episode import LABELS_FILE, PARTIAL_LABELS_FILE, TICK_LABELS_FILE
from ladle.errors import LabelError

COMPLETE_NAME = LABELS_FILE
PER_TICK_NAME = TICK_LABELS_FILE
STORED_TYPE = np.dtype("<i8")


class LabelStore:
    """The label files of one episode, in its folder actions/N."""

    def __init__(self, action_folder: Path) -> None:
        self._complete = action_folder / COMPLETE_NAME
        self._partial = action_folder / PARTIAL_LABELS_FILE
        self._per_tick = action_folder / PER_TICK_NAME
        if not action_folder.is_dir():
            raise LabelError(f"no episode folder {action_folder}; extract the episode before labelling it")

    @property
    def is_complete(self) -> bool:
        """Whether all frames of the episode are labelled."""
        return self._complete.exists()

    def load(self) -> NDArray[np.int64] | None:
        """(F,) labels of the last sitting, or None. Raises LabelError when the file is damaged."""
        for path in (self._partial, self._complete):
            if path.exists():
                try:
                    return np.load(path, allow_pickle=False)
                except (ValueError, EOFError) as error:
                    raise LabelError(f"{path} is not a label file ({error}); delete it and label again") from error
        return None

    def labeller(self, n_frames: int, n_stages: int) -> Labeller:
        """A labeller that goes on where the last sitting stopped.

        Raises:
            LabelError: what is on disk does not belong to this many frames and stages; the file is named.
        """
        labels = self.load()
        try:
            labeller = Labeller(n_frames, n_stages, labels)
        except LabelError as error:
            raise LabelError(f"{self._complete.parent}: {error}") from error
        if labels is not None and labels.dtype != STORED_TYPE:
            self._write_whole(self._complete if self.is_complete else self._partial, labeller.labels)
        if labeller.is_complete and not self.is_complete:
            self._finish()  # a kill came between the last key's two steps
        return labeller

    def save(self, labels: NDArray[np.int64], frame: int) -> None:
        """Put labels (F,) on disk of which only that of `frame` is new.

        Per-tick labels made from the older ones are taken away, as they are out of date.
        """
        self._per_tick.unlink(missing_ok=True)
        if self._complete.exists():
            self._complete.replace(self._partial)
        if self._partial.exists():
            with self._partial.open("r+b") as file:
                file.seek((frame - len(labels)) * STORED_TYPE.itemsize, os.SEEK_END)
                file.write(labels[frame].astype(STORED_TYPE).tobytes())
        else:
            self._write_whole(self._partial, labels)
        if not np.any(labels == UNLABELLED):
            self._finish()

    def _finish(self) -> None:
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self._complete)

    def _write_whole(self, path: Path, labels: NDArray[np.int64]) -> None:
        with replace_file(path) as sibling, sibling.open("wb") as file:
            np.save(file, labels.astype(STORED_TYPE), allow_pickle=False)


class Sitting:
    """A labeller and its store: every key goes to both."""

    def __init__(self, store: LabelStore, n_frames: int, n_stages: int) -> None:
        self._store = store
        self.labeller = store.labeller(n_frames, n_stages)

    def press(self, key: str) -> None:
        """Take a key and save at once what it changed."""
        before = self.labeller.cursor
        if self.labeller.press(key):
            self._save_since(before)

    def tick(self) -> None:
        """A frame period has passed; save at once the label that playing gave."""
        before = self.labeller.cursor
        if self.labeller.tick():
            self._save_since(before)

    def _save_since(self, before: int) -> None:
        self._store.save(self.labeller.labels, min(before, self.labeller.cursor))
