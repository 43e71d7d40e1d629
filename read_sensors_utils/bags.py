"""One recording of any kind that `rosbags` reads, with the traps of real recordings removed.

Only the types of the topics that are read are registered, so one unparsable definition does not cost the recording.
Bytes after a message's end, which real recorders write, are ignored. Rows that a db3 still holds in its write-ahead
log are merged in a copy, because `rosbags` opens a db3 as immutable and would drop them silently.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from ladle.errors import BagError
from read_sensors_utils.find_bags import BagSource

IDL_SEPARATOR = "=" * 80 + "\n"
READ_BLOCK_BYTES = 4_000_000
ROS1_TYPES, ROS2_TYPES = Stores.ROS1_NOETIC, Stores.ROS2_HUMBLE


@dataclass(frozen=True)
class TopicInfo:
    """What a recording says about a topic: its message type in ROS 2 style and how many messages there are."""

    type_name: str
    count: int


class Bag:
    """An open recording. Use as a context manager.

    Attributes:
        topics: topic -> type and message count.
        start_ns, end_ns: receive stamps of the first and the last message.
    """

    def __init__(self, source: BagSource) -> None:
        self.source = source
        self.topics: dict[str, TopicInfo] = {}
        self.start_ns = 0
        self.end_ns = 0
        self._is_ros1 = source.path.suffix == ".bag"
        self._readers: list[Any] = []
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        """Open the files.

        Raises:
            BagError: damaged, cut off, empty, or of an unknown kind.
        """
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def has(self, topic: str) -> bool:
        """Whether there is at least one message on the topic."""
        return topic in self.topics and self.topics[topic].count > 0

    def topic_list(self) -> str:
        """What is there, for messages."""
        listed = ", ".join(f"{name} ({info.type_name})" for name, info in sorted(self.topics.items()) if info.count)
        return listed or "no topics"

    def can_decode(self, topic: str) -> bool:
        """Whether the topic's type is defined in the recording or known without it."""
        try:
            return all(_type_name(found) in self._types(found) for _, found in self._connections({topic}))
        except BagError:
            return False

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, receive stamp in ns, message) of the topics, in the order of receipt.

        Raises:
            BagError: a type is not defined, or a message cannot be read.
        """
        wanted = self._connections(set(topics))
        store = get_typestore(Stores.EMPTY)
        types: dict[str, Any] = {}
        for _, connection in wanted:
            types |= self._types(connection)
        store.register(types)
        for _, connection in wanted:
            if _type_name(connection) not in types:
                raise BagError(f"{self.source.name}: the type {connection.msgtype} of {connection.topic} is not "
                               "defined in the recording; record with mcap, which stores definitions")
        streams: list[Iterator[Any]] = []
        for reader in self._readers:
            own = [connection for owner, connection in wanted if owner is reader]
            if own:
                streams.append(reader.messages(connections=own))
        for connection, receive_ns, raw in self._guarded(heapq.merge(*streams, key=lambda item: item[1])):
            yield connection.topic, receive_ns, self._decode(store, connection, raw, receive_ns)

    def first(self, topic: str) -> Any:
        """First message on the topic; check `has` before."""
        for _, _, message in self.messages([topic]):
            return message
        raise BagError(f"{self.source.name}: no message on {topic}; it has {self.topic_list()}")

    def _open(self) -> None:
        paths = [self.source.path] if self._is_ros1 else self._stack.enter_context(_readable_paths(self.source))
        for path in paths:
            self._readers.append(self._open_one(path))
        for _, connection in self._connections(None):
            known = self.topics.get(connection.topic)
            count = connection.msgcount + (known.count if known else 0)
            self.topics[connection.topic] = TopicInfo(_type_name(connection), count)
        if not any(info.count for info in self.topics.values()):
            raise BagError(f"{self.source.path} is empty: it holds no messages; delete it or record it again")
        filled = [reader for reader in self._readers if reader.message_count]
        self.start_ns = min(reader.start_time for reader in filled)
        self.end_ns = max(reader.end_time for reader in filled) - 1

    def _open_one(self, path: Path) -> Any:
        # rosbags answers damage with many kinds of exceptions (struct.error, AssertionError, KeyError, ...).
        try:
            reader = Ros1Reader(path) if self._is_ros1 else Ros2Reader(path)
            return self._stack.enter_context(reader)
        except (OSError, MemoryError) as error:
            if isinstance(error, FileNotFoundError):
                raise BagError(f"cannot read {path}: {error}") from error
            raise
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            raise BagError(f"cannot read {path}: {reason}; it is damaged or was cut off: repair it "
                           "(mcap recover, ros2 bag reindex, rosbag reindex) or leave it out") from error

    def _connections(self, topics: set[str] | None) -> list[tuple[Any, Any]]:
        return [(reader, connection) for reader in self._readers for connection in reader.connections
                if topics is None or connection.topic in topics]

    def _types(self, connection: Any) -> dict[str, Any]:
        """Definitions that the connection's type needs: those of the distribution, overruled by the recording's."""
        types = dict(get_typestore(ROS1_TYPES if self._is_ros1 else ROS2_TYPES).fielddefs)
        definition = connection.msgdef
        try:
            if definition.format == MessageDefinitionFormat.MSG:
                types |= get_types_from_msg(definition.data, _type_name(connection))
            elif definition.format == MessageDefinitionFormat.IDL:
                for part in _idl_parts(definition.data):
                    types |= get_types_from_idl(part)
        except Exception as error:
            raise BagError(f"{self.source.name}: the definition of {connection.msgtype} ({connection.topic}) in the "
                           f"recording cannot be parsed: {str(error)[:200]}") from error
        return types

    def _decode(self, store: Any, connection: Any, raw: bytes, receive_ns: int) -> Any:
        definition = store.get_msgdef(_type_name(connection))
        try:
            if self._is_ros1:
                return definition.deserialize_ros1(raw, 0, definition.cls, store)[0]
            read = definition.deserialize_cdr_le if raw[1] else definition.deserialize_cdr_be
            return read(raw[4:], 0, definition.cls, store)[0]
        except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
            raise BagError(f"{self.source.name}: a message on {connection.topic} received at {receive_ns} ns cannot be "
                           f"read as {connection.msgtype}: {error}") from error

    def _guarded(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream in non-decreasing order, with rosbags' own exceptions as BagError."""
        latest_ns = 0
        while True:
            try:
                connection, receive_ns, raw = next(stream)
            except StopIteration:
                return
            except OSError:
                raise
            except Exception as error:
                raise BagError(f"{self.source.path} is damaged: {error or type(error).__name__}; repair it or "
                               "leave it out") from error
            latest_ns = max(latest_ns, receive_ns)
            yield connection, latest_ns, raw


