"""mcap files: with or without chunks, compression, summary and end."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.storage.chunked import ChunkedStorage
from read_sensors_utils.storage.mcap_records import (
    CHANNEL,
    CHUNK,
    CHUNK_HEAD_MOST,
    FOOTER,
    HEAD,
    LAST_OPCODE,
    MAGIC,
    MAX_TEXT_BYTES,
    MESSAGE,
    MESSAGE_HEAD,
    MESSAGE_INDEX,
    MESSAGE_RECORD_HEAD,
    SCHEMA,
    WHOLE_MESSAGE_HEAD,
    ChunkHead,
    Schema,
    Summary,
    most_index_bytes,
    parse_channel,
    parse_chunk_head,
    parse_message_index,
    parse_schema,
    read_summary,
)
from read_sensors_utils.storage.scan import Scan, Segment
from read_sensors_utils.storage.source import FileBytes


class McapStorage(ChunkedStorage):
    """An open mcap file of any profile. See records.Storage."""

    def new_scan(self, *, is_deep: bool) -> Scan:
        """A scan that has not run."""
        return McapScan(self.file, is_deep=is_deep)

    def message_at(self, data: memoryview, offset: int, size: int) -> tuple[int, int, int, int] | None:
        """(channel, receive time in ns, start, stop) of the message record at offset; None if there is none."""
        try:
            opcode, length, key, _, time_ns, _ = WHOLE_MESSAGE_HEAD.unpack_from(data, offset)
        except struct.error:
            return None
        stop = offset + HEAD.size + length
        if opcode != MESSAGE or length < MESSAGE_HEAD.size or stop > size:
            return None
        return key, time_ns, offset + WHOLE_MESSAGE_HEAD.size, stop

    def heads_agree(self, heads: NDArray[np.uint8], times_ns: NDArray[np.int64]) -> bool:
        """Whether message records have the first one's length and channel, and these receive times."""
        fields = np.ascontiguousarray(heads).view(MESSAGE_RECORD_HEAD)[:, 0]
        alike = all(bool((fields[name] == fields[name][0]).all()) for name in ("opcode", "length", "channel"))
        return alike and bool((fields["log_time"] == times_ns.astype(np.uint64)).all())


