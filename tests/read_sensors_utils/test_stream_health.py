"""What is wrong with a stream is measured from its stamps, and judged by the task file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import BagError
from ladle.recording_limits import RecordingLimits
from ladle.task import load_task
from read_sensors_utils.recording_check import check_recording, episode_clock
from read_sensors_utils.stream_health import StreamHealth, judge, measure

EPOCH_NS = 1_700_000_000 * 10**9
Stamps = tuple[np.ndarray, np.ndarray]
LIMITS = RecordingLimits()


def stream(rate_hz: float = 30.0, duration_s: float = 30.0, *, delay_s: float = 0.003, jitter_s: float = 0.002,
           origin_ns: int = EPOCH_NS, seed: int = 0) -> Stamps:
    """Header and receive stamps of a healthy stream, in order of receipt."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    late_s = delay_s + jitter_s * rng.random(len(time_s))
    receive_ns = EPOCH_NS + np.rint((time_s + late_s) * 1e9).astype(np.int64)
    order = np.argsort(receive_ns, kind="stable")
    return (origin_ns + np.rint(time_s * 1e9).astype(np.int64))[order], receive_ns[order]


def complaints(health: StreamHealth, limits: RecordingLimits = LIMITS, **expected: float) -> dict[str, str]:
    """Complaint -> level."""
    return {finding.complaint: finding.level for finding in judge(health, limits, "camera_1", **expected)}


