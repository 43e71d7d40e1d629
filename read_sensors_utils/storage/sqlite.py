"""ROS 2's db3 files: SQLite databases of the schema versions of 2019 (Crystal) to today.

Opening reads number, topic and stamp of every row but no message; messages then stream in the order of the rows, or
are looked up one by one where the stamps are not in that order. Nothing is trusted to be whole: a row that cannot be
read is counted, and a file whose tree is broken is read from its leaf pages.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.storage.mcap_records import type_name as full_name
from read_sensors_utils.storage.message_runs import runs_joined
from read_sensors_utils.storage.ordering import ROWS_AT_ONCE, Positions, PositionsBuilder
from read_sensors_utils.storage.records import Channel, Losses, RawMessage
from read_sensors_utils.storage.source import BEGIN_BYTES, LeftBytes
from read_sensors_utils.storage.sqlite_log import settled
from read_sensors_utils.storage.sqlite_pages import FoundRows, LeafRow, SqlitePages
from read_sensors_utils.storage.sqlite_rows import CAN_LEAVE, DatabaseFile, RowPlace, opened_blob, opened_to_read

log = logging.getLogger(__name__)

FORMATS: dict[str, Literal["msg", "idl"]] = {"ros2msg": "msg", "ros2idl": "idl"}
# A damaged schema has names, and SQLite's complaints about it quote them, that are no text.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
LEAST_ROWID = -(2**63)
OUT_OF_ORDER = "its tree leads to the same rows again"  # for SQLite, a page may have many parents


class SqliteStorage:
    """An open db3 file; see records.Storage.

    Raises:
        BagError: not a recording, or nothing in it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses = Losses()
        self.channels: list[Channel] = []
        self._stack = ExitStack()
        self._pages: SqlitePages | None = None
        try:
            plain = self._stack.enter_context(settled(path, self.losses))
            try:
                self._open(plain)
            except DAMAGE as error:
                self._salvage(plain, error)
        except BaseException:
            self._stack.close()
            raise
        self._by_key = {channel.key: channel for channel in self.channels}
        self._is_in_order = bool(np.all(self._positions.offsets[1:] > self._positions.offsets[:-1]))
        self.counts = {channel.key: 0 for channel in self.channels} | self._positions.counts()
        self.backsteps = self._positions.backsteps()
        times = self._positions.times_ns
        self.start_ns, self.end_ns = (int(times.min()), int(times.max())) if len(times) else (0, 0)

    def messages(self, keys: Collection[int] | None = None, left: Collection[int] = (),
                 runs: Collection[int] = ()) -> Iterator[RawMessage]:
        """Messages of the channels (None: all) in order of receipt; equal stamps keep the order of the file.

        Args:
            left: channels of which large messages are left in the file, unless its tree is broken.
            runs: channels of which messages of equal length that follow each other come as one MessageRun, where rows
                are in order.
        """
        rows = self._positions.ordered(keys)
        column = _data_column(left if CAN_LEAVE else ())
        if self._pages is not None:
            yield from self._from_pages(rows, self._pages)
        elif self._is_in_order and bool(np.all(rows[1:] > rows[:-1])):
            yield from runs_joined(self._streamed(rows, keys, column), runs)
        else:
            yield from self._looked_up(rows, column)

    def close(self) -> None:
        """Let go of the file."""
        self._stack.close()

    def _open(self, path: Path) -> None:
        self._file = DatabaseFile.of(path)
        self._database = self._stack.enter_context(closing(opened_to_read(path)))
        self._database.text_factory = lambda data: data.decode(errors="replace")
        tables = {str(name): self._columns(str(name)) for name, in self._database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}
        missing = {"topics", "messages"} - set(tables)
        if missing:
            raise BagError(f"{self.path} is a database but no recording: it has no table "
                           f"{' and '.join(sorted(missing))}; leave it out")
        needed = {"topics": {"id", "name", "type"}, "messages": {"topic_id", "timestamp", "data"}}
        for table, columns in needed.items():
            if not columns <= tables[table]:
                raise BagError(f"{self.path} is no recording of rosbag2: its table {table} has the columns "
                               f"{', '.join(sorted(tables[table]))}; expected {', '.join(sorted(columns))}")
        definitions = self._definitions() if "message_definitions" in tables else {}
        encoding = "serialization_format" if "serialization_format" in tables["topics"] else "'cdr'"
        for _, key, name, type_name, serialization in self._rows(f"id, name, type, {encoding} FROM topics"):
            self._add_channel(key, name, type_name, serialization, definitions)
        self._positions = self._scanned()

    def _columns(self, table: str) -> set[str]:
        rows = self._database.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        return {str(name) for name, in rows}

    def _definitions(self) -> dict[str, tuple[str, str]]:
        rows = self._rows("topic_type, encoding, encoded_message_definition FROM message_definitions")
        return {str(name): (str(encoding), str(text)) for _, name, encoding, text in rows}

    def _rows(self, columns: str) -> Iterator[tuple[Any, ...]]:
        """Row number and columns of a small table, in the order of the numbers.

        Raises:
            sqlite3.DatabaseError: the tree leads to rows again and again.
        """
        last = LEAST_ROWID
        for row in self._database.execute(f"SELECT rowid, {columns} ORDER BY rowid"):
            if row[0] <= last:
                raise sqlite3.DatabaseError(OUT_OF_ORDER)
            last = row[0]
            yield row

    def _add_channel(
        self, key: Any, name: Any, type_name: Any, serialization: Any, definitions: dict[str, tuple[str, str]]
    ) -> None:
        if not (isinstance(key, int) and isinstance(name, str) and isinstance(type_name, str)):
            self.losses.add("a row of the table topics makes no sense")
            return
        if serialization != "cdr":  # listed and counted, never decoded
            self.channels.append(Channel(key, name, f"{full_name(type_name)} ({str(serialization)[:40]})", "cdr"))
            return
        encoding, text = definitions.get(type_name, ("", ""))
        kind: Literal["msg", "idl", "none"] = FORMATS.get(encoding, "none")
        self.channels.append(Channel(key, name, full_name(type_name), "cdr", text if kind != "none" else "", kind))

    def _scanned(self) -> Positions:
        """Number, topic and stamp of all rows, in the order of their numbers; the messages stay on the disk.

        Raises:
            sqlite3.DatabaseError: the tree leads to rows again and again.
        """
        builder = PositionsBuilder()
        cursor = self._database.execute("SELECT rowid, topic_id, timestamp FROM messages ORDER BY rowid")
        senseless, last = 0, LEAST_ROWID
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            numbers = np.array([last, *(row[0] for row in rows)])
            if bool(np.any(numbers[1:] <= numbers[:-1])):
                raise sqlite3.DatabaseError(OUT_OF_ORDER)
            last = int(numbers[-1])
            sound = [row for row in rows if type(row[1]) is int and type(row[2]) is int and row[2] >= 0]
            senseless += len(rows) - len(sound)
            if sound:
                table = np.array(sound, np.int64)
                builder.add_block(table[:, 2], table[:, 1], 0, table[:, 0])
        return self._built(builder, senseless)

    def _built(self, builder: PositionsBuilder, senseless: int) -> Positions:
        positions, strange = builder.build([channel.key for channel in self.channels])
        if senseless:
            self.losses.add("rows have no number or no stamp that makes sense", messages=senseless)
        if strange:
            self.losses.add("messages belong to topics that the file does not list", messages=strange)
        return positions

    def _streamed(self, rows: NDArray[np.int64], keys: Collection[int] | None, column: str) -> Iterator[RawMessage]:
        """Rows in the order of their numbers by one query, taken up again behind each row that cannot be read."""
        numbers = self._positions.offsets[rows]
        wanted = "" if keys is None else f" AND topic_id IN ({', '.join(str(int(key)) for key in keys)})"
        done = 0
        while done < len(numbers):
            query = f"SELECT rowid, topic_id, timestamp, {column} FROM messages WHERE rowid >= ?{wanted} ORDER BY rowid"
            try:
                cursor = self._database.execute(query, (int(numbers[done]),))
                for begin in range(done, len(numbers), ROWS_AT_ONCE):
                    for number in numbers[begin : begin + ROWS_AT_ONCE].tolist():
                        for row in cursor:
                            if row[0] == number:
                                break
                        else:
                            raise sqlite3.DatabaseError("rows are gone")
                        done += 1
                        _, key, stamp, found = row
                        data = found if type(found) is bytes else self._otherwise(number, found)
                        if data is not None:
                            yield RawMessage(self._by_key[key], stamp, data)
                        else:
                            self._lose("a message is no blob")
            except DAMAGE:
                # The cursor reads ahead: the fault may be the next row's.
                yield from self._looked_up(rows[done : done + 1], "data")
                done += 1

    def _looked_up(self, rows: NDArray[np.int64], column: str) -> Iterator[RawMessage]:
        for stamp, key, _, number in self._positions.rows(rows):
            try:
                found = self._one(number, column)
                data = found if type(found) is bytes else self._otherwise(number, found)
            except DAMAGE as error:
                self._lose(str(error))
                continue
            if data is not None:
                yield RawMessage(self._by_key[key], stamp, data)
            else:
                self._lose("a message is no blob")

    def _one(self, number: int, column: str) -> Any:
        found = self._database.execute(f"SELECT {column} FROM messages WHERE rowid = ?", (number,)).fetchone()
        return None if found is None else found[0]

    def _otherwise(self, number: int, found: Any) -> bytes | LeftBytes | None:
        """The message of a row that did not give it itself; None where there is none."""
        if type(found) is not int or not CAN_LEAVE:
            return None
        with suppress(sqlite3.Error), opened_blob(self._database, number) as blob:
            if len(blob) == found:
                return LeftBytes(RowPlace(self._file, number), found, memoryview(blob.read(BEGIN_BYTES)))
        data = self._one(number, "data")
        return data if type(data) is bytes else None

    def _lose(self, reason: str) -> None:
        self.losses.add(f"rows cannot be read ({reason})", messages=1)

    def _salvage(self, path: Path, error: sqlite3.Error | UnicodeDecodeError) -> None:
        """Take topics and positions from the leaf pages."""
        log.debug("%s: %s; its leaf pages are read", self.path, error)
        self._pages = SqlitePages(path)
        self._stack.callback(self._pages.close)
        topics: dict[int, LeafRow] = {}
        definitions: dict[str, tuple[str, str]] = {}
        messages = FoundRows()
        for row in self._pages.rows():
            match row.columns:
                case (None, int(key), int(stamp), None) if row.blob_type:
                    messages.add(row, key, stamp)
                case (None, str(name), str(encoding), str(text), str()) if encoding in FORMATS:
                    definitions[name] = encoding, text
                case (None, str(), str(), str(), *_) if row.rowid not in topics:
                    topics[row.rowid] = row
                case _:
                    pass
        self.channels.clear()
        for key, row in sorted(topics.items()):
            _, name, type_name, serialization, *_ = row.columns
            if serialization == "cdr":
                self._add_channel(key, name, type_name, serialization, definitions)
        if not self.channels or not messages:
            what = "message" if self.channels else "topic"
            raise BagError(f"cannot read {self.path}: {error}; no {what} in it can be found: copy it again from the "
                           "robot, or leave it out") from error
        builder, senseless, missing = messages.built()
        self._positions = self._built(builder, senseless)
        self.losses.add(f"the database is damaged ({error})", messages=missing)

    def _from_pages(self, rows: NDArray[np.int64], pages: SqlitePages) -> Iterator[RawMessage]:
        for stamp, key, _, at in self._positions.rows(rows):
            data = pages.blob(at)
            if data is not None:
                yield RawMessage(self._by_key[key], stamp, data)


def _data_column(left: Collection[int]) -> str:
    """Of a large message of these channels the number of its bytes, of any other the message.

    SQLite knows kind and length of a value without reading it.
    """
    if not left:
        return "data"
    keys = ", ".join(str(int(key)) for key in left)
    return (f"CASE WHEN topic_id IN ({keys}) AND typeof(data) = 'blob' AND length(data) > {BEGIN_BYTES} "
            "THEN length(data) ELSE data END")
