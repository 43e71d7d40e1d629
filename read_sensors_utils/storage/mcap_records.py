"""The records of an mcap file (specification: mcap.dev/spec, version 0). Sizes are checked before anything is read."""

from __future__ import annotations

import struct
import zlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from read_sensors_utils.storage.records import Channel
from read_sensors_utils.storage.source import FileBytes

MAGIC_START = b"\x89MCAP"
MAGIC = MAGIC_START + b"0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, STATISTICS = 2, 3, 4, 5, 6, 7, 8, 11
LAST_OPCODE = 15

HEAD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
WHOLE_MESSAGE_HEAD = struct.Struct("<BQHIQQ")
MESSAGE_RECORD_HEAD = np.dtype([  # the same for arrays
    ("opcode", "u1"), ("length", "<u8"), ("channel", "<u2"), ("sequence", "<u4"), ("log_time", "<u8"),
    ("publish_time", "<u8")])
FOOTER_RECORD = struct.Struct("<BQQQI")  # ..., start of the summary, start of its offsets, CRC-32 of the summary
_CHUNK_HEAD = struct.Struct("<QQQII")  # first time, last time, raw bytes, CRC-32, length of the compression's name
_CHUNK_PLACE = struct.Struct("<QQQQ")  # first time, last time, start of the chunk, its length
_STATISTICS = struct.Struct("<QHIIIIQQI")  # messages, ..., bytes of the counts by channel
_INDEX_HEAD = struct.Struct("<HI")
_INDEX_ENTRY_BYTES = 16

MAX_TEXT_BYTES = 1 << 24  # of a schema or channel record
MAX_COMPRESSION_NAME = 16
CHUNK_HEAD_MOST = _CHUNK_HEAD.size + MAX_COMPRESSION_NAME + 8
MAX_CHANNELS = 1 << 16
CRC_STEP_BYTES = 1 << 20

FORMATS: dict[str, Literal["msg", "idl"]] = {"ros2msg": "msg", "ros1msg": "msg", "ros2idl": "idl", "omgidl": "idl"}


class Schema(NamedTuple):
    """A message type and its definition."""

    name: str
    encoding: str
    text: str


class ChunkHead(NamedTuple):
    """What stands before a chunk's data; size is its own length in bytes."""

    size: int
    raw: int
    crc: int
    compression: str
    stored: int


class Summary(NamedTuple):
    """What the end of the file tells: its records' place, chunks as (start, length) and the number of messages."""

    start: int
    stop: int
    chunks: dict[int, int]
    messages: int | None
    declarations: list[tuple[int, bytes]]


def parse_schema(data: bytes) -> tuple[int, Schema] | None:
    """(number, schema) from a schema record; None if it is damaged."""
    if len(data) < 2:
        return None
    name, place = _text(data, 2)
    encoding, place = _text(data, place)
    text, place = _text(data, place)
    if name is None or encoding is None or text is None:
        return None
    return int.from_bytes(data[:2], "little"), Schema(_utf8(name), _utf8(encoding), _utf8(text))


def parse_channel(data: bytes, schemas: dict[int, Schema]) -> tuple[Channel, int] | None:
    """(channel, number of its schema) from a channel record; None if it is damaged."""
    if len(data) < 4:
        return None
    topic, place = _text(data, 4)
    encoding, _ = _text(data, place)
    if topic is None or encoding is None:
        return None
    key, schema_key = struct.unpack_from("<HH", data)
    return declared(key, _utf8(topic), _utf8(encoding), schemas.get(schema_key)), schema_key


def declared(key: int, topic: str, encoding: str, schema: Schema | None) -> Channel:
    """The channel. One that is serialised in another way keeps that in its type's name and loses its definition."""
    name = type_name(schema.name) if schema else ""
    if encoding not in ("cdr", "ros1"):
        return Channel(key, topic, f"{name} ({encoding})", "cdr")
    how: Literal["cdr", "ros1"] = "ros1" if encoding == "ros1" else "cdr"
    if schema is None or schema.encoding not in FORMATS:
        return Channel(key, topic, name, how)
    return Channel(key, topic, name, how, schema.text, FORMATS[schema.encoding])


