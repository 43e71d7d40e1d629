"""Damaged recordings of all formats end in a reading with losses or in a BagError, within limits of time and memory.

    python tests/read_sensors_utils/storage/fuzz.py --cases 10000

prints one JSON object with the number of cases by outcome. A case is its number: --first N --cases 1 repeats it. Cases
run in a child process whose address space is limited, so that neither a crash nor an endless allocation goes unseen.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lz4.frame
import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore

from ladle.errors import LadleError
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.storage import chunked, sqlite
from read_sensors_utils.storage.message_runs import one_by_one
from read_sensors_utils.storage.opening import open_storage
from read_sensors_utils.storage.records import RawMessage
from read_sensors_utils.storage.source import LeftBytes
from read_sensors_utils.storage.sqlite_rows import LeftRowError

SHARED_BAGS = Path(__file__).parents[4] / "shared" / "data" / "bags"
SHARED_SEED_BYTES = 100_000  # larger recordings make slow cases and nothing new
CASE_LIMIT_S = 20
MEMORY_BYTES = 1 << 30  # beyond what the imports take
CASES_A_CHILD = 500
LENGTHS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1)
KINDS = ("truncate", "flip", "insert", "delete", "zero", "repeat", "length")
SUFFIXES = (".mcap", ".db3", ".bag")


class HangError(BaseException):
    """A case took longer than CASE_LIMIT_S."""


@dataclass(frozen=True)
class Change:
    """One change to a file; place and amount are fractions, so that every file has every place."""

    kind: str
    place: float
    amount: float
    value: int

    def apply(self, data: bytearray) -> bytearray:
        """The changed file."""
        at = int(self.place * len(data))
        count = int(self.amount * min(64, len(data))) + 1
        if self.kind == "truncate":
            del data[at:]
        elif self.kind == "flip" and at < len(data):
            data[at] ^= 1 << self.value % 8
        elif self.kind == "insert":
            data[at:at] = bytes(self.value * i % 256 for i in range(count))
        elif self.kind == "delete":
            del data[at : at + count]
        elif self.kind == "zero":
            data[at : at + 64 * count] = bytes(len(data[at : at + 64 * count]))
        elif self.kind == "repeat":
            data[at:at] = data[at : at + 32 * count]
        elif self.kind == "length":
            width = 8 if self.value % 2 else 4
            length = LENGTHS[self.value // 2 % len(LENGTHS)] % (1 << 8 * width)
            data[at : at + width] = length.to_bytes(width, "little")
        return data


def random_changes(rng: random.Random) -> list[Change]:
    """One to three changes; ends of files, where indexes are, are hit as often as all the rest."""
    def place() -> float:
        return rng.random() if rng.random() < 0.5 else 1 - rng.random() ** 4 * 0.3
    return [Change(rng.choice(KINDS), place(), rng.random(), rng.randrange(1 << 16)) for _ in range(rng.randint(1, 3))]


def seeds(folder: Path) -> dict[str, bytes]:
    """Name -> a sound file of each kind, and small genuine recordings where they are."""
    found = {path.name: path.read_bytes() for path in _written(folder)}
    found["loose.mcap"] = _without_chunks(found["plain.mcap"])
    if SHARED_BAGS.is_dir():
        for path in sorted(SHARED_BAGS.rglob("*")):
            if path.suffix in SUFFIXES and path.stat().st_size <= SHARED_SEED_BYTES:
                found[path.relative_to(SHARED_BAGS).as_posix()] = path.read_bytes()
    return found


def outcome(path: Path) -> str:
    """Read everything through the file's reader and, decoded, through Bag: "error", "losses" or "whole".

    Raises:
        HangError: it took too long.
        Exception: anything but a LadleError is a bug.
    """
    lossy = None
    with _alarm():
        try:
            lossy = _read(path)
        except LadleError as error:
            _refused(error)
        try:
            _decode(path)
        except LadleError as error:
            _refused(error)
    return "error" if lossy is None else "losses" if lossy else "whole"


def _read(path: Path) -> bool:
    storage = open_storage(path)
    try:
        for message in storage.messages():
            bytes(message.data)
        whole = [bytes(message.data) for message in storage.messages()]
        keys = [channel.key for channel in storage.channels]
        for left, runs in ((keys, ()), ((), keys), (keys[:1], keys[1:])):
            met = [single for message in storage.messages(None, left, runs) for single in one_by_one(message)]
            if _contents(met) != whole:
                raise ValueError("messages that are left in the file, or come in runs, are others")
        for channel in storage.channels:
            sum(len(message.data) for message in storage.messages([channel.key]))
        return bool(storage.losses)
    finally:
        storage.close()


def _contents(messages: list[RawMessage]) -> list[bytes]:
    """A row that cannot be left is one that cannot be read either: the extraction begins again without leaving any."""
    contents: list[bytes] = []
    for message in messages:
        data = message.data
        with suppress(LeftRowError):
            contents.append(data.read() if isinstance(data, LeftBytes) else bytes(data))
    return contents


def _decode(path: Path) -> None:
    with Bag(BagSource(0, path, (path,))) as bag:
        for _ in bag.messages([topic for topic in bag.topics if bag.can_decode(topic)]):
            pass


def _refused(error: LadleError) -> None:
    if "\n" in str(error):
        raise ValueError(f"not one line: {error}")


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(CASE_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _written(folder: Path) -> list[Path]:
    paths = [_write_ros2(folder, name or "plain", StoragePlugin.MCAP, name) for name in ("", "zstd", "lz4")]
    paths.append(_write_ros2(folder, "sqlite", StoragePlugin.SQLITE3, ""))
    for name, format_ in (("none", None), ("bz2", Ros1Writer.CompressionFormat.BZ2),
                          ("lz4", Ros1Writer.CompressionFormat.LZ4)):
        path = folder / f"{name}.bag"
        writer = Ros1Writer(path)
        if format_:
            writer.set_compression(format_)
        writer.chunk_threshold = 2000
        _fill(writer, Stores.ROS1_NOETIC)
        paths.append(path)
    return paths


def _write_ros2(folder: Path, name: str, plugin: StoragePlugin, compression: str) -> Path:
    writer = Ros2Writer(folder / name, version=9, storage_plugin=plugin)
    if compression == "zstd":
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    elif compression == "lz4":
        opened = writer.open

        def open_with_lz4() -> None:  # rosbags reads LZ4 but does not write it
            opened()
            storage: Any = writer.storage
            storage.compression, storage.compressor = "lz4", lz4.frame.compress
        writer.open = open_with_lz4
    _fill(writer, Stores.ROS2_HUMBLE)
    return next(path for path in (folder / name).iterdir() if path.suffix in SUFFIXES)


def _fill(writer: Any, kind: Stores) -> None:
    """Three topics, 60 messages, several chunks."""
    store = get_typestore(kind)
    is_ros1, types = kind is Stores.ROS1_NOETIC, store.types
    serialize = store.serialize_ros1 if is_ros1 else store.serialize_cdr
    with writer:
        places = {topic: writer.add_connection(topic, type_name, typestore=store) for topic, type_name in (
            ("/text", "std_msgs/msg/String"), ("/joints", "sensor_msgs/msg/JointState"),
            ("/grid", "std_msgs/msg/Int32MultiArray"))}
        for i in range(20):
            header = types["std_msgs/msg/Header"](stamp=types["builtin_interfaces/msg/Time"](sec=i, nanosec=i),
                                                  frame_id="base", **({"seq": i} if is_ros1 else {}))
            layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
            messages = {
                "/text": types["std_msgs/msg/String"](data=f"number {i}"),
                "/joints": types["sensor_msgs/msg/JointState"](
                    header=header, name=["a", "b"], position=np.arange(2.0), velocity=np.zeros(2), effort=np.zeros(0)),
                "/grid": types["std_msgs/msg/Int32MultiArray"](layout=layout, data=np.arange(50, dtype=np.int32))}
            for j, (topic, message) in enumerate(messages.items()):
                writer.write(places[topic], 1_700_000_000_000_000_000 + i * 10_000_000 + j,
                             serialize(message, message.__msgtype__))
            if i % 5 == 4 and hasattr(getattr(writer, "storage", None), "close_chunk"):
                writer.storage.close_chunk()


def _without_chunks(data: bytes) -> bytes:
    """The records of an uncompressed mcap outside of chunks, with neither index nor summary."""
    parts, place = [data[:8]], 8
    while place < len(data) - 8:
        opcode, length = data[place], int.from_bytes(data[place + 1 : place + 9], "little")
        if opcode == 6:
            parts.append(data[place + 9 + 40 : place + 9 + length])
        elif opcode == 1:
            parts.append(data[place : place + 9 + length])
        place += 9 + length
    return b"".join([*parts, b"\x02", (20).to_bytes(8, "little"), bytes(20), data[:8]])


def _child(first: int, cases: int, seed: int) -> None:
    """Run cases; one JSON line before each and one after it."""
    with tempfile.TemporaryDirectory(prefix="ladle-fuzz-") as name:
        folder = Path(name)
        chunked.BEGIN_BYTES = sqlite.BEGIN_BYTES = 64  # so that the small messages here count as large
        files = sorted(seeds(folder).items())
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        for case in range(first, first + cases):
            rng = random.Random(f"{seed} {case}")
            seed_name, data = files[case % len(files)]
            changes = random_changes(rng)
            sys.stdout.write(json.dumps({"case": case, "seed": seed_name, "changes": str(changes)}) + "\n")
            sys.stdout.flush()
            damaged = bytearray(data)
            for change in changes:
                damaged = change.apply(damaged)
            path = folder / f"case{Path(seed_name).suffix}"
            path.write_bytes(damaged)
            try:
                result = outcome(path)
            except (Exception, HangError) as error:  # whatever it is, it is what is being looked for
                result = f"BUG {type(error).__name__}: {error}; {traceback.format_exc()[-600:]}"
            sys.stdout.write(json.dumps({"outcome": result, "kind": Path(seed_name).suffix}) + "\n")
        # The kernel's ru_maxrss would still know the parent that this process was forked from.
        peak_mb = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
        sys.stdout.write(json.dumps({"peak_mb": peak_mb}) + "\n")


def run(cases: int, *, first: int = 0, seed: int = 0) -> dict[str, Any]:
    """Outcome -> number of cases, with the bugs' descriptions and the children's largest memory in MB."""
    counts: Counter[str] = Counter()
    bugs: list[str] = []
    peak_mb = 0.0
    for begin in range(first, first + cases, CASES_A_CHILD):
        number = min(CASES_A_CHILD, first + cases - begin)
        child = subprocess.run(
            [sys.executable, __file__, "--child", "--first", str(begin), "--cases", str(number), "--seed", str(seed)],
            capture_output=True, text=True, check=False, timeout=CASE_LIMIT_S * number + 60)
        last: dict[str, Any] = {}
        for line in child.stdout.splitlines():
            row = json.loads(line)
            if "outcome" in row:
                kind = "BUG" if row["outcome"].startswith("BUG") else row["outcome"]
                counts[f"{row['kind']} {kind}"] += 1
                if kind == "BUG":
                    bugs.append(f"{last}: {row['outcome']}")
            peak_mb = max(peak_mb, row.get("peak_mb", 0.0))
            last = row
        sys.stderr.write(f"{begin + number} of {first + cases}: {len(bugs)} bugs\n")
        if child.returncode:
            bugs.append(f"the process died ({child.returncode}) in {last}: {child.stderr[-2000:]}")
    return {"cases": cases, "outcomes": dict(sorted(counts.items())), "bugs": bugs, "peak_mb": round(peak_mb)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.first, options.cases, options.seed)
        return
    result = run(options.cases, first=options.first, seed=options.seed)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    sys.exit(bool(result["bugs"]))


if __name__ == "__main__":
    main()
