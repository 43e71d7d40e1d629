"""The time of a stream of set-points, when the system's clock is set."""

from __future__ import annotations

import pytest

from ladle_nodes.stream_clock import READING_NS, STEP_NS, StreamClock

SECOND_NS = 1_000_000_000


class Clocks:
    """A monotonic clock and a ROS clock, both of which only the test moves."""

    def __init__(self) -> None:
        self.monotonic_ns, self.ros_ns, self.reading_ns = 5 * SECOND_NS, 1_700_000_000 * SECOND_NS, 0

    def read_ros(self) -> int:
        self.monotonic_ns += self.reading_ns
        return self.ros_ns

    def run(self, seconds: float) -> None:
        self.monotonic_ns += round(seconds * SECOND_NS)
        self.ros_ns += round(seconds * SECOND_NS)


def test_a_clock_that_is_set_changes_how_stamps_are_read_and_not_the_time() -> None:
    """Back by 0.5 s: the stream's time runs on, and second 0 lies 0.5 s earlier on the ROS clock; said once."""
    clocks = Clocks()
    clock = StreamClock(clocks.read_ros, is_simulated=False, monotonic_ns=lambda: clocks.monotonic_ns)
    start_ns = clock.start_ns
    clocks.run(2.0)
    assert not clock.was_set()
    clocks.ros_ns -= SECOND_NS // 2
    assert clock.at_s(clocks.monotonic_ns / SECOND_NS) == pytest.approx(2.0)
    assert clock.was_set()
    assert clock.start_ns == start_ns - SECOND_NS // 2
    clocks.run(1.0)
    assert not clock.was_set()
    assert clock.at_s(clocks.monotonic_ns / SECOND_NS) == pytest.approx(3.0)


def test_what_is_no_step_moves_no_stamps() -> None:
    """Clocks that differ by less than STEP_NS, and a reading that was interrupted."""
    clocks = Clocks()
    clock = StreamClock(clocks.read_ros, is_simulated=False, monotonic_ns=lambda: clocks.monotonic_ns)
    start_ns = clock.start_ns
    clocks.ros_ns += STEP_NS
    assert not clock.was_set()
    clocks.ros_ns += SECOND_NS
    clocks.reading_ns = READING_NS + 1
    assert not clock.was_set()
    assert clock.start_ns == start_ns
    clocks.reading_ns = 0
    assert clock.was_set()


def test_simulated_time_is_the_simulators() -> None:
    """It stands when the simulator stands, whatever the wall does."""
    clocks = Clocks()
    clock = StreamClock(clocks.read_ros, is_simulated=True, monotonic_ns=lambda: clocks.monotonic_ns)
    clocks.monotonic_ns += SECOND_NS
    assert clock.at_s(99.0) == 0.0
    clocks.ros_ns += SECOND_NS
    assert clock.at_s(99.0) == 1.0
    assert not clock.was_set()