def type_name(name: str) -> str:
    """package/Type as package/msg/Type."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name


def parse_chunk_head(data: bytes) -> ChunkHead | None:
    """From the first CHUNK_HEAD_MOST bytes of a chunk record; None if it is damaged."""
    if len(data) < _CHUNK_HEAD.size:
        return None
    _, _, raw, crc, name_size = _CHUNK_HEAD.unpack_from(data)
    size = _CHUNK_HEAD.size + name_size + 8
    if name_size > MAX_COMPRESSION_NAME or len(data) < size:
        return None
    name = data[_CHUNK_HEAD.size : size - 8].decode("ascii", "replace")
    return ChunkHead(size, raw, crc, name or "none", int.from_bytes(data[size - 8 : size], "little"))


def most_index_bytes(raw: int) -> int:
    """The largest message index record that a chunk of so many raw bytes can have."""
    return _INDEX_HEAD.size + _INDEX_ENTRY_BYTES * (raw // WHOLE_MESSAGE_HEAD.size + 1)


def parse_message_index(data: bytes) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64]] | None:
    """(channel, stamps in ns, offsets in the chunk) from a message index record; None if it is damaged."""
    if len(data) < _INDEX_HEAD.size:
        return None
    key, size = _INDEX_HEAD.unpack_from(data)
    if size % _INDEX_ENTRY_BYTES or size != len(data) - _INDEX_HEAD.size:
        return None
    table = np.frombuffer(data, "<u8", offset=_INDEX_HEAD.size).reshape(-1, 2)
    return key, table[:, 0], table[:, 1]


def read_summary(file: FileBytes) -> Summary | None:
    """The summary section; None where the file has none, or it is damaged."""
    stop = file.size - FOOTER_RECORD.size - len(MAGIC)
    if stop < len(MAGIC):
        return None
    tail = file.read(stop, file.size - stop)
    opcode, length, start, _, crc = FOOTER_RECORD.unpack_from(tail)
    if (opcode, length) != (FOOTER, FOOTER_RECORD.size - HEAD.size) or not tail.endswith(MAGIC):
        return None
    if not len(MAGIC) <= start < stop or (crc and crc != _crc(file, start, stop + FOOTER_RECORD.size - 4)):
        return None
    summary = Summary(start, stop, {}, None, [])
    offset = start
    while offset < stop:
        opcode, length = HEAD.unpack(file.peek(offset, HEAD.size)) if offset + HEAD.size <= stop else (0, 0)
        if opcode == 0 or offset + HEAD.size + length > stop:
            return None
        summary = _with_record(file, summary, opcode, offset + HEAD.size, length)
        offset += HEAD.size + length
    return summary


def _with_record(file: FileBytes, summary: Summary, opcode: int, offset: int, length: int) -> Summary:
    if opcode in (SCHEMA, CHANNEL) and length <= MAX_TEXT_BYTES:
        summary.declarations.append((opcode, file.peek(offset, length)))
    elif opcode == CHUNK_INDEX and length >= _CHUNK_PLACE.size:
        _, _, start, size = _CHUNK_PLACE.unpack(file.peek(offset, _CHUNK_PLACE.size))
        summary.chunks[start] = size
    elif opcode == STATISTICS and _STATISTICS.size <= length <= _STATISTICS.size + 10 * MAX_CHANNELS:
        data = file.peek(offset, length)
        messages, size = _STATISTICS.unpack_from(data)[0], length - _STATISTICS.size
        by_channel = np.frombuffer(data, "<u2,<u8", count=size // 10, offset=_STATISTICS.size)["f1"].tolist()
        if sum(by_channel) == messages:  # two numbers that agree are no damage
            return summary._replace(messages=messages)
    return summary


def _crc(file: FileBytes, start: int, stop: int) -> int:
    crc = 0
    for offset in range(start, stop, CRC_STEP_BYTES):
        crc = zlib.crc32(file.read(offset, min(CRC_STEP_BYTES, stop - offset)), crc)
    return crc


def _text(data: bytes, place: int) -> tuple[bytes | None, int]:
    """(the text with its length before it, where the next begins); None if it runs over the end."""
    size = int.from_bytes(data[place : place + 4], "little")
    stop = place + 4 + size
    return (data[place + 4 : stop], stop) if stop <= len(data) and place + 4 <= len(data) else (None, len(data))


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "replace")
