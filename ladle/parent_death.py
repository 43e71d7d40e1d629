"""A process that must not outlive the one that started it, however that one ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>, prctl(2)


def end_when_parent_dies(number: signal.Signals) -> None:
    """In the child: have the system send it the signal when its parent dies, even by SIGKILL. Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def end_with_parent() -> None:
    """In a worker of a process pool, as its initializer: end when the parent is gone, whatever the worker is doing.

    It would write into the folder of the next run, and wait for its next job for ever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a child that multiprocessing started has a parent to watch"

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
