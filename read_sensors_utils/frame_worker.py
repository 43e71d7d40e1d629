"""Work on frames beside the reading: threads that share lanes of jobs, in order within a lane, bounded in bytes.

OpenCV, the encoders and Blosc let go of Python's lock, so threads of one process keep all cores busy.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

QUEUE_BYTES = 128_000_000


class FrameWorkers:
    """A few threads and the lanes that they serve; the caller is one of them whenever it would have to wait.

    Jobs of one lane run one after the other in the order of `Lane.put`; lanes run beside each other. With fewer than
    two threads every job runs at once in the caller's thread: the results are the same.
    """

    def __init__(self, threads: int, queue_bytes: int = QUEUE_BYTES) -> None:
        self._queue_bytes = queue_bytes
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)  # for the threads
        self._has_room = threading.Condition(self._lock)  # for the caller
        self._lanes: list[Lane] = []
        self._ready: deque[Lane] = deque()
        self._waiting_bytes = 0
        self._unfinished = 0
        self._error: BaseException | None = None
        self._stopping = False
        self._threads = [threading.Thread(target=self._serve, name=f"frames-{n}", daemon=True)
                         for n in range(threads - 1)]
        for thread in self._threads:
            thread.start()

    def lane(self) -> Lane:
        """A new sequence of jobs."""
        self._lanes.append(Lane(self))
        return self._lanes[-1]

    def finish(self) -> None:
        """Wait for all jobs. Raises what a job raised first; the jobs after it are dropped."""
        with self._lock:
            self._help_until(lambda: self._unfinished == 0)
            self._raise_error()

    def close(self) -> None:
        """Drop the jobs that have not begun, wait for the others, end the threads."""
        with self._lock:
            self._drop_jobs()
            self._stopping = True
            self._has_work.notify_all()
        for thread in self._threads:
            thread.join()

    def put(self, lane: Lane, n_bytes: int, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """See `Lane.put`."""
        if not self._threads:
            job(*arguments)
            return
        with self._lock:
            # A job that is larger than the bound is taken when nothing else waits.
            if self._waiting_bytes and self._waiting_bytes + n_bytes > self._queue_bytes:
                self._help_until(self._is_roomy)
            self._raise_error()
            self._waiting_bytes += n_bytes
            self._unfinished += 1
            lane.jobs.append((n_bytes, job, arguments))
            if not lane.is_scheduled:
                lane.is_scheduled = True
                self._ready.append(lane)
                self._has_work.notify()

    def _is_roomy(self) -> bool:
        """Half of the room is free: reading and working by turns of many jobs each."""
        return self._error is not None or self._waiting_bytes <= self._queue_bytes // 2

    def _help_until(self, is_enough: Callable[[], bool]) -> None:
        """Work in the caller's thread; the lock is held, but not during a job."""
        while not is_enough():
            if self._ready:
                self._work()
            else:
                self._has_room.wait_for(lambda: self._ready or is_enough())

    def _serve(self) -> None:
        with self._lock:
            while True:
                self._has_work.wait_for(lambda: self._ready or self._stopping)
                if not self._ready:
                    return
                self._work()

    def _work(self) -> None:
        """Do the next job; the lock is held, but not during the job."""
        lane = self._ready.popleft()
        n_bytes, job, arguments = lane.jobs.popleft()
        error: BaseException | None = None
        self._lock.release()
        try:
            job(*arguments)
        except BaseException as raised:
            error = raised
        finally:
            del job, arguments
            self._lock.acquire()
        self._done(lane, n_bytes, error)

    def _done(self, lane: Lane, n_bytes: int, error: BaseException | None) -> None:
        self._waiting_bytes -= n_bytes
        self._unfinished -= 1
        if error is not None and self._error is None:
            self._error = error
        if self._error is not None:
            self._drop_jobs()
        lane.is_scheduled = bool(lane.jobs)
        if lane.jobs:
            self._ready.append(lane)  # this thread takes the next one: no other need be woken
        if self._unfinished == 0 or self._is_roomy():
            self._has_room.notify()

    def _drop_jobs(self) -> None:
        for lane in self._ready:
            lane.is_scheduled = False
        self._ready.clear()
        for lane in self._lanes:
            self._waiting_bytes -= sum(n_bytes for n_bytes, _, _ in lane.jobs)
            self._unfinished -= len(lane.jobs)
            lane.jobs.clear()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class Lane:
    """Jobs that run one after the other."""

    def __init__(self, workers: FrameWorkers) -> None:
        self._workers = workers
        self.jobs: deque[tuple[int, Callable[..., Any], tuple[Any, ...]]] = deque()
        self.is_scheduled = False

    def put(self, n_bytes: int, job: Callable[..., Any], *arguments: Any) -> None:
        """Run job(*arguments) after the lane's other jobs; waits while too many bytes are under way.

        Raises:
            What any job of the workers raised before.
        """
        self._workers.put(self, n_bytes, job, arguments)
