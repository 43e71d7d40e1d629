"""Work on frames beside the reading: lanes of jobs, in order within a lane, spread over processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from read_sensors_utils.frame_process import FrameProcess

SHARED_BYTES = 48_000_000  # of each process: half a second of two cameras

Target = TypeVar("Target")


class FrameWorkers:
    """A few processes and the lanes that they serve.

    Jobs of one lane run one after the other in the order of `Lane.put`; lanes of different processes run beside each
    other. With fewer than two processes every job runs at once in the caller's: the results are the same.
    """

    def __init__(self, processes: int, shared_bytes: int = SHARED_BYTES) -> None:
        self._n_processes = processes
        self._shared_bytes = shared_bytes
        self._lanes: list[Lane[Any]] = []
        self._processes: list[FrameProcess] = []
        self._home: list[tuple[FrameProcess, int]] = []  # of each lane: its process, and its target's number there

    @property
    def are_processes(self) -> bool:
        """Whether jobs run in processes of their own, which read a LeftArray among the arguments themselves."""
        return self._n_processes > 1

    def lane(self, target: Target, weight: float = 1.0) -> Lane[Target]:
        """A new sequence of jobs on a target, which its process has as it is when the first job of all is put.

        Args:
            weight: how much work the lane's jobs are, beside the other lanes'.
        """
        self._lanes.append(Lane(self, len(self._lanes), target, weight))
        return self._lanes[-1]

    def put(self, lane: Lane[Any], job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """See `Lane.put`."""
        if not self.are_processes:
            job(lane.target, *arguments)
            return
        if not self._processes:
            self._start()
        process, target = self._home[lane.number]
        process.put(target, job, arguments)
        self._raise_error()

    def finish(self) -> None:
        """Wait for all jobs. Raises what a job raised first; the jobs after it are dropped."""
        for process in self._processes:
            process.finish()
        self._raise_error()

    def close(self) -> None:
        """End the processes; jobs that have not run are dropped."""
        for process in self._processes:
            process.close()
        self._processes.clear()

    def _start(self) -> None:
        """The heaviest lanes first, each to the process with the least work so far."""
        loads = [(0.0, n, list[Lane[Any]]()) for n in range(min(self._n_processes, len(self._lanes)))]
        for lane in sorted(self._lanes, key=lambda lane: -lane.weight):
            load, n, lanes = min(loads, key=lambda item: item[:2])
            loads[n] = (load + lane.weight, n, [*lanes, lane])
        homes: dict[int, tuple[FrameProcess, int]] = {}
        for _, _, lanes in loads:
            self._processes.append(FrameProcess([lane.target for lane in lanes], self._shared_bytes))
            homes |= {lane.number: (self._processes[-1], n) for n, lane in enumerate(lanes)}
        self._home = [homes[n] for n in range(len(self._lanes))]

    def _raise_error(self) -> None:
        for process in self._processes:
            if process.error is not None:
                raise process.error


class Lane(Generic[Target]):
    """Jobs that run one after the other on one target."""

    def __init__(self, workers: FrameWorkers, number: int, target: Target, weight: float) -> None:
        self._workers = workers
        self.number, self.target, self.weight = number, target, weight

    def put(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Run job(target, *arguments) after the lane's other jobs; waits while too much is under way.

        Arrays among the arguments are valid, and not to be written to, until the job is done: it copies what it keeps.
        A LeftArray is read for the job, where jobs run in processes of their own.

        Raises:
            What any job of the workers raised before.
        """
        self._workers.put(self, job, arguments)
