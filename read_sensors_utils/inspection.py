"""What is in a recording: topics, rates, gaps, clocks, and what cannot be read, without decoding more than a stamp.

A header lies at the start of a message, so its stamp is read from the first bytes; where in them is learnt from the
first message of the topic, which is decoded.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.script import one_line
from read_sensors_utils.bag_names import STORAGE_SUFFIXES, stem_of
from read_sensors_utils.bags import Bag
from read_sensors_utils.decode import header_ns
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.stream_health import StreamHealth, measure

# sec and nanosec follow 4 bytes: the encapsulation in ROS 2, the sequence number in ROS 1.
STAMP_OFFSET_BYTES = 4
STAMP_LAYOUTS = (struct.Struct("<II"), struct.Struct(">II"))

MAGIC = {b"\x89MCAP": "mcap", b"SQLite format 3\0": "db3", b"#ROSBAG": "ROS 1"}
MAX_DEPTH = 6  # a recording's folder lies one or two below the one that holds them all

ReadStamp = Callable[[Any], int]


@dataclass
class TopicReport:
    """One topic. undecodable: messages that were tried and could not be decoded; reason: why, "" where all is well."""

    topic: str
    type_name: str
    count: int
    bytes: int = 0
    health: StreamHealth | None = None
    undecodable: int = 0
    reason: str = ""


@dataclass
class BagReport:
    """A recording. start_ns: receive stamp of the first message; losses: what damage took, one sentence each."""

    path: Path
    kind: str
    size_bytes: int
    start_ns: int
    duration_s: float
    messages: int
    topics: list[TopicReport] = field(default_factory=list[TopicReport])
    losses: list[str] = field(default_factory=list[str])


def inspect_bag(source: BagSource, definitions: Sequence[Path] = (), *, decode_all: bool = False) -> BagReport:
    """Look through a recording.

    Args:
        definitions: folders or .msg files of custom packages.
        decode_all: decode every message, to count those that cannot be; else the first of each topic.

    Raises:
        BagError: it cannot be opened at all.
    """
    with Bag(source, definitions) as bag:
        probes = {topic: _Probe(bag, topic, info.type_name, decode_all=decode_all)
                  for topic, info in sorted(bag.topics.items()) if info.count}
        for topic, receive_ns, data in bag.raw(list(probes)):
            probes[topic].add(receive_ns, data)
        topics = [probe.report(bag.backsteps.get(topic, 0)) for topic, probe in probes.items()]
        if not any(topic.count for topic in topics) and bag.losses:
            raise BagError(f"{source.name}: nothing is left of it: {'; '.join(_losses(bag))}; record it again")
        silent = [TopicReport(topic, info.type_name, 0) for topic, info in bag.topics.items() if topic not in probes]
        return BagReport(
            path=source.path, kind=kind_of(source), size_bytes=sum(file.stat().st_size for file in source.files),
            start_ns=bag.start_ns, duration_s=(bag.end_ns - bag.start_ns) * 1e-9,
            messages=sum(topic.count for topic in topics), topics=sorted([*topics, *silent], key=lambda t: t.topic),
            losses=_losses(bag),
        )


def kind_of(source: BagSource) -> str:
    """The format of a recording's files, as the first of them begins, or else as its name ends."""
    first = source.files[0] if source.files else source.path
    if first.is_file():
        with first.open("rb") as file:
            begins = file.read(max(len(magic) for magic in MAGIC))
        for magic, kind in MAGIC.items():
            if begins.startswith(magic):
                return kind
    suffix = next((suffix for suffix in STORAGE_SUFFIXES if first.name.endswith(suffix)), "")
    return "ROS 1" if first.name.endswith(".bag") else suffix.removeprefix(".")


