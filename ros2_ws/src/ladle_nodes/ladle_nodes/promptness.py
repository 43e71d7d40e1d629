"""What a process can do to be on time."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger("ladle")

# Real-time priorities (1 to 99), below those of drivers and of the kernel's own threads.
LOOP_PRIORITY, STREAM_PRIORITY = 10, 20

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 64 << 20


def keep_memory() -> None:
    """Large pieces of memory, such as images, come from what was freed before, and not from the system page by page."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc
            libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            libc.mallopt(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)


def become_prompt(priority: int) -> bool:
    """From here on everything is made: the garbage collector need not look at it again, and real time begins.

    All threads of the process, also those of the transport, get SCHED_FIFO; processes that they start do not inherit
    it. Whether the system allowed it.
    """
    gc.collect()
    gc.freeze()
    if sys.platform != "linux":
        return False
    parameters = os.sched_param(priority)
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, parameters)
    except PermissionError:
        log.info("no real-time priority: this user may not have one (rtprio in /etc/security/limits.conf)")
        return False
    except ProcessLookupError:  # a thread has just ended
        pass
    return True
