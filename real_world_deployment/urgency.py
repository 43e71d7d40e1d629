"""Real time for the moments in which somebody waits for this process, and for no others."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

PRIORITY = 5  # of 1 to 99; below the control loop's, which is never to wait for anybody


class Urgency:
    """Of the thread that makes it: SCHED_FIFO from now on, where the system allows it, but for what is set aside.

    A policy thinks for a long time, and with real-time priority would keep drivers from their work; but hearing a
    question and telling the answer are over at once, and the loop waits for them. Threads and processes that are
    started meanwhile do not inherit it.

    Attributes:
        is_allowed: whether the system gave it.
    """

    def __init__(self) -> None:
        self.is_allowed = sys.platform == "linux"
        self._begin()

    @contextmanager
    def set_aside(self) -> Generator[None, None, None]:
        """Within the block the thread is one of many."""
        if not self.is_allowed:
            yield
            return
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        if not self.is_allowed:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        except PermissionError:  # rtprio in /etc/security/limits.conf
            self.is_allowed = False
