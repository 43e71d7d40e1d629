"""Which samples an extraction reckons with, and what becomes of a recording with wrong stamps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladle.episode import Episode, EpisodeFolder
from ladle.errors import BagError
from ladle.recording_limits import Complaint, RecordingLimits
from ladle.task import TaskConfig
from read_sensors_utils.clocks import ClockMap
from read_sensors_utils.extract import extract_bag
from read_sensors_utils.find_bags import find_bags
from read_sensors_utils.stream_clock import StreamClock

START_NS = 1_700_000_000 * 10**9
MS = 1_000_000
HOUR_NS = 3600 * 10**9


@pytest.fixture
def clock(small_task: TaskConfig) -> StreamClock:
    """Of the scoop task's colour camera, without latency."""
    return StreamClock(dataclasses.replace(small_task.cameras["camera_1"], latency_s=0.0), START_NS, any_origin=False)


def test_an_unstamped_sample_counts_from_its_receipt(clock):
    """The others keep their stamps."""
    header = np.array([0, START_NS + 100 * MS, 0, START_NS + 210 * MS])
    receive = START_NS + np.array([50, 130, 200, 260]) * MS
    assert [clock.add(int(h), int(r)) for h, r in zip(header, receive, strict=True)] == [True] * 4
    stamps = clock.stamps(header, receive, ClockMap(0))
    np.testing.assert_allclose(stamps.header_s, [0.05, 0.1, 0.2, 0.21], atol=1e-12)


def test_one_stamp_of_the_future_hides_no_later_frame(clock):
    """Not the one 1.5 s ahead, nor the one an hour ahead; 40 ms ahead is lived with."""
    ahead_ns = [0, 1500 * MS, 0, HOUR_NS, 40 * MS, 0]
    receive = START_NS + np.arange(1, 7) * 100 * MS
    header = receive - 20 * MS + np.array(ahead_ns)
    added = [clock.add(int(h), int(r)) for h, r in zip(header, receive, strict=True)]
    assert added == [True, False, True, False, True, True]
    assert clock.trusted == [True, False, True, False, True, True]
    np.testing.assert_allclose(clock.stamps(header, receive, ClockMap(0)).receive_s, [0.1, 0.3, 0.5, 0.6], atol=1e-12)


def test_an_unstamped_frame_hides_no_frame_of_a_simulation(clock):
    """A receipt of today is no later than 5 s after the start of a simulation."""
    assert clock.add(0, START_NS)
    assert clock.add(5 * 10**9, START_NS + 30 * MS)
    assert clock.add(5 * 10**9 + 33 * MS, START_NS + 63 * MS)


def test_a_wild_first_stamp_is_forgotten_where_any_origin_is_accepted(small_task):
    """A stream that is all an hour ahead is one of another clock; one with a single such stamp is not."""
    for ahead_ns, trusted in (([HOUR_NS, 0, HOUR_NS], [False, True, False]), ([HOUR_NS] * 3, [True] * 3)):
        clock = StreamClock(small_task.cameras["camera_1"], START_NS, any_origin=True)
        for n, ahead in enumerate(ahead_ns):
            clock.add(START_NS + n * 30 * MS + ahead, START_NS + n * 30 * MS + 5 * MS)
        assert clock.trusted == trusted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(delays_ms=st.lists(st.sampled_from([-2000, -60, -50, 0, 5, 40, 10**7, None]), max_size=20),
       split=st.integers(0, 20), any_origin=st.booleans())
def test_many_samples_at_once_are_the_same_as_one_by_one(small_task, delays_ms, split, any_origin):
    """Unstamped ones, stamps of the future and of another clock among them."""
    one, many = (StreamClock(small_task.cameras["camera_1"], START_NS, any_origin=any_origin) for _ in range(2))
    receive = START_NS + np.arange(len(delays_ms), dtype=np.int64) * 30 * MS
    header = np.array([0 if delay is None else received - delay * MS
                       for delay, received in zip(delays_ms, receive.tolist(), strict=True)], np.int64)
    for stamps in zip(header.tolist(), receive.tolist(), strict=True):
        one.add(*stamps)
    many.add_many(header[:split], receive[:split])
    many.add_many(header[split:], receive[split:])
    assert vars(many) == vars(one)


def extracted(synthetic: ModuleType, folder: Path, task: TaskConfig, **plan: Any) -> Episode:
    """Write a recording by the plan and extract it."""
    [source] = find_bags(synthetic.write_bag(folder / "in" / "rosbag_3", synthetic.BagPlan(**plan)))
    extract_bag(source, task, EpisodeFolder(folder / "out"), 12.5)
    return EpisodeFolder(folder / "out").load(3)


