"""Header stamps of other clocks are brought onto the receive clock."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from read_sensors_utils.clocks import ClockMap, clock_maps, clock_offset_ns, lower_envelope

MS = 1_000_000


@given(st.integers(-(2**60), 2**60), st.lists(st.integers(0, 50), min_size=2, max_size=30))
@settings(deadline=None, max_examples=50)
def test_a_foreign_clock_is_shifted_by_its_fastest_message(origin, delays_ms):
    """After it no message is received before it was stamped, and one at the very instant; others stay as they are."""
    receive = np.arange(len(delays_ms), dtype=np.int64) * 100 * MS + 10**18
    header = receive - np.array(delays_ms) * MS - origin
    offset = clock_offset_ns(header, receive)
    delay = receive - (header + offset)
    same_clock = abs(origin) <= 4_900_000_000
    assert offset == 0 if same_clock else True
    if abs(origin) > 6_000_000_000:
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
    maps = clock_maps({"camera": (receive - 10**18 - 25 * MS, receive),
                       "joints": (receive - 10**18 - 5 * MS, receive), "own": (receive - MS, receive)})
    assert maps == {"camera": ClockMap(10**18 + 5 * MS), "joints": ClockMap(10**18 + 5 * MS), "own": ClockMap(0)}


def delays_s(rng: np.random.Generator, n: int) -> np.ndarray:
    """Transport: 3 ms at least, an exponential tail, now and then 100 ms."""
    return 0.003 + rng.exponential(0.004, n) + 0.1 * (rng.random(n) < 0.02)


@given(st.integers(0, 2**31), st.floats(-300e-6, 300e-6), st.sampled_from([14.2, 30.0, 200.0]))
@settings(deadline=None, max_examples=40)
def test_the_drift_is_the_slope_under_the_delays(seed, drift, rate_hz):
    """Whatever the tail of the delays: within what 2 ms of scatter allow, and no delay below the line."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(60 * rate_hz)) / rate_hz
    delay_s = delays_s(rng, len(time_s)) + drift * time_s
    delay_s[rng.choice(len(time_s), 2, replace=False)] -= 0.3
    header = 10**18 + np.rint(time_s * 1e9).astype(np.int64)
    receive = header + np.rint(delay_s * 1e9).astype(np.int64)
    envelope = lower_envelope(header, receive)
    assert abs(envelope.drift - drift) * 60 < 0.002
    assert envelope.strays >= 2
    assert abs(envelope.offset_ns * 1e-9 - min(0.003, 0.003 + 60 * drift)) < 0.003


@given(st.integers(0, 2**31), st.floats(0.2, 1.8))
@settings(deadline=None, max_examples=30)
def test_a_simulation_at_another_rate_is_laid_onto_the_receive_clock(seed, factor):
    """Two streams of a simulation at 0.2 to 1.8 times real time: one map, delays stay small from first to last."""
    rng = np.random.default_rng(seed)
    streams = {}
    for name, rate_hz, begins_s in (("camera", 30.0, 3.0), ("joints", 100.0, 0.0)):
        wall_s = begins_s + np.arange(round(30 * rate_hz)) / rate_hz
        header = np.rint((5.0 + wall_s * factor) * 1e9).astype(np.int64)
        receive = 1_700_000_000 * 10**9 + np.rint((wall_s + delays_s(rng, len(wall_s))) * 1e9).astype(np.int64)
        order = np.argsort(receive)
        streams[name] = (header[order], receive[order])
    maps = clock_maps(streams)
    assert maps["camera"] == maps["joints"]
    for name, (header, receive) in streams.items():
        delay_ns = receive - maps[name].apply(header)
        assert delay_ns.min() > -2 * MS
        for part in np.array_split(delay_ns, 3):
            assert part.min() < 4 * MS