class McapScan(Scan):
    """One pass over an mcap file."""

    def __init__(self, file: FileBytes, *, is_deep: bool) -> None:
        super().__init__(file, is_deep=is_deep)
        self._schemas: dict[int, Schema] = {}
        self._unfinished: dict[int, tuple[bytes, int]] = {}  # channels whose schema has not been met
        self._summary: Summary | None = None

    def read_summary(self) -> None:
        """Take channels, chunks' places and the number of messages from the end of the file."""
        if self.file.peek(0, len(MAGIC)) != MAGIC:
            raise BagError(f"{self.file.path} is not an mcap file of version 0: it begins with "
                           f"{self.file.peek(0, len(MAGIC))!r}; check what it is, or leave it out")
        self._summary = read_summary(self.file)
        if self._summary:
            self.anchors = [*self._summary.chunks, self._summary.start]
            self.expected = self._summary.messages
            for opcode, data in self._summary.declarations:
                self._declare(opcode, data)

    def read_records(self) -> None:
        """Go through the file's records."""
        offset = len(MAGIC)
        while offset < self.file.size and not self.has_end:
            head = self.file.peek(offset, HEAD.size)
            opcode, length = HEAD.unpack(head) if len(head) == HEAD.size else (0, 0)
            end = offset + HEAD.size + length
            go_on = self.file.size if len(head) < HEAD.size else self.resume(offset, end)
            if opcode == CHUNK:
                offset = self._chunk(offset, end, go_on)
                continue
            if opcode == 0 and go_on is None:
                go_on = self.resume(offset, self.file.size + 1)
            if go_on is not None:
                self.spoil_index()
                self.close_chunk()
                self.lose_record(offset, go_on)
                offset = go_on
                continue
            self.has_end = opcode == FOOTER and self.file.peek(end, len(MAGIC)) == MAGIC
            self._record(opcode, offset, length)
            offset = end

    def walk(self, data: bytes, segment: int) -> int:
        """Take the records in a chunk's raw bytes; returns how many bytes are sound."""
        offset = 0
        while offset + HEAD.size <= len(data):
            opcode, length = HEAD.unpack_from(data, offset)
            end = offset + HEAD.size + length
            if opcode == 0 or end > len(data):
                break
            if opcode == MESSAGE and length >= MESSAGE_HEAD.size:
                key, _, time_ns, _ = MESSAGE_HEAD.unpack_from(data, offset + HEAD.size)
                self.add_walked(time_ns, key, segment, offset)
            elif opcode in (SCHEMA, CHANNEL):
                self._declare(opcode, data[offset + HEAD.size : end])
            offset = end
        return offset

    def finish(self) -> None:
        """Declare the channels whose schema never came."""
        for key, (data, _) in self._unfinished.items():
            if parsed := parse_channel(data, self._schemas):
                self.channels.setdefault(key, parsed[0])

    def is_anchor(self, offset: int) -> bool:
        """Whether a record begins there such as the summary says."""
        if self._summary is None or offset == self._summary.start:
            return True
        head = self.file.peek(offset, HEAD.size)
        return len(head) == HEAD.size and HEAD.unpack(head) == (CHUNK, self._summary.chunks[offset] - HEAD.size)

    def _record(self, opcode: int, offset: int, length: int) -> None:
        """A record outside of chunks that is no chunk itself."""
        start = offset + HEAD.size
        if opcode == MESSAGE_INDEX:
            most = most_index_bytes(self.open_raw_bytes)
            index = parse_message_index(self.file.peek(start, length)) if length <= most else None
            if index:
                self.add_index(*index)
            else:
                self.spoil_index()
            return
        self.close_chunk()
        if opcode in (SCHEMA, CHANNEL):
            if length > MAX_TEXT_BYTES:
                self.losses.add("a declaration is too long to be true and was left out", n_bytes=length)
            else:
                self._declare(opcode, self.file.peek(start, length))
        elif opcode == MESSAGE and length >= MESSAGE_HEAD.size:
            key, _, time_ns, _ = MESSAGE_HEAD.unpack(self.file.peek(start, MESSAGE_HEAD.size))
            self.add_loose_message(time_ns, key, offset, HEAD.size + length)

    def _chunk(self, offset: int, end: int, go_on: int | None) -> int:
        """Take a chunk whose record ought to stop at `end`; returns where to go on."""
        head = parse_chunk_head(self.file.peek(offset + HEAD.size, CHUNK_HEAD_MOST))
        next_sure = end if go_on is None else go_on
        if head is None:
            self.close_chunk()
            self.lose_record(offset, next_sure)
            return next_sure
        data = offset + HEAD.size + head.size
        stop = data + head.stored
        if stop != end and self._fits(offset, stop) and (go_on is not None or self._begins_record(stop)):
            end, go_on = stop, None  # the record's length is damaged, the data's is not
        segment = Segment(offset, data, head.stored, head.raw, head.compression, head.crc)
        if stop == end and go_on is None:
            self.open_chunk(segment)
            return end
        self._broken_chunk(segment, head, next_sure)
        return next_sure

    def _broken_chunk(self, segment: Segment, head: ChunkHead, stop: int) -> None:
        segment.stored = max(0, stop - segment.offset)
        if stop == self.file.size and segment.stored < head.stored:
            segment.is_whole = False
            self.open_chunk(segment)
        else:
            self.close_chunk()
            self.lose_chunk(segment, "declares a length that is not its own")

    def _fits(self, offset: int, end: int) -> bool:
        return self.resume(offset, end) is None

    def _begins_record(self, offset: int) -> bool:
        head = self.file.peek(offset, HEAD.size)
        if len(head) < HEAD.size:
            return offset == self.file.size
        opcode, length = HEAD.unpack(head)
        return 0 < opcode <= LAST_OPCODE and offset + HEAD.size + length <= self.file.size

    def _declare(self, opcode: int, data: bytes) -> None:
        """Take a schema or channel; the first one of a number counts."""
        if opcode == SCHEMA:
            if (schema := parse_schema(data)) and schema[0] not in self._schemas:
                self._schemas[schema[0]] = schema[1]
                for key, (text, schema_key) in list(self._unfinished.items()):
                    if schema_key == schema[0]:
                        del self._unfinished[key]
                        self._declare(CHANNEL, text)
        elif parsed := parse_channel(data, self._schemas):
            channel, schema_key = parsed
            if schema_key and schema_key not in self._schemas:
                self._unfinished.setdefault(channel.key, (data, schema_key))
            else:
                self.channels.setdefault(channel.key, channel)
