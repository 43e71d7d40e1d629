"""ROS 1 bags, format 2.0: indexed or not, whole or cut off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.storage.chunked import ChunkedStorage
from read_sensors_utils.storage.ros1_records import (
    BAG_HEADER,
    CHUNK,
    CHUNK_INFO,
    CONNECTION,
    INDEX,
    MAGIC,
    MAGIC_START,
    MAX_TEXT_BYTES,
    MESSAGE,
    NS_PER_S,
    TIME_FIELD,
    RecordHead,
    head_in_file,
    head_in_memory,
    most_index_bytes,
    number,
    parse_connection,
    parse_index,
    stamp_ns,
    text,
)
from read_sensors_utils.storage.scan import Scan, Segment
from read_sensors_utils.storage.source import FileBytes


class Ros1Storage(ChunkedStorage):
    """An open ROS 1 bag. See records.Storage."""

    def new_scan(self, *, is_deep: bool) -> Scan:
        """A scan that has not run."""
        return Ros1Scan(self.file, is_deep=is_deep)

    def message_at(self, data: memoryview, offset: int, size: int) -> tuple[int, int, int, int] | None:
        """(connection, receive time in ns, start, stop) of the message record at offset; None if there is none."""
        head = head_in_memory(data, offset)
        if head is None or head.opcode != MESSAGE or head.end > size:
            return None
        key, time_ns = number(head.fields, b"conn"), stamp_ns(head.fields)
        return None if key is None or time_ns is None else (key, time_ns, head.data, head.end)

    def heads_agree(self, heads: NDArray[np.uint8], times_ns: NDArray[np.int64]) -> bool:
        """Whether message records have the first one's length, connection and fields, and these receive times."""
        at = heads[0].tobytes().find(TIME_FIELD) + len(TIME_FIELD)
        if at + 8 > heads.shape[1]:
            return False
        stamps = np.ascontiguousarray(heads[:, at : at + 8]).view("<u4").astype(np.int64)
        if bool((stamps[:, 0] * NS_PER_S + stamps[:, 1] != times_ns).any()):
            return False
        return bool((heads[:, :at] == heads[0, :at]).all() and (heads[:, at + 8 :] == heads[0, at + 8 :]).all())


