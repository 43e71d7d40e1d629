"""Memory does not grow with the length of a recording, but for what is kept of every message."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from app.benchmarks.recording import benchmark_task, write_recording
from read_sensors_utils.extract_all import extract_all

SIZE_PX = (64, 48)
SHORT_S, LONG_S = 4.0, 20.0  # far enough apart that the frames under way, a megabyte more or less, decide nothing
MESSAGES_A_S = 1000 + 4 * 30
KEPT_BYTES = 400  # of a message: where it lies, two stamps, seven joints, and the copies of these at the end


def peak_bytes(folder: Path, seconds: float) -> int:
    """The most that an extraction ever held."""
    recording = write_recording(folder / "bag", "mcap", seconds, size_px=SIZE_PX, distinct_frames=8)
    tracemalloc.start()
    try:
        extract_all(recording, folder / "out", benchmark_task(*SIZE_PX), workers=1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_longer_recording_takes_only_a_little_more_memory(tmp_path: Path) -> None:
    """A frame that stayed would be 6 to 9 kB, even of these small ones; what is kept of a message 400 bytes at most."""
    peak_bytes(tmp_path / "warm", 1.0)
    short, long = peak_bytes(tmp_path / "short", SHORT_S), peak_bytes(tmp_path / "long", LONG_S)
    assert long - short < KEPT_BYTES * MESSAGES_A_S * (LONG_S - SHORT_S), (short, long)
