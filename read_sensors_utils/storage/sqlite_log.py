"""What a killed recorder leaves beside a db3: a write-ahead log or a rollback journal, applied to a temporary copy."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from read_sensors_utils.storage.records import Losses
from read_sensors_utils.storage.temporary import no_room, temporary_folder

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
    with temporary_folder(path) as folder:
        copy = folder / path.name
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


def _is_filled(log: Path) -> bool:
    return log.is_file() and log.stat().st_size > 0