class Ros1Scan(Scan):
    """One pass over a ROS 1 bag."""

    def __init__(self, file: FileBytes, *, is_deep: bool) -> None:
        super().__init__(file, is_deep=is_deep)
        self._is_indexed = False
        self._index_start = 0

    def read_summary(self) -> None:
        """Take connections, chunks' places and the number of messages from the index at the end."""
        self._check_magic()
        head = head_in_file(self.file, len(MAGIC))
        if head is None or head.opcode != BAG_HEADER:
            return
        if encryptor := text(head.fields, b"encryptor"):
            raise BagError(f"{self.file.path} is encrypted ({encryptor[:60]!r}); decrypt it first (rosbag decrypt)")
        offset = self._index_start = number(head.fields, b"index_pos") or 0
        chunk_count = number(head.fields, b"chunk_count") or 0
        connection_count = number(head.fields, b"conn_count") or 0
        if not len(MAGIC) < offset <= self.file.size:
            return
        chunks: list[int] = []
        messages = 0
        while offset < self.file.size:
            head = head_in_file(self.file, offset)
            if head is None or head.opcode not in (CONNECTION, CHUNK_INFO) or head.end > self.file.size:
                return
            if head.opcode == CONNECTION:
                self._connect(head)
            elif head.size <= MAX_TEXT_BYTES:
                chunks.append(number(head.fields, b"chunk_pos") or 0)
                counts = np.frombuffer(self.file.peek(head.data, head.size // 8 * 8), "<u4")[1::2]
                messages += int(counts.sum(dtype=np.uint64))
            offset = head.end
        # A cut may fall between two records of the index; the head of the bag knows how many there are.
        self._is_indexed = len(chunks) >= chunk_count and len(self.channels) >= connection_count
        self.expected = messages
        self.anchors = [*(place for place in chunks if len(MAGIC) < place < self._index_start), self._index_start]

    def read_records(self) -> None:
        """Go through the file's records."""
        offset = len(MAGIC)
        while offset < self.file.size:
            head = head_in_file(self.file, offset)
            end = self.file.size + 1 if head is None else head.end
            go_on = self.resume(offset, end)
            if head is not None and head.opcode == CHUNK:
                offset = self._chunk(offset, head, go_on)
            elif head is not None and go_on is None and MESSAGE <= head.opcode <= CONNECTION:
                self._record(offset, head)
                offset = end
            else:
                go_on = self.file.size if go_on is None else go_on
                self.spoil_index()
                self.close_chunk()
                self.lose_record(offset, go_on)
                offset = go_on
        self.has_end = self._is_indexed

    def walk(self, data: bytes, segment: int) -> int:
        """Take the records in a chunk's raw bytes; returns how many bytes are sound."""
        offset = 0
        while offset < len(data):
            head = head_in_memory(data, offset)
            if head is None or head.opcode not in (MESSAGE, CONNECTION) or head.end > len(data):
                break
            if head.opcode == CONNECTION:
                self._add_connection(head, data[head.data : head.end])
            else:
                key, time_ns = number(head.fields, b"conn"), stamp_ns(head.fields)
                if key is None or time_ns is None or key >= 1 << 32:
                    break
                self.add_walked(time_ns, key, segment, offset)
            offset = head.end
        return offset

    def is_anchor(self, offset: int) -> bool:
        """Whether a record begins there such as the index says."""
        if offset == self._index_start:
            return True
        head = head_in_file(self.file, offset)
        return head is not None and head.opcode == CHUNK and head.end <= self.file.size

    def _record(self, offset: int, head: RecordHead) -> None:
        """A record outside of chunks that is no chunk itself."""
        if head.opcode == INDEX:
            index = None
            if head.size <= most_index_bytes(self.open_raw_bytes):
                index = parse_index(head.fields, self.file.peek(head.data, head.size))
            if index:
                self.add_index(*index)
            else:
                self.spoil_index()
            return
        self.close_chunk()
        if head.opcode == CONNECTION:
            self._connect(head)
        elif head.opcode == MESSAGE:
            key, time_ns = number(head.fields, b"conn"), stamp_ns(head.fields)
            if key is not None and time_ns is not None and key < 1 << 32:
                self.add_loose_message(time_ns, key, offset, head.end - offset)

    def _chunk(self, offset: int, head: RecordHead, go_on: int | None) -> int:
        """Take a chunk; returns where to go on."""
        compression, raw = text(head.fields, b"compression"), number(head.fields, b"size") or 0
        segment = Segment(offset, head.data, head.size, raw, compression)
        if go_on is None and not head.size and not raw:
            # A recorder that died has not yet written the sizes of its last chunk, only the data behind the head.
            self.close_chunk()
            if compression == "none" or head.end == self.file.size:
                return head.end
            go_on = self.resume(offset, self.file.size + 1)
        if go_on is None:
            self.open_chunk(segment)
            return head.end
        segment.stored = max(0, go_on - head.data)
        if go_on == self.file.size:
            segment.is_whole = False
            self.open_chunk(segment)
        else:
            self.close_chunk()
            self.lose_chunk(segment, "declares a length that is not its own")
        return go_on

    def _connect(self, head: RecordHead) -> None:
        if head.size > MAX_TEXT_BYTES:
            self.losses.add("a declaration is too long to be true and was left out", n_bytes=head.size)
        else:
            self._add_connection(head, self.file.peek(head.data, head.size))

    def _add_connection(self, head: RecordHead, data: bytes) -> None:
        channel = parse_connection(head.fields, data)
        if channel is not None:
            self.channels.setdefault(channel.key, channel)

    def _check_magic(self) -> None:
        magic = self.file.peek(0, len(MAGIC))
        if magic == MAGIC:
            return
        if magic.startswith(MAGIC_START):
            version = magic[len(MAGIC_START) :].decode("ascii", "replace").strip()
            raise BagError(f"{self.file.path} has the bag format {version!r}, 2.0 is needed; bring it there with "
                           "rosbag migrate")
        raise BagError(f"{self.file.path} is not a ROS 1 bag: it begins with {magic!r}; leave it out")
