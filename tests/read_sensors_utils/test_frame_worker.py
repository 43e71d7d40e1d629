"""Lanes keep their order, bound what waits, and hand errors on."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        gate.wait(60)
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
        until_s = time.monotonic() + 60
        while most[0] < 80 and time.monotonic() < until_s:
            time.sleep(0.001)
        time.sleep(0.05)  # time for the third to be let in, if it were
        assert most[0] == 80
        gate.set()
        filler.join(60)
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
        gate.wait(60)
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


@settings(max_examples=150, deadline=None)
@given(threads=st.integers(2, 4), queue_bytes=st.integers(1, 60), closes_early=st.booleans(),
       jobs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 80), st.booleans()), max_size=60),
       raising=st.sets(st.integers(0, 59), max_size=2))
def test_no_order_of_events_leaves_anybody_waiting(threads, queue_bytes, closes_early, jobs, raising):
    """Jobs that raise while the caller waits for room or for the end, and an abort at any moment: all of them end.

    What ran is the beginning of each lane, in order; without an error it is all of it, and nothing is left waiting.
    """
    seen: list[list[int]] = [[], [], [], []]
    put: list[list[int]] = [[], [], [], []]
    caught: list[BaseException] = []

    def job(lane: int, number: int, yields: bool) -> None:
        if yields:
            time.sleep(1e-5)
        if number in raising:
            raise BagError(f"job {number}")
        seen[lane].append(number)

    def run() -> None:
        with closing(FrameWorkers(threads, queue_bytes)) as workers:
            lanes = [workers.lane() for _ in seen]
            try:
                for number, (lane, n_bytes, yields) in enumerate(jobs):
                    put[lane].append(number)
                    lanes[lane].put(n_bytes, job, lane, number, yields)
                if not closes_early:
                    workers.finish()
            except BagError as error:
                caught.append(error)
        assert workers._waiting_bytes == workers._unfinished == 0  # pyright: ignore[reportPrivateUsage]
        assert not any(lane.is_scheduled or lane.jobs for lane in lanes)
        ended.set()

    ended, interval_s = threading.Event(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        runner = threading.Thread(target=run, daemon=True)
        runner.start()
        assert ended.wait(60)
    finally:
        sys.setswitchinterval(interval_s)
    for ran, given_ in zip(seen, put, strict=True):
        assert ran == given_[: len(ran)]
    if not closes_early:
        assert bool(caught) == any(number < len(jobs) for number in raising)
        assert caught or seen == put
