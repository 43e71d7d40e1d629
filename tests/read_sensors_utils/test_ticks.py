"""Decision times, and joints that respect what was received when."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.joints_at import joints_measured, joints_seen
from ladle.observation_time import StreamStamps, observation_times_s
from ladle.resample import interpolate_vectors
from read_sensors_utils.ticks import TickSchedule


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


@given(st.integers(0, 2**31), st.floats(0.0, 0.2))
@settings(deadline=None, max_examples=50)
def test_all_ticks_at_once_are_the_ticks_one_by_one(seed, delay_s):
    """Overtaken, late and repeated samples: bit for bit what the rule says for each decision alone."""
    rng = np.random.default_rng(seed)

    def stream(rate_hz: float) -> StreamStamps:
        header = np.round(np.arange(round(3 * rate_hz)) / rate_hz + rng.normal(0, 0.3 / rate_hz, round(3 * rate_hz)), 3)
        receive = header + delay_s * rng.exponential(size=len(header))
        order = np.argsort(receive)
        return StreamStamps(header[order], receive[order], 0.04, rate_hz, 0.003)

    joints, cameras = stream(100.0), {"a": stream(14.2), "b": stream(30.0)}
    decisions = np.arange(1.0, 3.0, 0.1)
    values = rng.normal(size=(len(joints.header_s), 3))
    times, rows = [], []
    for at in decisions:
        newest = [camera.capture_s[np.argmax(camera.header_s[camera.receive_s <= at])] for camera in cameras.values()]
        times.append(min(*newest, at))
        known = [n for n in np.flatnonzero(joints.receive_s <= at) if np.all(joints.header_s[:n] < joints.header_s[n])]
        rows.append(interpolate_vectors(joints.capture_s[known], values[known], np.array(times[-1:]))[0])
    np.testing.assert_array_equal(observation_times_s(decisions, cameras, {"joints": joints}), times)
    np.testing.assert_array_equal(joints_seen(joints, values, decisions, np.array(times)), rows)


def test_joints_received_at_the_very_decision_count():
    """As a camera's frame does: both streams are cut at the same instant."""
    stamps = StreamStamps(np.array([0.0, 0.1]), np.array([0.01, 0.11]), 0.0, 10.0)
    seen = joints_seen(stamps, np.array([[0.0], [1.0]]), np.array([0.11]), np.array([0.1]))
    np.testing.assert_allclose(seen, [[1.0]])


def test_joints_to_come_are_those_measured_then():
    """Latency and the clock's known offset are taken off the stamps of the targets as of what is seen."""
    stamps = StreamStamps(np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.1, 0.2]), 0.04, 10.0, 0.01)
    values = np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_allclose(joints_measured(stamps, values, np.array([0.07, 0.12])), [[1.0], [1.5]])
