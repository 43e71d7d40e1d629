"""A process that works on frames: forked, so that it costs nothing to begin, and gone as soon as its parent is.

It shares no lock of Python with the process that reads. Jobs go through a pipe, a few at a time, arrays through shared
memory; every few jobs are answered, in order, with None or with what one of them raised and where.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.parent_death import end_when_parent_dies
from read_sensors_utils.shared_arrays import Place, SharedArrays
from read_sensors_utils.storage.source import LeftArray

log = logging.getLogger("ladle.extract")

JOBS_AT_ONCE = 8  # waking a process up takes longer than telling it of a job
# Far fewer than fill the pipe with answers: a process that cannot answer would read no more jobs.
MAX_SENT_AHEAD = 16
MAX_KEPT = 4  # arrays that were left in a file, one a camera
KILLED = "a worker process was killed, perhaps for want of memory; run the same command again with --workers 1"


class JobTracebackError(Exception):
    """Where in the other process a job failed: the cause of what it raised."""


class FrameProcess:
    """The parent's end: jobs for the targets, which the child has as they were at the fork.

    Attributes:
        error: what a job raised first.
    """

    def __init__(self, targets: Sequence[Any], shared_bytes: int) -> None:
        self._shared = SharedArrays(shared_bytes)
        self._jobs: list[tuple[int, Callable[..., Any], list[Any]]] = []  # to be sent
        self._jobs_end = 0  # of their arrays in the shared memory
        self._ends: deque[int] = deque()  # the same of what was sent and has no answer yet
        self.error: BaseException | None = None
        cv2.setNumThreads(1)  # a forked process has none of OpenCV's threads
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._shared, targets, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()

    def put(self, target: int, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Have job(targets[target], *arguments) run; waits while too much is under way.

        Raises:
            BagError: the process was killed.
        """
        sent = [self._sent(value) if isinstance(value, np.ndarray) else value for value in arguments]
        self._jobs.append((target, job, sent))
        self._jobs_end = self._shared.end
        if len(self._jobs) == JOBS_AT_ONCE:
            self._send()

    def finish(self) -> None:
        """Wait for all jobs. Raises BagError when the process was killed."""
        self._send()
        self._take_answers(lambda: False)

    def close(self) -> None:
        """End the process, in the middle of a job if it has one."""
        if self._ends or self.error is not None:
            self._process.kill()
        with contextlib.suppress(OSError):  # it may be gone already
            self._pipe.send(None)
        self._pipe.close()
        self._process.join()

    def _sent(self, array: NDArray[Any]) -> NDArray[Any] | Place:
        """An array by its place; by itself, through the pipe, where the shared memory is too small."""
        while (place := self._shared.put(array)) is None and (self._jobs or self._ends):
            self._send()
            self._take_answers(lambda: self._shared.is_half_empty)
        return array if place is None else place

    def _send(self) -> None:
        if not self._jobs:
            return
        if len(self._ends) >= MAX_SENT_AHEAD:
            self._take_answers(lambda: len(self._ends) <= MAX_SENT_AHEAD // 2)
        try:
            self._pipe.send(self._jobs)
        except OSError as error:
            raise BagError(KILLED) from error
        self._jobs.clear()
        self._ends.append(self._jobs_end)

    def _take_answers(self, is_enough: Callable[[], bool]) -> None:
        """One or more; half of the room at a time, so that reading and working take turns of many jobs each."""
        while self._ends:
            try:
                answer = self._pipe.recv()
            except (EOFError, OSError) as error:
                raise BagError(KILLED) from error
            self._shared.release(self._ends.popleft())
            if answer is not None and self.error is None:
                error, text = answer
                error.__cause__ = JobTracebackError(text)
                self.error = error
            if is_enough():
                return


def _serve(pipe: Connection, shared: SharedArrays, targets: Sequence[Any], parent: int) -> None:
    """In the child."""
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    has_failed = False
    while (jobs := pipe.recv()) is not None:
        answer: tuple[BaseException, str] | None = None
        if not has_failed:
            try:
                for target, job, sent in jobs:
                    job(targets[target], *[_received(value, shared) for value in sent])
            except BaseException as error:
                has_failed, answer = True, (_portable(error), traceback.format_exc())
        pipe.send(answer)
    os._exit(0)  # nothing is left to do: no thread that a library started in a job is waited for


def _received(value: Any, shared: SharedArrays) -> Any:
    if isinstance(value, LeftArray):
        return _read(value)
    return shared.get(value) if isinstance(value, Place) else value


@lru_cache(maxsize=MAX_KEPT)
def _read(array: LeftArray) -> NDArray[Any]:
    """A frame goes into a video, and then may be the one of a tick."""
    return array.read()


def _die_with(parent: int) -> None:
    """What this process writes must not outlive the parent: the next run may use the same folder."""
    end_when_parent_dies(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """The error itself if it can travel, else one that tells the same."""
    try:
        sent = ForkingPickler.dumps(error)  # as the pipe does it
        same = ForkingPickler.loads(sent)  # type: ignore[attr-defined]
        if type(same) is type(error) and str(same) == str(error):
            return error
    except Exception:
        log.debug("%r cannot go through a pipe", error)
    return OSError(error.errno, error.strerror) if isinstance(error, OSError) else RuntimeError(repr(error))
