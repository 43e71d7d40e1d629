"""Files that were compressed as a whole (.db3.zstd, .mcap.zstd): unpacked piece by piece into a temporary file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ladle.errors import BagError
from read_sensors_utils.storage.decompress import STEP_BYTES, zstd
from read_sensors_utils.storage.records import Losses
from read_sensors_utils.storage.temporary import no_room, temporary_folder

SUFFIX = ".zstd"
KEPT_FREE_SHARE = 0.05  # of the free space: other programs write there too


@contextmanager
def unpacked(path: Path, losses: Losses) -> Iterator[Path]:
    """The file itself, or a temporary file with what it holds; of a cut-off file what there is.

    Raises:
        BagError: nothing can be unpacked, or there is no room for it.
    """
    if path.suffix != SUFFIX:
        yield path
        return
    with temporary_folder(path) as folder:
        target = folder / path.stem
        try:
            damage = _unpack(path, target)
        except OSError as error:
            raise no_room(path, error) from error
        if damage and target.stat().st_size == 0:
            raise BagError(f"cannot unpack {path}: it {damage}; copy it again from the robot or leave it out")
        if damage:
            losses.add(f"the compressed file {damage}")
        yield target


def _unpack(path: Path, target: Path) -> str:
    """Write what can be unpacked; returns what is wrong with the file, "" if nothing is."""
    room = int(shutil.disk_usage(target.parent).free * (1 - KEPT_FREE_SHARE))
    with path.open("rb") as packed, target.open("wb") as plain:
        try:
            for piece in _pieces(packed):
                room -= len(piece)
                if room < 0:
                    raise BagError(f"{path} unpacks to more than fits into {tempfile.gettempdir()}; "
                                   "free some space or point TMPDIR to a larger disk")
                plain.write(piece)
        except EOFError:
            return f"is cut off after {plain.tell()} unpacked bytes"
        except zstd.ZstdError as error:
            return f"is damaged after {plain.tell()} unpacked bytes ({error})"
    return ""


def _pieces(packed: BinaryIO) -> Iterator[bytes]:
    """What the frames hold, at most STEP_BYTES at a time; EOFError when the last one is not complete."""
    machine = zstd.ZstdDecompressor()
    is_inside = False
    while data := packed.read(STEP_BYTES):
        while data or not machine.needs_input:
            yield machine.decompress(data, max_length=STEP_BYTES)
            is_inside = not machine.eof
            data = b"" if is_inside else machine.unused_data
            if machine.eof:
                machine = zstd.ZstdDecompressor()
    if is_inside:
        raise EOFError
