"""Lanes keep their order, bound what waits, and hand errors on."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from ladle.errors import BagError
from read_sensors_utils.frame_worker import FrameWorkers


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_jobs_of_a_lane_run_in_order(threads):
    """Each lane sees its own numbers in order, whatever the others do."""
    seen: list[list[int]] = [[], [], []]
    with closing(FrameWorkers(threads, queue_bytes=50)) as workers:
        lanes = [workers.lane() for _ in seen]
        for n in range(300):
            lanes[n % 3].put(7, seen[n % 3].append, n)
        workers.finish()
    assert seen == [list(range(start, 300, 3)) for start in range(3)]


def test_no_more_bytes_wait_than_allowed():
    """The caller waits while the lanes hold too much; one job larger than all passes alone."""
    gate, running, most = threading.Event(), [0], [0]

    def job(n_bytes: int) -> None:
        gate.wait(5)
        running[0] -= n_bytes

    def fill() -> None:
        for n_bytes in (40, 40, 40, 500):
            lane.put(n_bytes, job, n_bytes)
            running[0] += n_bytes
            most[0] = max(most[0], running[0])

    with closing(FrameWorkers(2, queue_bytes=100)) as workers:
        lane = workers.lane()
        filler = threading.Thread(target=fill)
        filler.start()
        time.sleep(0.05)
        assert most[0] == 80
        gate.set()
        filler.join(5)
        workers.finish()
    assert not filler.is_alive()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("error", [BagError("torn"), OSError(28, "No space left on device")])
def test_what_a_job_raises_reaches_the_caller_as_it_is(threads, error):
    """With its class, from put or finish; what was queued behind it does not run."""
    done: list[int] = []

    def fail() -> None:
        raise error

    with closing(FrameWorkers(threads)) as workers:
        lane = workers.lane()
        with pytest.raises(type(error)) as caught:
            lane.put(1, fail)
            workers.finish()
        with pytest.raises(type(error)):
            for _ in range(2):
                lane.put(1, done.append if threads > 1 else fail, *([1] if threads > 1 else []))
            workers.finish()
    assert caught.value is error
    assert not done


def test_closing_drops_what_waits_and_ends_the_threads():
    """An abort waits for the running job only."""
    started, gate, done = threading.Event(), threading.Event(), []

    def job() -> None:
        started.set()
        gate.wait(5)
        done.append(1)

    workers = FrameWorkers(2)
    lane = workers.lane()
    for _ in range(50):
        lane.put(1, job)
    assert started.wait(5)
    threading.Timer(0.05, gate.set).start()
    workers.close()
    assert len(done) == 1
    workers.close()
    assert not any(thread.name.startswith("frames-") for thread in threading.enumerate())
