"""A fault of one stamp, or of the recorder, is not taken for one of the clock; one of the clock is not let pass."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import BagError
from ladle.recording_limits import RecordingLimits
from ladle.task import load_task
from read_sensors_utils.clock_faults import strays
from read_sensors_utils.recording_check import check_recording
from read_sensors_utils.stream_health import judge, measure

EPOCH_NS = 1_700_000_000 * 10**9
HOUR_NS = 3600 * 10**9
Stamps = tuple[np.ndarray, np.ndarray]


def stream(rate_hz: float = 30.0, duration_s: float = 30.0, origin_ns: int = EPOCH_NS) -> Stamps:
    """Header and receive stamps of a healthy stream: 3 to 5 ms from one to the other."""
    rng = np.random.default_rng(0)
    time_ns = np.rint(np.arange(round(rate_hz * duration_s)) * 1e9 / rate_hz).astype(np.int64)
    late_ns = rng.integers(3_000_000, min(5_000_000, 3_000_000 + round(0.4e9 / rate_hz)), len(time_ns))
    return origin_ns + time_ns, EPOCH_NS + time_ns + late_ns


def complaints(stamps: Stamps, rate_hz: float = 30.0, **expected: float) -> dict[str, str]:
    """Complaint -> level, under the default limits."""
    health = measure(*stamps, rate_hz, clock_offset_s=expected.get("clock_offset_s", 0.0))
    return {finding.complaint: finding.level for finding in judge(health, RecordingLimits(), "camera_1", **expected)}


@given(st.sampled_from([14.2, 30.0, 200.0]), st.integers(0, 419), st.floats(0.1, 4000.0) | st.floats(-4000.0, -1.2))
@settings(deadline=None, max_examples=60)
def test_one_wrong_stamp_is_counted_and_blamed_for_nothing_else(rate_hz, place, off_s):
    """First, last or in the midst, ahead or far behind; one in 420 is worth a warning."""
    header, receive = stream(rate_hz, 420 / rate_hz)
    n = len(header)
    header[min(place, n - 1)] += round(off_s * 1e9)
    assert np.flatnonzero(strays(header, receive)).tolist() == [min(place, n - 1)]
    assert set(complaints((header, receive), rate_hz)) <= {"strays", "gap"}  # at 14.2 Hz a lost sample is a gap
    assert complaints((header, receive), rate_hz)["strays"] == "warn"


def test_many_wrong_stamps_are_refused():
    """One in twelve, each a second ahead."""
    header, receive = stream()
    header[5::12] += 10**9
    assert complaints((header, receive))["strays"] == "refuse"


@pytest.mark.parametrize("rate_hz", [30.0, 200.0, 1000.0])
@pytest.mark.parametrize("stall_s", [0.5, 1.2, 1.5, 1.9])
@pytest.mark.parametrize("at_s", [0.3, 10.0, 18.0])
def test_a_recorder_that_stalled_is_no_clock_that_jumped(rate_hz, stall_s, at_s):
    """While it writes to its disk messages wait; then they come all at once."""
    header, receive = stream(rate_hz, 20.0)
    waiting = (header >= EPOCH_NS + at_s * 1e9) & (header < EPOCH_NS + (at_s + stall_s) * 1e9)
    receive[waiting] = EPOCH_NS + round((at_s + stall_s) * 1e9) + 4_000_000
    receive = np.maximum.accumulate(receive)
    assert complaints((header, receive), rate_hz) == {"gap": "warn"}


@pytest.mark.parametrize("step_s", [0.3, -0.3])
@pytest.mark.parametrize("at_s", [2.5, 10.0, 17.5])
def test_a_clock_that_was_set_is_still_found(step_s, at_s):
    """Early, late or in the midst."""
    header, receive = stream(200.0, 20.0)
    header[header >= EPOCH_NS + at_s * 1e9] += round(step_s * 1e9)
    health = measure(header, receive, 200.0)
    assert health.clock_jumps == 1
    assert health.largest_jump_s == pytest.approx(step_s, abs=0.003)


@pytest.mark.parametrize("behind_s", [0.021, 4.9, 5.1, 60.0, 3600.0, -60.0, -3600.0])
def test_the_more_a_clock_is_off_the_less_it_passes(behind_s):
    """There is no offset beyond which it is not seen; stated in the task file it is none."""
    header, receive = stream()
    header -= round(behind_s * 1e9)
    assert complaints((header, receive))["clock_offset"] == "refuse"
    assert complaints((header, receive), clock_offset_s=behind_s) == {}


def test_streams_of_different_clocks_are_refused_unless_accepted(caplog):
    """A simulation's joints beside a computer's camera."""
    task = load_task("scoop")
    health = {"joints": measure(*stream(200.0, origin_ns=5 * 10**9), 200.0), "camera_1": measure(*stream(), 30.0)}
    with pytest.raises(BagError, match=r"joints clock_offset: .*recording\.accept\.joints"):
        check_recording("rosbag_0", task, health)
    accepting = dataclasses.replace(task, recording=RecordingLimits(accept={"joints": ("clock_offset",)}))
    with caplog.at_level(logging.INFO):
        check_recording("rosbag_0", accepting, health)
    assert "accepted by the task file: joints clock_offset" in caplog.text


def test_a_simulation_that_runs_slow_and_then_fast_is_refused():
    """0.95 of real time for 30 s, then 1.05: on the whole as long as it took, but 0.75 s off in between."""
    time_s, receive = np.arange(1800) / 30.0, stream(duration_s=60.0)[1]
    simulated_s = np.where(time_s < 30.0, 0.95 * time_s, 28.5 + 1.05 * (time_s - 30.0))
    header = 10**9 + np.rint(simulated_s * 1e9).astype(np.int64)
    assert complaints((header, receive))["real_time_factor"] == "refuse"
    assert complaints((10**9 + np.rint(time_s * 1e9).astype(np.int64), receive)) == {}


@pytest.mark.parametrize(("rate_hz", "level"), [(1000.0, "warn"), (221.0, "warn"), (200.0, None), (49.9, "warn"),
                                                (30.0, "warn"), (15.0, "refuse")])
def test_a_stream_may_be_faster_and_somewhat_slower_than_stated(rate_hz, level):
    """The state of an arm comes at 1 kHz, or by default at 30 Hz, where the task says 200."""
    assert complaints(stream(rate_hz, 10.0), 200.0).get("rate") == level


def test_a_stream_without_any_stamp_is_said():
    """It counts as taken when received, which is too late by its transport."""
    _, receive = stream()
    assert complaints((np.zeros(len(receive), np.int64), receive)) == {"stamps": "warn"}
