"""The records of a ROS 1 bag (wiki.ros.org/Bags/Format/2.0). Sizes are checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from read_sensors_utils.storage.records import Channel
from read_sensors_utils.storage.source import FileBytes

MAGIC = b"#ROSBAG V2.0\n"
MAGIC_START = b"#ROSBAG V"
MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 4, 5, 6, 7

MAX_HEADER_BYTES = 1 << 20  # names and numbers, a few hundred bytes in practice
USUAL_HEAD_BYTES = 128  # of a record with the two lengths around its header
MAX_TEXT_BYTES = 1 << 24  # of a connection's data, which holds the message definition
MIN_MESSAGE_BYTES = 4 + 32 + 4  # lengths and the fields op, conn and time
NS_PER_S = 1_000_000_000
TIME_FIELD = b"time="
INDEX_ENTRY = np.dtype("<u4")  # seconds, nanoseconds, offset in the chunk
INDEX_ENTRY_BYTES = 3 * INDEX_ENTRY.itemsize

Fields = Mapping[bytes, bytes]


class RecordHead(NamedTuple):
    """A record's kind (0 if it does not say) and other fields, and where its data lies."""

    opcode: int
    fields: Fields
    data: int
    size: int

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.data + self.size


def parse_fields(data: bytes) -> Fields | None:
    """The name=value fields of a header; None if they do not fill it exactly."""
    fields: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        stop = place + 4 + int.from_bytes(data[place : place + 4], "little")
        equals = data.find(b"=", place + 4, stop)
        if stop > len(data) or equals < 0:
            return None
        fields[data[place + 4 : equals]] = data[equals + 1 : stop]
        place = stop
    return fields


@lru_cache(maxsize=256)
def _repeated_fields(data: bytes) -> Fields | None:
    """`parse_fields`, for headers of chunks and their indices, which are the same again and again."""
    return parse_fields(data)


def number(fields: Fields, name: bytes) -> int | None:
    """An unsigned field; None if it is absent or longer than 8 bytes."""
    value = fields.get(name)
    return int.from_bytes(value, "little") if value and len(value) <= 8 else None


def stamp_ns(fields: Fields) -> int | None:
    """The field time, seconds and nanoseconds, in ns; None if it is absent."""
    value = fields.get(b"time", b"")
    if len(value) != 8:
        return None
    return int.from_bytes(value[:4], "little") * NS_PER_S + int.from_bytes(value[4:], "little")


def text(fields: Fields, name: bytes) -> str:
    """A field as text, "" if it is absent."""
    return fields.get(name, b"").decode("utf-8", "replace")


def head_in_file(file: FileBytes, offset: int) -> RecordHead | None:
    """The record head at offset; None if there is none or it is cut off. Its data may run over the end of the file."""
    block = file.peek(offset, USUAL_HEAD_BYTES)
    size = int.from_bytes(block[:4], "little")
    if not 0 < size <= MAX_HEADER_BYTES or offset + 8 + size > file.size:
        return None
    if size + 8 > len(block):
        block = file.peek(offset, size + 8)
    return _head(_repeated_fields(block[4 : 4 + size]), offset + 8 + size, block[4 + size : 8 + size])


def head_in_memory(data: bytes | memoryview, offset: int) -> RecordHead | None:
    """The same for bytes in memory."""
    start = offset + 4
    stop = start + int.from_bytes(data[offset:start], "little")
    if not start < stop <= min(len(data) - 4, start + MAX_HEADER_BYTES):
        return None
    return _head(parse_fields(bytes(data[start:stop])), stop + 4, data[stop : stop + 4])


def parse_connection(fields: Fields, data: bytes) -> Channel | None:
    """The channel of a connection record; None if it is damaged."""
    key, own = number(fields, b"conn"), parse_fields(data)
    if key is None or own is None or b"topic" not in fields or b"type" not in own or key >= 1 << 32:
        return None
    definition = text(own, b"message_definition")
    package, _, name = text(own, b"type").partition("/")
    return Channel(key, text(fields, b"topic"), f"{package}/msg/{name}" if name else package, "ros1", definition,
                   "msg" if b"message_definition" in own else "none")


def parse_index(fields: Fields, data: bytes) -> tuple[int, NDArray[np.int64], NDArray[np.int64]] | None:
    """(connection, stamps in ns, offsets in the chunk) from an index record; None if it is damaged."""
    key, count = number(fields, b"conn"), number(fields, b"count")
    if key is None or key >= 1 << 32 or number(fields, b"ver") != 1 or count is None:
        return None
    if len(data) != count * INDEX_ENTRY_BYTES:
        return None
    seconds, nanoseconds, offsets = np.frombuffer(data, INDEX_ENTRY).reshape(-1, 3).T.astype(np.int64)
    return key, seconds * NS_PER_S + nanoseconds, offsets


def most_index_bytes(raw: int) -> int:
    """The largest index record that a chunk of so many raw bytes can have."""
    return INDEX_ENTRY_BYTES * (raw // MIN_MESSAGE_BYTES + 1)


def _head(fields: Fields | None, data: int, size: bytes | memoryview) -> RecordHead | None:
    if fields is None:
        return None
    return RecordHead(number(fields, b"op") or 0, fields, data, int.from_bytes(size, "little"))