def file_checksums(source: BagSource) -> dict[str, str]:
    """File name -> sha256 of the recording's storage files."""
    sums: dict[str, str] = {}
    for path in source.files:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(READ_BLOCK_BYTES):
                digest.update(block)
        sums[path.name] = digest.hexdigest()
    return sums


def _type_name(connection: Any) -> str:
    """Old recordings write sensor_msgs/Image; the name in use is sensor_msgs/msg/Image."""
    parts = str(connection.msgtype).split("/")
    return "/".join([parts[0], "msg", parts[1]]) if len(parts) == 2 else "/".join(parts)


def _idl_parts(text: str) -> list[str]:
    if not text.startswith(f"{IDL_SEPARATOR}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(IDL_SEPARATOR)[1:]]


@contextmanager
def _readable_paths(source: BagSource) -> Iterator[list[Path]]:
    """What to hand to the ROS 2 reader: the recording's folder, its files, or copies with their logs merged."""
    logged = [file for file in source.files if _log_of(file).is_file() and _log_of(file).stat().st_size]
    if logged:
        # The counts in metadata.yaml may be older than the log, so the files speak for themselves.
        with tempfile.TemporaryDirectory(prefix="ladle-bag-") as folder:
            yield [_merged(file, Path(folder)) if file in logged else file for file in source.files]
    else:
        yield [source.path] if (source.path / "metadata.yaml").is_file() else list(source.files)


def _log_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def _merged(file: Path, folder: Path) -> Path:
    copy = folder / file.name
    shutil.copyfile(file, copy)
    shutil.copyfile(_log_of(file), _log_of(copy))
    try:
        database = sqlite3.connect(copy)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    except sqlite3.Error as error:
        raise BagError(f"{file} has a write-ahead log that cannot be merged: {error}; run "
                       f"sqlite3 {file.name} 'PRAGMA wal_checkpoint' on a copy, or record again") from error
    return copy
