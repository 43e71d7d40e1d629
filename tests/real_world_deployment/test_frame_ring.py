"""A ring in shared memory, with writers that are killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import ObservationError
from real_world_deployment.frame_ring import Record, RingReader, RingWriter
from real_world_deployment.ring_layout import COUNT_AT, PAYLOAD_AT, SLOTS_AT, RingLayout
from real_world_deployment.ring_segment import FOLDER, remove_stale_segments, segment_path

WRITER = Path(__file__).with_name("ring_writer.py")
KILLS = 12


@pytest.fixture
def name() -> Iterator[str]:
    """A ring of this test's own; nothing of it stays."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    segment_path(name).unlink(missing_ok=True)


def small(value: int) -> dict[str, np.ndarray]:
    """A record of 12 bytes."""
    return {"a": np.full((2, 3), value, np.uint8), "b": np.array([value], np.int16)}


def start_writer(name: str) -> tuple[subprocess.Popen[str], int]:
    """A writer's process and the number of its first record."""
    process = subprocess.Popen([sys.executable, str(WRITER), name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def assert_whole(record: Record) -> None:
    """Everything in it is of one put."""
    number = int(record.arrays["number"][0])
    if number < 0:
        assert not record.arrays["image"].any()
        return
    assert (record.number, record.header_ns, record.receive_ns) == (number, number * 1000, -number)
    assert np.all(record.arrays["image"] == number % 251)


def test_records_come_back_newest_last(name: str) -> None:
    """Fewer than asked at the start, then the newest k with their stamps, by number as well."""
    reader, writer = RingReader(name), None
    assert reader.last(2) == []
    writer = RingWriter(name, RingLayout.like(small(0), 4))
    for value in range(7):
        assert writer.put(small(value), 10 * value, 10 * value + 1) == value
        expected = list(range(max(value - 2, 0), value + 1))
        records = reader.last(3)
        assert [int(record.arrays["b"][0]) for record in records] == expected
        assert [(r.header_ns, r.receive_ns) for r in records] == [(10 * v, 10 * v + 1) for v in expected]
    assert reader.get(2) is None
    kept = reader.get(3)
    assert kept is not None
    assert np.array_equal(kept.arrays["a"], small(3)["a"])
    with pytest.raises(ObservationError, match=r"4 records asked .* keeps 3"):
        reader.last(4)
    writer.close()
    assert not segment_path(name).exists()


def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    """A wrong shape, a second writer, a name that is a path."""
    writer = RingWriter(name, RingLayout.like(small(0), 4))
    with pytest.raises(ObservationError, match=r"b must be int16 \(1,\), got float64"):
        writer.put({**small(0), "b": np.zeros(1)}, 0, 0)
    with pytest.raises(ObservationError, match="has a writer already"):
        RingWriter(name, RingLayout.like(small(0), 4))
    with pytest.raises(ObservationError, match="ring name"):
        RingReader("../etc")
    writer.close()


@pytest.mark.parametrize("damage", ["sequence", "payload", "stamp"])
def test_a_torn_record_is_never_seen(name: str, damage: str) -> None:
    """An odd sequence number, one changed byte of the payload or of a stamp hides the record, and that one only."""
    layout = RingLayout.like(small(0), 4)
    writer = RingWriter(name, layout)
    for value in range(3):
        writer.put(small(value), value, value)
    slot = SLOTS_AT + 1 * layout.slot_bytes
    place = {"sequence": slot, "payload": slot + PAYLOAD_AT + 5, "stamp": slot + 8}[damage]
    with segment_path(name).open("r+b") as segment:
        segment.seek(place)
        byte = segment.read(1)[0]
        segment.seek(place)
        segment.write(bytes([byte ^ 1]))
    assert [record.number for record in RingReader(name).last(3)] == [0, 2]
    writer.close()


@pytest.mark.alone  # whoever starts a policy removes segments whose writer is dead, as this one's is for moments
def test_a_writer_killed_at_any_moment_is_taken_over(name: str) -> None:
    """kill -9 a dozen times while reading: every record is whole, numbers go on, and the reader never hangs."""
    random, reader = np.random.default_rng(0), RingReader(name)
    highest = -1
    for _ in range(KILLS):
        process, first = start_writer(name)
        assert process.stdout is not None
        try:
            assert first > highest - 1, "a whole record of the writer before was overwritten"
            until_s = time.monotonic() + float(random.uniform(0.0, 0.05))
            while time.monotonic() < until_s:
                try:
                    records = reader.last(2)
                except ObservationError:  # a writer at full speed may overtake
                    continue
                for record in records:
                    assert_whole(record)
                    highest = max(highest, record.number)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        left = reader.last(3)
        assert left
        for record in left:
            assert_whole(record)
        highest = max(highest, left[-1].number)
    assert highest > KILLS
    assert name in remove_stale_segments()
    assert not segment_path(name).exists()
    assert reader.last(1)[0].number == highest  # what was mapped stays, and grows old by its stamp


def test_a_writer_that_died_in_the_middle_loses_that_record_alone(name: str) -> None:
    """The half-written record is invisible, its number is given again, and the count's own loss is made good."""
    layout = RingLayout.like(small(0), 4)
    writer = RingWriter(name, layout)
    for value in range(5):
        writer.put(small(value), value, value)
    with segment_path(name).open("r+b") as segment:
        segment.seek(SLOTS_AT + 1 * layout.slot_bytes)
        segment.write((2 * 5 + 1).to_bytes(8, "little"))  # record 5 was begun over record 1
        segment.seek(COUNT_AT)
        segment.write((4).to_bytes(8, "little"))  # and record 4 not yet counted
    writer.close(unlink=False)
    successor = RingWriter(name, layout)
    assert successor.put(small(5), 5, 5) == 5
    assert [record.number for record in RingReader(name).last(3)] == [3, 4, 5]
    successor.close()


def test_readers_follow_a_writer_that_comes_back_in_another_shape(name: str) -> None:
    """A camera that restarts with another resolution has a new segment; the reader finds it by itself."""
    writer = RingWriter(name, RingLayout.like(small(0), 4))
    writer.put(small(1), 1, 1)
    reader = RingReader(name)
    assert len(reader.last(1)) == 1
    writer.close(unlink=False)
    wider = {"a": np.ones((4, 6), np.uint8)}
    successor = RingWriter(name, RingLayout.like(wider, 4))
    assert reader.last(1) == []
    successor.put(wider, 2, 2)
    assert reader.last(1)[0].arrays["a"].shape == (4, 6)
    assert [path.name for path in FOLDER.glob(f"ladle-{os.getuid()}-*{name}*")] == [segment_path(name).name]
    successor.close()


def test_living_segments_are_not_cleaned_away(name: str) -> None:
    """Only what a dead process left."""
    writer = RingWriter(name, RingLayout.like(small(0), 4))
    assert name not in remove_stale_segments()
    assert segment_path(name).exists()
    writer.close()


def test_the_newest_receipt_is_told_without_copying_the_record(name: str) -> None:
    """Of the last record, not of one before it, and when it came rather than when it was taken; nothing without one."""
    reader = RingReader(name)
    assert reader.newest_receive_ns() is None
    writer = RingWriter(name, RingLayout.like(small(0), 4))
    assert reader.newest_receive_ns() is None
    for value in range(6):
        writer.put(small(value), 10 * value, 10 * value + 7)
        assert reader.newest_receive_ns() == 10 * value + 7
    writer.close()


def test_a_record_that_is_overwritten_while_it_is_copied_is_never_seen(name: str) -> None:
    """Nor where the halves of two records add up to the checksum of one: the sequence number is looked at again."""
    rising = np.arange(16, dtype=np.uint64)
    writer = RingWriter(name, RingLayout.like({"a": rising}, 2))
    writer.put({"a": rising}, 0, 0)
    reader = RingReader(name)
    assert reader.get(0) is not None
    segment = reader._segment
    assert segment is not None
    payload = segment.payload

    class Overtaken:
        """The payload, of which a half is copied before the writer comes round to its slot, and a half afterwards."""

        def __getitem__(self, slot: int) -> np.ndarray:
            before = payload[slot, :64].copy()
            for stamp in (1, 2):
                writer.put({"a": np.concatenate([rising[:8], rising[:7:-1]])}, stamp, stamp)
            return np.concatenate([before, payload[slot, 64:]])

    segment.payload = Overtaken()  # type: ignore[assignment]
    assert reader.get(0) is None
    writer.close()