def recordings_below(folder: Path, depth: int = MAX_DEPTH) -> list[BagSource]:
    """Every recording at or below a path, numbered or not, in the order of their paths.

    The storage files of a folder are one recording where metadata.yaml says so, where there is one, or where they are
    the parts name_0, name_1, ... of one. Links to folders are not followed; folders below `depth` are not searched.
    """
    if folder.is_file():
        return [BagSource(0, folder, (folder,))]
    entries = sorted(folder.iterdir())
    storage = [entry for entry in entries if entry.is_file() and entry.name.endswith(STORAGE_SUFFIXES)]
    if (folder / "metadata.yaml").is_file() or len(storage) == 1 or _are_splits(storage):
        return [BagSource(0, folder, tuple(storage))]
    files = [entry for entry in entries if entry.is_file() and entry.name.endswith((".bag", *STORAGE_SUFFIXES))]
    found = [BagSource(0, file, (file,)) for file in files]
    folders = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()] if depth else []
    found += [source for entry in folders for source in recordings_below(entry, depth - 1)]
    return sorted(found, key=lambda source: source.path)


def _are_splits(storage: Sequence[Path]) -> bool:
    parts = [stem_of(file).rpartition("_") for file in storage]
    numbers = sorted(int(number) for _, _, number in parts if number.isdigit())
    return len({name for name, _, _ in parts}) == 1 and numbers == list(range(len(storage)))


class _Probe:
    """Gathers what one topic tells while the recording is read."""

    def __init__(self, bag: Bag, topic: str, type_name: str, *, decode_all: bool) -> None:
        self._report = TopicReport(topic, type_name, 0)
        self._decode_all = decode_all
        self._header_ns, self._receive_ns = array("q"), array("q")
        self._read_stamp: ReadStamp | None = None
        try:
            self._decode: Callable[[Any], Any] | None = bag.decoder(topic)
        except BagError as error:
            self._decode = None
            self._report.reason = one_line(error)

    def add(self, receive_ns: int, data: Any) -> None:
        """Take in the next message as stored."""
        self._report.count += 1
        self._report.bytes += len(data)
        self._receive_ns.append(receive_ns)
        message = self._decoded(data) if self._decode_all or self._read_stamp is None else None
        if message is not None and self._read_stamp is None:
            self._read_stamp = _stamp_reader(message, data)
        self._header_ns.append(self._read_stamp(data) if self._read_stamp is not None else 0)

    def report(self, backsteps: int) -> TopicReport:
        """What was found."""
        self._report.health = measure(_numbers(self._header_ns), _numbers(self._receive_ns), backsteps=backsteps)
        if self._decode is None:
            self._report.undecodable = self._report.count
        return self._report

    def _decoded(self, data: Any) -> Any:
        if self._decode is None:
            return None
        try:
            return self._decode(data)
        except BagError as error:
            self._report.undecodable += 1
            self._report.reason = self._report.reason or one_line(error)
            return None


def _stamp_reader(message: Any, data: Any) -> ReadStamp:
    """How to read the header stamp of a topic's messages, learnt from one of them."""
    if next(iter(getattr(message, "__dataclass_fields__", ())), "") != "header":
        return lambda _: 0
    expected_ns = header_ns(message)
    for layout in STAMP_LAYOUTS:
        reader = _ReadAtStart(layout)
        if reader(data) == expected_ns:
            return reader
    return lambda _: 0


@dataclass(frozen=True)
class _ReadAtStart:
    layout: struct.Struct

    def __call__(self, data: Any) -> int:
        if len(data) < STAMP_OFFSET_BYTES + self.layout.size:
            return 0
        seconds, nanoseconds = self.layout.unpack_from(data, STAMP_OFFSET_BYTES)
        return seconds * 1_000_000_000 + nanoseconds


def _numbers(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if len(values) else np.zeros(0, np.int64)


def _losses(bag: Bag) -> list[str]:
    losses = bag.losses
    if not losses:
        return []
    counted = {"bytes": losses.bytes, "chunks": losses.chunks, "messages": losses.messages}
    lost = ", ".join(f"{count} {name}" for name, count in counted.items() if count)
    return [*losses.reasons, *([f"lost: {lost}"] if lost else [])]