@given(st.sampled_from([10.0, 14.2, 29.97, 50.0, 200.0, 1000.0]), st.floats(2.0, 20.0), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_a_healthy_stream_is_not_complained_about(rate_hz, duration_s, seed):
    """Any rate and length, jitter less than a period."""
    header, receive = stream(rate_hz, duration_s, jitter_s=min(0.002, 0.4 / rate_hz), seed=seed)
    health = measure(header, receive, rate_hz)
    assert complaints(health) == {}
    assert health.rate_hz == pytest.approx(rate_hz, rel=1e-3)
    assert (health.dropped, health.duplicates, health.out_of_order, health.strays) == (0, 0, 0, 0)
    assert health.clock == "system"


@given(st.sampled_from([14.2, 30.0, 200.0]), st.sets(st.integers(1, 270), max_size=40))
@settings(deadline=None, max_examples=40)
def test_every_lost_sample_is_counted(rate_hz, lost):
    """Scattered or in a row, but not at the ends."""
    header, receive = stream(rate_hz, 280 / rate_hz, jitter_s=0.3 / rate_hz)
    kept = np.array([n not in lost for n in range(len(header))])
    assert measure(header[kept], receive[kept], rate_hz).dropped == len(lost)


@given(st.lists(st.integers(0, 2 * 10**9), max_size=60), st.lists(st.integers(0, 2 * 10**9), max_size=60),
       st.none() | st.floats(0.1, 1000))
@settings(deadline=None, max_examples=200)
def test_any_stamps_can_be_measured_and_judged(headers, receives, rate_hz):
    """Nonsense is measured without a crash; nothing that is counted is more than there is."""
    n = min(len(headers), len(receives))
    header, receive = np.array(headers[:n], np.int64), np.array(receives[:n], np.int64)
    health = measure(header, receive, rate_hz)
    assert health.count == n
    assert max(health.duplicates, health.out_of_order, health.unstamped, health.strays) <= n
    assert all(finding.text.startswith("camera_1 ") for finding in judge(health, LIMITS, "camera_1"))
    assert np.isfinite([value for value in health.to_json().values() if isinstance(value, float)]).all()


def test_a_gap_of_94_ms_at_50_hz_is_warned_about_not_refused():
    """Real recordings have them."""
    header, receive = stream(50.0)
    kept = np.delete(np.arange(len(header)), [700, 701, 702, 703])
    health = measure(header[kept], receive[kept], 50.0)
    assert health.longest_header_gap_s == pytest.approx(0.1, abs=1e-6)
    assert complaints(health) == {"gap": "warn"}
    kept = np.delete(np.arange(len(header)), np.arange(700, 850))
    assert complaints(measure(header[kept], receive[kept], 50.0))["gap"] == "refuse"


@pytest.mark.parametrize(("delay_s", "level"), [(0.004, None), (0.008, "warn"), (0.025, "refuse"), (-0.03, "refuse")])
def test_an_offset_of_the_clocks_is_judged(delay_s, level):
    """Over 5 ms is said, over 20 ms is refused, ahead or behind; both remedies are in the text."""
    health = measure(*stream(delay_s=delay_s), 30.0)
    assert complaints(health).get("clock_offset") == level
    for finding in judge(health, LIMITS, "camera_1"):
        assert all(word in finding.text for word in ("transport_s", "clock_offset_s", "recording.accept.camera_1"))
    assert complaints(health, transport_s=max(delay_s, 0.0), clock_offset_s=min(delay_s, 0.0)) == {}
    accepting = RecordingLimits(accept={"camera_1": ("clock_offset",)})
    assert complaints(health, accepting).get("clock_offset") == ("accept" if level else None)


@pytest.mark.parametrize(("ppm", "level"), [(10, None), (100, "warn"), (-100, "warn"), (400, "refuse")])
def test_a_drift_is_judged_by_what_it_adds_up_to(ppm, level):
    """Over 100 s: 1 ms, 10 ms, 40 ms."""
    header, receive = stream(duration_s=100.0, delay_s=0.015)
    header = header - np.rint((header - header[0]) * ppm * 1e-6).astype(np.int64)
    health = measure(header, receive, 30.0)
    assert health.clock_drift * 1e6 == pytest.approx(ppm, abs=2)
    assert complaints(health, transport_s=0.01).get("clock_drift") == level


@pytest.mark.parametrize(("step_s", "level"), [(0.004, None), (0.05, "warn"), (-0.05, "warn"), (-0.5, "refuse")])
def test_a_clock_that_was_set_is_told_from_messages_that_were_late(step_s, level):
    """A step stays; a burst of messages held up for 80 ms does not."""
    header, receive = stream(duration_s=20.0)
    header[300:] += round(step_s * 1e9)
    health = measure(header, receive, 30.0)
    assert complaints(health).get("clock_jump") == level
    assert health.clock_jumps == (1 if level else 0)
    if level:
        assert health.largest_jump_s == pytest.approx(step_s, abs=0.003)
    header, receive = stream(duration_s=20.0)
    receive[300:303] = receive[303]
    assert measure(header, receive, 30.0).clock_jumps == 0


def test_repeated_overtaken_and_disordered_samples_are_counted():
    """One kind at a time."""
    header, receive = stream()
    repeated, backwards, unstamped = header.copy(), receive.copy(), header.copy()
    repeated[100:120] = header[99:119]
    backwards[50] = receive[48] - 1
    unstamped[::7] = 0
    assert measure(repeated, receive, 30.0).duplicates == 1
    repeated[100:120] = header[99]
    assert complaints(measure(repeated, receive, 30.0))["duplicates"] == "warn"
    late = receive.copy()
    late[200:240:2] += 40_000_000
    order = np.argsort(late)
    assert measure(header[order], late[order], 30.0).out_of_order == 20
    assert complaints(measure(header[order], late[order], 30.0)) == {"order": "warn"}
    assert measure(header, backwards, 30.0).receive_backsteps == 1
    assert measure(header, receive, 30.0, backsteps=5).receive_backsteps == 5
    assert complaints(measure(unstamped, receive, 30.0))["stamps"] == "refuse"


def test_a_wrong_nominal_rate_is_said():
    """A camera of 14.2 Hz in a task of 30 Hz misses no frame of its own."""
    health = measure(*stream(14.2), 30.0)
    assert health.dropped == 0
    assert complaints(health) == {"rate": "warn"}


@pytest.mark.parametrize(("origin_ns", "clock"), [(5 * 10**9, "simulation"), (EPOCH_NS - 10**17, "foreign"),
                                                  (EPOCH_NS, "system")])
def test_the_clock_of_the_stamps_is_recognised(origin_ns, clock):
    """A simulation counts from its start; its offset is no complaint."""
    health = measure(*stream(origin_ns=origin_ns), 30.0)
    assert health.clock == clock
    assert complaints(health) == ({"clock_offset": "refuse"} if clock == "foreign" else {})
    assert episode_clock({"camera_1": health})["domain"] == clock
    assert health.on_receive_clock == (clock == "system")
    assert measure(np.zeros(20, np.int64), stream()[1][:20], 30.0).clock == "none"


def test_a_recorder_in_simulation_time_is_judged_like_any_other():
    """ros2 bag record --use-sim-time: both stamps count from the simulation's start."""
    header, receive = stream(delay_s=0.03)
    health = measure(header - (EPOCH_NS - 10**9), receive - (EPOCH_NS - 10**9), 30.0)
    assert health.clock == "simulation"
    assert complaints(health) == {"clock_offset": "refuse"}


@pytest.mark.parametrize(("factor", "level"), [(0.999, None), (0.97, "warn"), (0.5, "refuse"), (1.5, "refuse")])
def test_a_simulation_that_does_not_run_in_real_time_is_judged(factor, level):
    """Its motions would look slower or faster in the episode than they are for its robot."""
    header, receive = stream(origin_ns=10**9)
    header = 10**9 + np.rint((header - 10**9) * factor).astype(np.int64)
    health = measure(header, receive, None)
    assert complaints(health).get("real_time_factor") == level
    assert episode_clock({"joints": health})["real_time_factor"] == pytest.approx(factor, abs=1e-4)


def test_a_refusal_is_one_line_with_every_reason_named(caplog):
    """The first reason in full, the others by stream and name; what is accepted stops nothing."""
    task = load_task("scoop")
    health = {"joints": measure(*stream(200.0, delay_s=0.1), 200.0), "camera_1": measure(*stream(delay_s=0.2), 30.0)}
    words = r"^rosbag_7: refused: joints clock_offset: .*camera_1 \(clock_offset\)"
    with pytest.raises(BagError, match=words) as raised:
        check_recording("rosbag_7", task, health)
    assert "\n" not in str(raised.value)
    accept = dict.fromkeys(health, ("clock_offset",))
    check_recording("rosbag_7", dataclasses.replace(task, recording=RecordingLimits(accept=accept)), health)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_what_is_said_about_samples_names_the_limit_and_the_remedy():
    """A gap, drops and repeated stamps alike."""
    header = np.repeat(np.r_[0:40, 200:240], 2) * 10_000_000 + 1_700_000_000_000_000_000
    health = measure(header, header + np.arange(160) * 1000, 100.0)
    told = {finding.complaint: finding.text for finding in judge(health, RecordingLimits(), "camera_1")}
    assert {"gap", "drops", "duplicates"} <= set(told)
    for complaint, limit in (("gap", "refused above 2 s"), ("drops", "refused above 30.0%"),
                             ("duplicates", "refused above 30.0%")):
        assert limit in told[complaint]
        assert "recording.accept.camera_1" in told[complaint]


def test_a_gap_is_found_in_receipts_and_in_stamps():
    """A recorder that stalled for 3 s, and a driver that stamped nothing for 3 s while its backlog came evenly."""
    header, receive = stream(50.0)
    stalled = receive.copy()
    stalled[700:850] = receive[850]
    assert complaints(measure(header, stalled, 50.0))["gap"] == "refuse"
    kept = np.delete(header, np.arange(700, 850))
    assert complaints(measure(kept, receive[: len(kept)], 50.0))["gap"] == "refuse"
