"""Messages that stay in their rows of a db3 until the process that needs them reads them."""

from __future__ import annotations

import os
import sqlite3
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ladle.errors import LadleError

CAN_LEAVE = hasattr(sqlite3.Connection, "blobopen")  # from Python 3.11 on
MAX_OPEN = 4  # databases at once in a process that reads rows


_OPENINGS = count()


class LeftRowError(LadleError):
    """A row that was left in the file cannot be read: the recording is to be read without leaving any."""


class DatabaseFile(NamedTuple):
    """A database as it was when the recording was opened for the n-th time in this process."""

    path: Path
    state: tuple[int, int, int]
    opening: int

    @classmethod
    def of(cls, path: Path) -> DatabaseFile:
        """The file of that path now. Raises OSError."""
        return cls(path, _state(path), next(_OPENINGS))


class RowPlace(NamedTuple):
    """The message of one row."""

    file: DatabaseFile
    rowid: int

    def read(self, at: int, size: int) -> bytes:
        """So many bytes, from the at-th on. Raises LeftRowError."""
        try:
            return _blob_part(_opened(self.file, os.getpid()), self.rowid, at, size)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise LeftRowError(f"row {self.rowid} of {self.file.path} cannot be read: {error}") from error


def opened_to_read(path: Path) -> sqlite3.Connection:
    """The database. It is immutable: neither a lock nor a -shm file is made or heeded, so a read-only folder does."""
    address = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def opened_blob(database: Any, rowid: int) -> Any:
    """The message of a row, as a file to read parts of; only where CAN_LEAVE. Raises sqlite3.Error."""
    return database.blobopen("messages", "data", rowid, readonly=True)


def _blob_part(database: sqlite3.Connection, rowid: int, at: int, size: int) -> bytes:
    with opened_blob(database, rowid) as blob:
        blob.seek(at)
        part = blob.read(size)
    if len(part) != size:
        raise ValueError(f"it holds {at + len(part)} bytes instead of {at + size}")
    return part


@lru_cache(maxsize=MAX_OPEN)
def _opened(file: DatabaseFile, _process: int) -> sqlite3.Connection:
    """A connection of this process alone: SQLite's do not survive a fork."""
    database = opened_to_read(file.path)
    database.execute("PRAGMA cache_size = 1")  # pages: a picture's are read once, and kept they displace the picture
    database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file
    if _state(file.path) != file.state:
        raise ValueError("the file was exchanged or is being written to")
    return database


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
