"""Clocks, decision times, and joints that respect what was received when."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.joints_at import joints_measured, joints_seen
from ladle.observation_time import StreamStamps
from read_sensors_utils.clocks import clock_offset_ns, clock_offsets_ns
from read_sensors_utils.ticks import TickSchedule

MS = 1_000_000


@given(st.integers(-(2**60), 2**60), st.lists(st.integers(0, 50), min_size=2, max_size=30))
@settings(deadline=None, max_examples=50)
def test_a_foreign_clock_is_shifted_by_its_fastest_message(origin, delays_ms):
    """After the shift no message is received before it was stamped, and one at the very instant."""
    receive = np.arange(len(delays_ms), dtype=np.int64) * 100 * MS + 10**18
    header = receive - np.array(delays_ms) * MS - origin
    offset = clock_offset_ns(header, receive)
    delay = receive - (header + offset)
    assert delay.min() >= 0
    same_clock = 0 <= origin <= 4_900_000_000
    assert offset == 0 if same_clock else True
    if origin < -50 * MS or origin > 6_000_000_000:
        assert delay.min() == 0


def test_one_stray_stamp_does_not_move_the_clock():
    """A single message stamped an hour ahead is a fault of that message."""
    receive = np.arange(20, dtype=np.int64) * 100 * MS + 10**18
    header = receive - 5 * MS
    header[7] += 3600 * 10**9
    assert clock_offset_ns(header, receive) == 0


def test_streams_of_one_foreign_clock_share_an_offset():
    """A slow camera and fast joints in simulation time stay 20 ms apart."""
    receive = np.arange(20, dtype=np.int64) * 100 * MS + 10**18
    offsets = clock_offsets_ns({"camera": (receive - 10**18 - 25 * MS, receive),
                                "joints": (receive - 10**18 - 5 * MS, receive), "own": (receive - MS, receive)})
    assert offsets == {"camera": 10**18 + 5 * MS, "joints": 10**18 + 5 * MS, "own": 0}


def test_decisions_are_evenly_spaced_from_when_all_streams_speak():
    """No drift over an hour of 30 Hz, and a sample received at the very decision counts."""
    schedule = TickSchedule(1 / 30, {"a", "b"}, lambda _: True)
    schedule.received("a", 10)
    assert list(schedule.due(1000)) == []
    schedule.received("b", 50)
    assert list(schedule.due(50)) == []
    decisions = list(schedule.due(50 + 3600 * 10**9))
    assert decisions[0] == 50
    assert len(decisions) == 3600 * 30
    assert decisions[-1] == 50 + round((3600 * 30 - 1) * 1e9 / 30)


def test_only_the_first_tick_is_checked():
    """Candidates are passed over until one is valid; after that every period is a tick."""
    asked: list[int] = []

    def is_valid(decision_ns: int) -> bool:
        asked.append(decision_ns)
        return decision_ns >= 20

    schedule = TickSchedule(10e-9, {"a"}, is_valid)
    schedule.received("a", 0)
    assert list(schedule.due(51)) == [20, 30, 40, 50]
    assert asked == [0, 10, 20]


@given(st.integers(0, 2**31), st.floats(0.0, 0.05))
@settings(deadline=None, max_examples=30)
def test_joints_at_a_tick_do_not_change_with_what_comes_later(seed, delay_s):
    """Cutting the recording after a decision gives the same joints for that decision."""
    rng = np.random.default_rng(seed)
    header = np.arange(100) * 0.01
    receive = np.maximum.accumulate(header + delay_s * rng.random(100))
    stamps, values = StreamStamps(header, receive, 0.0, 100.0), rng.normal(size=(100, 3))
    decision = np.arange(0.1, 0.9, 0.1)
    whole = joints_seen(stamps, values, decision, decision - 0.02)
    for row, at in zip(whole, decision, strict=True):
        n = np.searchsorted(receive, at, side="right")
        cut = StreamStamps(header[:n], receive[:n], 0.0, 100.0)
        np.testing.assert_array_equal(joints_seen(cut, values[:n], np.array([at]), np.array([at - 0.02]))[0], row)


def test_samples_that_were_overtaken_are_left_out():
    """A sample older than one received before it would make time run backwards."""
    stamps = StreamStamps(np.array([0.0, 0.2, 0.1, 0.3]), np.array([0.0, 0.2, 0.25, 0.3]), 0.0, 10.0)
    values = np.array([[0.0], [2.0], [99.0], [3.0]])
    np.testing.assert_allclose(joints_measured(stamps, values, np.array([0.1, 0.25, 9.0])), [[1.0], [2.5], [3.0]])
