"""Rows of a damaged SQLite file, taken from its leaf pages without the tree above them, which may be cut off or broken.

Source: SQLite database file format, sections 1.3 (header), 1.6 (b-tree pages) and 2.1 (record format).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from read_sensors_utils.storage.ordering import PositionsBuilder
from read_sensors_utils.storage.source import FileBytes

HEADER_BYTES = 100
LEAF_TABLE_PAGE = 0x0D
PAGE_SIZES = frozenset(1 << n for n in range(9, 17))
DEFAULT_PAGE_BYTES = 4096
INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
MAX_RECORD_HEADER_BYTES = 200  # a row of a recording has at most six columns

Value = int | bytes | str | None


@dataclass(frozen=True)
class LeafRow:
    """One row found on a leaf page.

    Attributes:
        rowid: the row's number, which rosbag2 uses as id.
        columns: values of the columns up to the first blob, which is None here; read it with SqlitePages.blob.
        blob_type: record type of that blob, 0 without one.
        at: byte of the file where the cell begins.
        is_whole: whether all of the row's pages are in the file.
    """

    rowid: int
    columns: tuple[Value, ...]
    blob_type: int
    at: int
    is_whole: bool


class SqlitePages:
    """The pages of one file."""

    def __init__(self, path: Path) -> None:
        self._file = FileBytes(path)
        head = self._file.peek(0, HEADER_BYTES)
        size = int.from_bytes(head[16:18], "big") if len(head) == HEADER_BYTES else 0
        size = 1 << 16 if size == 1 else size
        self.page_bytes = size if size in PAGE_SIZES else DEFAULT_PAGE_BYTES
        reserved = head[20] if len(head) == HEADER_BYTES and head[20] <= self.page_bytes - 480 else 0
        self._usable = self.page_bytes - reserved
        self.n_pages = -(-self._file.size // self.page_bytes)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def rows(self) -> Iterator[LeafRow]:
        """Rows of all tables, page by page; what makes no sense is passed over."""
        for number in range(self.n_pages):
            start = number * self.page_bytes
            page = self._file.peek(start, self.page_bytes)
            head = HEADER_BYTES if number == 0 else 0
            if len(page) < head + 8 or page[head] != LEAF_TABLE_PAGE:
                continue
            n_cells = int.from_bytes(page[head + 3 : head + 5], "big")
            for cell in range(min(n_cells, (self.page_bytes - head - 8) // 2)):
                at = head + 8 + 2 * cell
                offset = int.from_bytes(page[at : at + 2], "big")
                row = self._row(page, offset, start) if head + 8 <= offset < len(page) else None
                if row is not None:
                    yield row

    def blob(self, at: int) -> bytes | None:
        """The blob of the row whose cell begins at this byte; None if it is not whole."""
        start = at - at % self.page_bytes
        page = self._file.read(start, min(self.page_bytes, self._file.size - start))
        size, position = _varint(page, at - start)
        _, position = _varint(page, position)
        payload = self._payload(page, position, size)
        if payload is None:
            return None
        header_bytes, _ = _varint(payload, 0)
        begin, types = header_bytes, _types(payload[:header_bytes])
        for kind in types:
            if kind >= 12 and kind % 2 == 0:
                return payload[begin : begin + (kind - 12) // 2]
            begin += _bytes_of(kind)
        return None

    def _row(self, page: bytes, offset: int, start: int) -> LeafRow | None:
        try:
            size, position = _varint(page, offset)
            rowid, position = _varint(page, position)
            local, tail = self._local_bytes(size), page[position:]
            header_bytes, _ = _varint(tail, 0)
            if not 1 < header_bytes <= min(MAX_RECORD_HEADER_BYTES, local) or size > self._file.size:
                return None
            types = _types(tail[:header_bytes])
            if header_bytes + sum(map(_bytes_of, types)) != size:
                return None
            is_text = not any(kind >= 12 and kind % 2 == 0 for kind in types)
            payload = self._payload(page, position, size) if is_text else tail[:local]
            columns = _columns(payload, header_bytes, types) if payload is not None else None
        except (IndexError, KeyError, ValueError):
            return None
        if columns is None:
            return None
        is_whole = len(tail) >= local and (is_text or self._chain_is_whole(tail[local : local + 4], size - local))
        blob_type = next((kind for kind in types if kind >= 12 and kind % 2 == 0), 0)
        return LeafRow(rowid, columns, blob_type, start + offset, is_whole)

    def _local_bytes(self, size: int) -> int:
        """How much of a payload lies on the leaf page itself (section 1.6)."""
        most = self._usable - 35
        if size <= most:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        fitting = least + (size - least) % (self._usable - 4)
        return fitting if fitting <= most else least

    def _overflow(self, first: bytes, missing: int) -> Iterator[int]:
        """Starts of the overflow pages that hold the missing bytes, in order; ends early where the chain is broken.

        A page that comes again is a break: what the chain holds is never more than the file.
        """
        number, seen = int.from_bytes(first, "big"), set[int]()
        while missing > 0:
            if not 1 < number <= self.n_pages or number in seen:
                return
            seen.add(number)
            start = (number - 1) * self.page_bytes
            if start + 4 + min(missing, self._usable - 4) > self._file.size:
                return
            yield start
            number = int.from_bytes(self._file.read(start, 4), "big")
            missing -= self._usable - 4

    def _chain_is_whole(self, first: bytes, missing: int) -> bool:
        return sum(1 for _ in self._overflow(first, missing)) == -(-missing // (self._usable - 4))

    def _payload(self, page: bytes, position: int, size: int) -> bytes | None:
        if size > self._file.size:
            return None
        local = self._local_bytes(size)
        missing = size - local
        parts = [page[position : position + local]]
        for start in self._overflow(page[position + local : position + local + 4], missing):
            parts.append(self._file.read(start + 4, min(missing, self._usable - 4)))
            missing -= len(parts[-1])
        payload = b"".join(parts)
        return payload if len(payload) == size else None


class FoundRows:
    """Rows found on leaf pages; plain arrays, because there may be millions."""

    def __init__(self) -> None:
        self._rows = array("q")

    def __len__(self) -> int:
        return len(self._rows) // 4

    def add(self, row: LeafRow, key: int, stamp_ns: int) -> None:
        """Take in a row; one with pieces missing has no place in the file."""
        self._rows.extend((row.rowid, key, stamp_ns, row.at if row.is_whole else -1))

    def built(self) -> tuple[PositionsBuilder, int, int]:
        """Positions of the whole rows in the order of their numbers, how many make no sense, and how many are missing.

        rosbag2 numbers its rows without gaps, so a gap is a loss.
        """
        table = np.frombuffer(self._rows, np.int64).reshape(-1, 4)
        _, first = np.unique(table[:, 0], return_index=True)
        table = table[first]
        is_whole, is_sound = table[:, 3] >= 0, table[:, 2] >= 0
        missing = int(table[-1, 0] - table[0, 0]) + 1 - len(table) + int(np.count_nonzero(~is_whole))
        builder = PositionsBuilder()
        for _, key, stamp, at in table[is_whole & is_sound].tolist():
            builder.add(stamp, key, 0, at)
        return builder, int(np.count_nonzero(is_whole & ~is_sound)), missing


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Value and the position behind it; big-endian groups of seven bits, the ninth byte whole."""
    value = 0
    for n in range(9):
        byte = data[position + n]
        if n == 8:
            return (value << 8) | byte, position + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, position + n + 1
    raise AssertionError("unreachable")


def _types(header: bytes) -> list[int]:
    _, position = _varint(header, 0)
    types: list[int] = []
    while position < len(header):
        kind, position = _varint(header, position)
        types.append(kind)
    return types


def _bytes_of(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return 8 if kind == 7 else INTEGER_BYTES[kind]


def _columns(payload: bytes, position: int, types: list[int]) -> tuple[Value, ...]:
    values: list[Value] = []
    for kind in types:
        size = _bytes_of(kind)
        part = payload[position : position + size]
        if kind >= 12 and kind % 2 == 0:
            values.append(None)
            break
        if len(part) < size:
            raise ValueError("cut off")
        if kind >= 12:
            values.append(part.decode(errors="replace"))
        elif kind in {8, 9}:
            values.append(kind - 8)
        else:
            values.append(None if kind in {0, 7} else int.from_bytes(part, "big", signed=True))
        position += size
    return tuple(values)
