"""From a file to its reader: what the file begins with decides, whatever its name."""

from __future__ import annotations

from pathlib import Path

from ladle.errors import BagError
from read_sensors_utils.storage import mcap_records, ros1_records
from read_sensors_utils.storage.mcap import McapStorage
from read_sensors_utils.storage.records import Storage
from read_sensors_utils.storage.ros1 import Ros1Storage
from read_sensors_utils.storage.sqlite import SqliteStorage

SQLITE_MAGIC = b"SQLite format 3\0"
KINDS = ".mcap, .db3 or .bag"


def open_storage(path: Path) -> Storage:
    """Open one file of a recording.

    Raises:
        BagError: empty, not a recording, or nothing in it can be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise BagError(f"cannot open {path}: {error.strerror}; check the path and the rights to read it") from error
    if not magic:
        raise BagError(f"{path} is empty (0 bytes): nothing was recorded, or a copy failed; delete it or copy it again")
    if magic.startswith(mcap_records.MAGIC_START):
        return McapStorage(path)
    if magic.startswith(ros1_records.MAGIC_START):
        return Ros1Storage(path)
    if magic == SQLITE_MAGIC or path.suffix == ".db3":  # the rows of a db3 are found without its head too
        return SqliteStorage(path)
    raise BagError(f"{path} is not a recording ({KINDS}): it begins with {magic[:8]!r}; leave it out, "
                   "or copy it again if it was one")
