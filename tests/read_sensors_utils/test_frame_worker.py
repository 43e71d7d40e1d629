"""Lanes keep their order, arrays arrive as they were, errors and deaths are handed on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.shared_arrays import Place, SharedArrays


class Notes:
    """Writes what its jobs are given into a file, one line each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, number: int, array: NDArray[Any] | None = None) -> None:
        """One line."""
        with self._path.open("a") as file:
            file.write(f"{number} {'' if array is None else array.dtype.str + str(array.shape) + str(array.sum())}\n")

    def fail(self, error: BaseException) -> None:
        """Raise the error."""
        raise error

    def fail_in_its_own_way(self) -> None:
        """Raise an error of a class that cannot be pickled."""

        class LibraryError(OSError):
            pass

        raise LibraryError(28, "full")

    def die(self) -> None:
        """As the kernel does it for want of memory."""
        os.kill(os.getpid(), signal.SIGKILL)

    def lines(self) -> list[str]:
        """What was written so far."""
        return self._path.read_text().splitlines() if self._path.exists() else []


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("shared_bytes", [1000, 100_000])
def test_jobs_of_a_lane_run_in_order_with_their_arrays(tmp_path, processes, shared_bytes):
    """Each lane sees its own numbers and arrays in order, also arrays that are larger than the shared memory."""
    notes = [Notes(tmp_path / str(n)) for n in range(3)]
    expected: list[list[str]] = [[], [], []]
    with closing(FrameWorkers(processes, shared_bytes)) as workers:
        lanes = [workers.lane(note, weight) for note, weight in zip(notes, (1.0, 3.0, 2.0), strict=True)]
        for n in range(300):
            array = np.full((n % 7 + 1, 50), n, np.uint16)
            expected[n % 3].append(f"{n} {array.dtype.str}{array.shape}{array.sum()}")
            lanes[n % 3].put(Notes.add, n, array)
            array[:] = 0  # the caller may do with it what it likes
        workers.finish()
    assert [note.lines() for note in notes] == expected


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("error", [BagError("torn"), OSError(28, "No space left on device"), KeyError("a bug")])
def test_what_a_job_raises_reaches_the_caller(tmp_path, processes, error):
    """With its class and text, from put or finish; what was put into the lane behind it does not run."""
    notes = Notes(tmp_path / "0")
    with closing(FrameWorkers(processes)) as workers:
        lane = workers.lane(notes)
        with pytest.raises(type(error)) as caught:
            lane.put(Notes.fail, error)
            lane.put(Notes.add, 1)
            workers.finish()
    assert str(caught.value) == str(error)
    assert processes == 1 or "in fail" in str(caught.value.__cause__)
    assert not notes.lines()
    assert not multiprocessing.active_children()


def test_an_error_that_cannot_travel_tells_the_same(tmp_path):
    """A library's own classes of errors may be unknown elsewhere; number and text of the system's error stay."""
    with closing(FrameWorkers(2)) as workers:
        lane = workers.lane(Notes(tmp_path / "0"))
        lane.put(Notes.fail_in_its_own_way)
        with pytest.raises(OSError, match="full") as caught:
            workers.finish()
    assert caught.value.errno == 28


def test_a_killed_process_is_one_line(tmp_path):
    """The caller does not wait for answers that never come."""
    with closing(FrameWorkers(2)) as workers:
        lane = workers.lane(Notes(tmp_path / "0"))
        with pytest.raises(BagError, match="was killed"):
            lane.put(Notes.die)
            for n in range(10_000):
                lane.put(Notes.add, n)


def test_closing_early_ends_the_processes(tmp_path):
    """An abort waits for nothing."""
    workers = FrameWorkers(3)
    lanes = [workers.lane(Notes(tmp_path / str(n))) for n in range(3)]
    for n in range(50):
        lanes[n % 3].put(Notes.add, n)
    workers.close()
    workers.close()
    assert not multiprocessing.active_children()


@settings(max_examples=200, deadline=None)
@given(n_bytes=st.integers(8, 120), sizes=st.lists(st.integers(0, 130), max_size=60), data=st.data())
def test_no_array_is_overwritten_before_its_release(n_bytes, sizes, data):
    """Whatever the sizes and whenever they are released; an array that fits is refused only while others are there."""
    shared = SharedArrays(n_bytes)
    held: list[tuple[Place, int, int]] = []
    for number, size in enumerate(sizes):
        array = np.full(size, number, np.uint8)
        place = shared.put(array)
        assert place is not None or held or size > n_bytes
        if place is not None:
            held.append((place, number, shared.end))
        for where, value, _ in held:
            np.testing.assert_array_equal(shared.get(where), np.full(where.shape, value))
        for _ in range(data.draw(st.integers(0, len(held)))):
            shared.release(held.pop(0)[2])
