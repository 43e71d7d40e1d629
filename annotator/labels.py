"""The frame labeller as a pure state machine: keys in, labels out. No window, no files, no clock.

The frames before the cursor are labelled, those from the cursor on are not; so there is never a gap, and n frames
passed are n labels given. Everything else follows from the labels: the cursor is their number, and the label that
playing goes on with is the one of the frame before.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ladle.errors import LabelError

UNLABELLED = -1

BACK = "back"
PLAY = "play"
QUIT = "quit"


class Labeller:
    """Labels of one episode's frames in the making.

    Keys are "0" to "9" as far as there are stages (label the frame at the cursor and go to the next), `BACK` (take
    the last label off and show its frame again), `PLAY` (start or stop playing) and `QUIT`. While playing, each
    `tick` gives the frame at the cursor the label of the frame before. Any digit goes on playing with that label;
    `BACK` and the last frame end it. A key that makes no sense where it is pressed changes nothing.
    """

    def __init__(self, n_frames: int, n_stages: int, labels: NDArray[np.int64] | None = None) -> None:
        """Start, or resume from the labels of an earlier sitting.

        Args:
            n_frames: F, at least 1.
            n_stages: labels are 0 to n_stages - 1; at most 10, one digit each.
            labels: (F,) int, UNLABELLED from the first frame without a label on.

        Raises:
            LabelError: the labels do not belong to this number of frames and stages.
        """
        if n_frames < 1:
            raise LabelError(f"a labeller needs at least one frame, got {n_frames}")
        if not 1 <= n_stages <= 10:
            raise LabelError(f"one digit key per stage: 1 to 10 stages can be labelled, got {n_stages}")
        self._n_stages = n_stages
        self._labels = np.full(n_frames, UNLABELLED, dtype=np.int64)
        self._cursor = 0
        self._playing = False
        self._quitted = False
        if labels is not None:
            self._cursor = check_labels(labels, n_frames, n_stages)
            self._labels[:] = labels

    @property
    def labels(self) -> NDArray[np.int64]:
        """(F,) a copy; UNLABELLED from the cursor on."""
        return self._labels.copy()

    @property
    def n_frames(self) -> int:
        """F."""
        return len(self._labels)

    @property
    def cursor(self) -> int:
        """Index of the frame to label next; F when all are labelled."""
        return self._cursor

    @property
    def shown_frame(self) -> int:
        """Index of the frame to look at: the one at the cursor, or the last."""
        return min(self._cursor, self.n_frames - 1)

    @property
    def held_label(self) -> int | None:
        """The label that playing goes on with; None before the first label."""
        return int(self._labels[self._cursor - 1]) if self._cursor else None

    @property
    def is_complete(self) -> bool:
        """Whether every frame has its label."""
        return self._cursor == self.n_frames

    @property
    def is_playing(self) -> bool:
        """Whether `tick` labels frames."""
        return self._playing

    @property
    def has_quit(self) -> bool:
        """Whether the user asked to stop; a later key is ignored."""
        return self._quitted

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that mean something."""
        return (*(str(stage) for stage in range(self._n_stages)), BACK, PLAY, QUIT)

    def press(self, key: str) -> bool:
        """Take a key. Returns whether a label changed. Raises LabelError for a key that is none of `keys`."""
        if key not in self.keys:
            raise LabelError(f"no key {key!r}; there are {', '.join(self.keys)}")
        if self._quitted:
            return False
        if key == QUIT:
            self._quitted, self._playing = True, False
            return False
        if key == PLAY:
            self._playing = not self._playing and self.held_label is not None and not self.is_complete
            return False
        if key == BACK:
            return self._step_back()
        return self._label_and_advance(int(key))

    def press_all(self, keys: Iterable[str]) -> None:
        """Take keys one after the other."""
        for key in keys:
            self.press(key)

    def tick(self) -> bool:
        """One frame period has passed. Returns whether a label changed: only while playing."""
        held = self.held_label
        if not self._playing or held is None:
            return False
        return self._label_and_advance(held)

    def _label_and_advance(self, label: int) -> bool:
        if self.is_complete:
            return False
        self._labels[self._cursor] = label
        self._cursor += 1
        self._playing = self._playing and not self.is_complete
        return True

    def _step_back(self) -> bool:
        self._playing = False
        if self._cursor == 0:
            return False
        self._cursor -= 1
        self._labels[self._cursor] = UNLABELLED
        return True


def check_labels(labels: NDArray[np.int64], n_frames: int, n_stages: int) -> int:
    """How many frames are labelled: labels (F,) -> 0 to F.

    Raises:
        LabelError: wrong length or type, a label that is no stage, or a gap.
    """
    if labels.shape != (n_frames,) or not np.issubdtype(labels.dtype, np.integer):
        raise LabelError(f"expected integer labels of {n_frames} frames, got {labels.dtype} of shape {labels.shape}; "
                         "the video was extracted again since: delete the labels and label it anew")
    n_labelled = int(np.count_nonzero(labels != UNLABELLED))
    given = labels[:n_labelled]
    if bool(np.any(labels[n_labelled:] != UNLABELLED)) or bool(np.any((given < 0) | (given >= n_stages))):
        found = np.unique(labels).tolist()
        raise LabelError(f"expected labels 0 to {n_stages - 1} without a gap, found {found}; "
                         "delete them and label the episode anew, or name the task they were made for")
    return n_labelled
