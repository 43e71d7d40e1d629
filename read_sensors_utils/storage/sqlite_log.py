"""What a killed recorder leaves beside a db3: a write-ahead log or a rollback journal, applied to a temporary copy."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ladle.errors import BagError
from read_sensors_utils.storage.records import Losses

LOG_SUFFIXES = ("-wal", "-journal")


@contextmanager
def settled(path: Path, losses: Losses) -> Iterator[Path]:
    """The file itself, or a temporary copy into which its log is merged. The user's folder stays as it is.

    Raises:
        BagError: no room for the copy.
    """
    logs = [log for suffix in LOG_SUFFIXES if _is_filled(log := path.with_name(path.name + suffix))]
    if not logs:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="ladle-bag-") as folder:
        copy = Path(folder) / path.name
        try:
            for file in (path, *logs):
                shutil.copyfile(file, copy.with_name(file.name))
        except OSError as error:
            raise no_room(path, error) from error
        try:
            with closing(sqlite3.connect(copy)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                database.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.Error as error:
            losses.add(f"the log {logs[0].name} cannot be merged ({error})")
            yield path
        else:
            yield copy


def no_room(path: Path, error: OSError) -> BagError:
    """What to say when a temporary copy of the file cannot be written."""
    if error.errno != errno.ENOSPC:
        return BagError(f"cannot read {path}: {error.strerror or error}; check the file and the rights to read it")
    return BagError(f"no room in {tempfile.gettempdir()} for a temporary copy of {path}; "
                    "free some space or point TMPDIR to a larger disk")


def _is_filled(log: Path) -> bool:
    return log.is_file() and log.stat().st_size > 0