def test_a_first_frame_without_a_stamp_is_no_older_than_its_receipt(synthetic, tmp_path, small_task, monkeypatch):
    """Drivers leave the first stamp at 0 at times; the first tick then is not 1.7e9 s old."""
    header, left = synthetic._Messages.header, [1]

    def first_image_unstamped(self: Any, stamp_ns: int) -> Any:
        return header(self, 0 if left and left.pop() else stamp_ns)

    monkeypatch.setattr(synthetic._Messages, "header", first_image_unstamped)
    accept: dict[str, tuple[Complaint, ...]] = {"camera_1": ("stamps",)}
    episode = extracted(synthetic, tmp_path, dataclasses.replace(small_task, recording=RecordingLimits(accept=accept)))
    assert (episode.decision_s - episode.observation_s).max() < 0.2


def test_a_clock_that_is_ahead_is_refused_with_what_to_state(synthetic, tmp_path, small_task):
    """Every sample 80 ms ahead: none can be used; 7 ms ahead: used as they are, as on the robot."""
    with pytest.raises(BagError, match=r"joints clock_offset: every sample is stamped later .* clock_offset_s: -0\.07"):
        extracted(synthetic, tmp_path / "a", small_task, clock_shift_s=0.08, camera_delay_s=0.002)
    episode = extracted(synthetic, tmp_path / "b", small_task, clock_shift_s=0.007, camera_delay_s=0.002)
    assert np.all(episode.observation_s <= episode.decision_s)
    assert episode.description["streams"]["camera_1"]["clock_offset_s"] == 0.0


@pytest.mark.parametrize("offset_s", [0.04, 3600.0, -3600.0])
def test_what_is_known_of_a_clock_is_added_to_its_stamps_once(small_task, offset_s):
    """However far it is off: the least delay is then no other origin, one by one and many at once."""
    config = dataclasses.replace(small_task.cameras["camera_1"], clock_offset_s=offset_s, latency_s=0.01)
    clock = StreamClock(config, START_NS, any_origin=False)
    receive = START_NS + np.array([30, 60, 90]) * MS
    header = receive - 20 * MS - round(offset_s * 1e9)
    assert clock.add(int(header[0]), int(receive[0]))
    assert clock.capture_ns((int(header[0]), int(receive[0]))) == START_NS
    clock.add_many(header[1:], receive[1:])
    assert clock.newest == (header[2], receive[2])
    assert clock.capture_ns((int(header[2]), int(receive[2]))) == START_NS + 60 * MS
    np.testing.assert_array_equal(clock.known(header, receive)[0], receive - 20 * MS)


def test_wrong_and_lacking_stamps_say_nothing_about_the_clock(clock):
    """One of the future and one of 0 would move a whole recording's frames."""
    receive = START_NS + np.array([30, 60, 90]) * MS
    header = np.array([receive[0] - 5 * MS, 0, receive[2] + HOUR_NS])
    for stamps in zip(header.tolist(), receive.tolist(), strict=True):
        clock.add(*stamps)
    assert [stamps.tolist() for stamps in clock.known(header, receive)] == [[header[0]], [receive[0]]]


def test_an_unstamped_sample_was_taken_its_latency_before_its_receipt(small_task):
    """Whatever is known of the clock, which did not stamp it: it hides no frame that was taken after it."""
    config = dataclasses.replace(small_task.cameras["camera_1"], clock_offset_s=0.04, latency_s=0.01)
    clock = StreamClock(config, START_NS, any_origin=False)
    header, receive = np.array([0, START_NS + 75 * MS]), START_NS + np.array([100, 130]) * MS
    assert clock.add(0, int(receive[0]))
    assert clock.capture_ns((0, int(receive[0]))) == START_NS + 90 * MS
    assert clock.add(int(header[1]), int(receive[1]))
    np.testing.assert_allclose(clock.stamps(header, receive, ClockMap(0)).capture_s, [0.09, 0.105], atol=1e-12)


def test_of_two_frames_with_one_stamp_the_first_is_shown(clock):
    """A repeated stamp is no newer capture, one by one and many at once."""
    assert clock.add(START_NS + 10 * MS, START_NS + 20 * MS)
    assert not clock.add(START_NS + 10 * MS, START_NS + 30 * MS)
    clock.add_many(START_NS + np.array([10, 10]) * MS, START_NS + np.array([40, 50]) * MS)
    assert clock.newest == (START_NS + 10 * MS, START_NS + 20 * MS)
