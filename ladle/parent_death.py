"""A process that must not outlive the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>, prctl(2)


def end_when_parent_dies(number: signal.Signals) -> None:
    """In the child: have the system send it the signal when its parent dies, even by SIGKILL. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
