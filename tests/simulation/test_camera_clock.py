"""Sensors keep their rates, tell the truth about when they looked, and repeat under the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ladle.errors import SimulationError
from ladle.task import load_task
from simulation.camera_clock import JOINTS, SensorSchedule

TASK = load_task("scoop")


def by_stream(events):
    """Events grouped by their stream."""
    return {name: [e for e in events if e.stream == name] for name in {e.stream for e in events}}


def test_rates_are_honest():
    """Ten seconds hold ten times the rate, and single periods vary by the jitter only."""
    streams = by_stream(SensorSchedule(3, TASK).events(10.0))
    for name, rate_hz in (("camera_1", 30), ("camera_0", 30), ("camera_2", 10), (JOINTS, 200)):
        captures = np.array([e.capture_s for e in streams[name]])
        assert abs(len(captures) - 10 * rate_hz) <= 1
        assert np.abs(np.diff(captures) - 1 / rate_hz).max() < 0.0031
        assert np.diff(captures).std() > 0.0002


def test_captures_lie_on_physics_cycles_and_headers_tell_them():
    """A header stamp is the capture time plus the latency of the task file, nothing else."""
    camera = replace(TASK.cameras["camera_1"], latency_s=0.02)
    task = replace(TASK, cameras={**TASK.cameras, "camera_1": camera})
    for event in SensorSchedule(1, task).events(2.0):
        cycles = event.capture_s / 0.001
        assert cycles == pytest.approx(round(cycles), abs=1e-9)
        latency_s = 0.02 if event.stream == "camera_1" else 0.0
        assert event.header_s == pytest.approx(event.capture_s + latency_s, abs=1e-12)


def test_samples_arrive_after_they_are_stamped_and_in_order():
    """Delays stay in their bounds and no sample of a stream overtakes another."""
    for name, events in by_stream(SensorSchedule(5, TASK).events(5.0)).items():
        low, high = (0.0005, 0.001) if name == JOINTS else (0.008, 0.015)
        delays = np.array([e.receive_s - e.header_s for e in events])
        assert delays.min() >= low - 1e-9
        assert delays.max() <= high + 1e-9
        assert delays.std() > (high - low) / 10
        assert (np.diff([e.receive_s for e in events]) > 0).all()


def test_colour_and_depth_of_one_camera_are_taken_together():
    """Both streams of the hand camera share every capture time but not the delay."""
    streams = by_stream(SensorSchedule(2, TASK).events(1.0))
    assert [e.capture_s for e in streams["camera_1"]] == [e.capture_s for e in streams["camera_0"]]
    assert [e.receive_s for e in streams["camera_1"]] != [e.receive_s for e in streams["camera_0"]]


def test_the_same_seed_gives_the_same_samples_however_time_is_cut():
    """Asking cycle by cycle or once for everything gives equal events; another seed gives others."""
    whole = list(SensorSchedule(7, TASK).events(1.0))
    schedule = SensorSchedule(7, TASK)
    pieces = [event for cycle in range(1001) for event in schedule.due(cycle * 0.001)]
    assert pieces == whole
    assert list(SensorSchedule(8, TASK).events(1.0)) != whole
    assert [e.capture_s for e in whole] == sorted(e.capture_s for e in whole)


def test_a_camera_that_the_simulation_lacks_is_named():
    """The error lists the cameras that there are."""
    task = replace(TASK, cameras={"wrist": TASK.cameras["camera_1"]})
    with pytest.raises(SimulationError, match=r"'wrist'.*camera_0"):
        SensorSchedule(0, task)
