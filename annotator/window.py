"""The labeller's OpenCV window: shows the frame at the cursor, turns key codes into the labeller's keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from annotator.display import require_display
from annotator.labels import BACK, PLAY, QUIT, Labeller
from annotator.store import Sitting

TITLE = "Ladle annotator"
DONE = "done"
NO_KEY = -1
MIN_WIDTH_PX = 640
BANNER_PX = 64
PAUSED_WAIT_MS = 50
HELP = "digit: label   left/b: back   space: play/pause   enter: next video   q/esc: quit"

# Key codes of cv2.waitKeyEx: X11 keysyms on Linux (Qt and GTK), virtual key codes << 16 on Windows.
_LEFT_CODES = {0xFF51, 0x250000, 63234}
_ENTER_CODES = {13, 10, 0xFF8D}
_BACKSPACE_CODES = {8, 0xFF08}
_KEYPAD_ZERO = 0xFFB0
_ESCAPE = 27


class Frames(Protocol):
    """RGB frames by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


def key_name(code: int, n_stages: int) -> str | None:
    """What a code of cv2.waitKeyEx means: a key of the labeller, DONE, or None for no key or one without meaning."""
    if code == NO_KEY:
        return None
    low = code & 0xFFFF  # the bits above hold Shift, NumLock, ... on Linux
    if {code, low} & _LEFT_CODES or low in _BACKSPACE_CODES or low in (ord("b"), ord("B")):
        return BACK
    if low in _ENTER_CODES:
        return DONE
    if low == ord(" "):
        return PLAY
    if low in (ord("q"), ord("Q"), _ESCAPE):
        return QUIT
    for digit in range(n_stages):
        if low in (ord("0") + digit, _KEYPAD_ZERO + digit):
            return str(digit)
    return None


def status_line(labeller: Labeller, stage_names: Sequence[str]) -> str:
    """One line: where we are, what was given last, what is going on."""
    held = labeller.held_label
    last = "none" if held is None else f"{held} {stage_names[held]}"
    if labeller.is_complete:
        state = "all labelled: enter goes on, back changes"
    else:
        state = "playing" if labeller.is_playing else "paused"
    return f"frame {labeller.shown_frame + 1}/{labeller.n_frames}   last: {last}   {state}"


def annotated_view(
    image: NDArray[np.uint8], title: str, labeller: Labeller, stage_names: Sequence[str]
) -> NDArray[np.uint8]:
    """RGB frame (H, W, 3) -> BGR picture for the window, enlarged, with the status below it."""
    scale = max(1, -(-MIN_WIDTH_PX // image.shape[1]))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    view = np.zeros((large.shape[0] + BANNER_PX, large.shape[1], 3), np.uint8)
    view[: large.shape[0]] = cv2.cvtColor(large, cv2.COLOR_RGB2BGR)
    lines = (f"{title}   {status_line(labeller, stage_names)}",
             "   ".join(f"{i} {name}" for i, name in enumerate(stage_names)), HELP)
    for row, line in enumerate(lines):
        y = large.shape[0] + 18 + 20 * row
        cv2.putText(view, line, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (230, 230, 230), 1, cv2.LINE_AA)
    return view


class LabelWindow:
    """One window for all videos of a session."""

    def __init__(self, stage_names: Sequence[str], frame_rate_hz: float) -> None:
        """Open the window. Raises DeploymentError without a screen."""
        require_display(os.environ)
        self._stage_names = stage_names
        self._play_wait_ms = max(1, round(1000.0 / frame_rate_hz))
        cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)

    def label(self, title: str, frames: Frames, sitting: Sitting) -> bool:
        """Run until the episode is done or the user quits. Returns whether to go on with the next video."""
        labeller = sitting.labeller
        while True:
            cv2.imshow(TITLE, annotated_view(frames[labeller.shown_frame], title, labeller, self._stage_names))
            code = cv2.waitKeyEx(self._play_wait_ms if labeller.is_playing else PAUSED_WAIT_MS)
            if cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
                return False
            key = key_name(code, len(self._stage_names))
            if key == DONE:
                if labeller.is_complete:
                    return True
            elif key is not None:
                sitting.press(key)
            else:
                sitting.tick()
            if labeller.has_quit:
                return False

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(TITLE)
