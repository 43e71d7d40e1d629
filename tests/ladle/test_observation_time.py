"""When was what the policy sees?"""

from __future__ import annotations

import numpy as np
import pytest

from ladle.observation_time import (
    StreamStamps,
    newest_received,
    observation_time_s,
    trusted_stamp_s,
    trusted_stamps,
)


def camera(capture: list[float], delay_s: float, latency_s: float = 0.0) -> StreamStamps:
    """A camera whose frames arrive delay_s after the light, stamped latency_s after it."""
    at = np.array(capture)
    return StreamStamps(at + latency_s, at + delay_s, latency_s, 30.0)


def test_what_arrives_later_is_not_seen() -> None:
    """A frame taken before the decision but received after it does not count."""
    stamps = camera([0.0, 0.1, 0.2], delay_s=0.05)
    assert newest_received(stamps, 0.24) == 1
    assert newest_received(stamps, 0.25) == 2
    assert newest_received(stamps, 0.04) == -1


def test_the_slowest_camera_fixes_the_observation_time() -> None:
    """t is the oldest of the newest captures, with each camera's latency taken off its stamp."""
    cameras = {"a": camera([0.0, 0.1, 0.2], 0.01), "b": camera([0.0, 0.13], 0.06, latency_s=0.04)}
    assert observation_time_s(0.22, cameras, {}) == pytest.approx(0.13)
    assert observation_time_s(0.18, cameras, {}) == pytest.approx(0.0)


def test_without_cameras_the_slowest_stream_gives_the_age() -> None:
    """t is d minus the slowest stream's period."""
    joints = StreamStamps(np.array([0.0]), np.array([0.001]), 0.0, 50.0)
    assert observation_time_s(1.0, {}, {"joints": joints}) == pytest.approx(0.98)


def test_nothing_is_decided_before_every_stream_has_spoken() -> None:
    """A stream that has received nothing makes the observation time unknown."""
    late = StreamStamps(np.array([5.0]), np.array([5.0]), 0.0, 50.0)
    assert observation_time_s(1.0, {"a": camera([0.0], 0.01)}, {"joints": late}) is None


def test_a_frame_that_was_overtaken_is_not_the_newest() -> None:
    """Captured last counts, not received last."""
    stamps = StreamStamps(np.array([0.0, 0.2, 0.1]), np.array([0.05, 0.25, 0.26]), 0.0, 10.0)
    assert newest_received(stamps, 0.3) == 1


@pytest.mark.parametrize("offset_s", [0.4, -0.4])
def test_a_stamp_of_the_future_is_told_on_the_corrected_clock(offset_s: float) -> None:
    """What is known of a clock that is off is added before its stamp is held against the receipt."""
    for ahead_s, used in ((0.04, True), (0.06, False)):
        header_s = 10.0 - offset_s + ahead_s
        assert trusted_stamp_s(header_s, 10.0, offset_s) == (header_s if used else None)
        assert trusted_stamps(np.array([header_s]), np.array([10.0]), offset_s).tolist() == [used]


def test_of_two_frames_with_one_stamp_the_first_received_stays() -> None:
    """A repeated stamp is no newer capture, as where a recording is replayed sample by sample."""
    stamps = StreamStamps(np.array([0.0, 0.1, 0.1]), np.array([0.05, 0.15, 0.16]), 0.0, 10.0)
    assert newest_received(stamps, 0.3) == 1
