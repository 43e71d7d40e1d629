"""Temporary copies of recordings, which may be large: what a kill leaves of them goes with the next copy."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ladle.atomic import WAIT_FOR_WRITER_S, claimed_folder, staging_folder
from ladle.errors import BagError

PREFIX = "ladle-bag-"


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A folder for a copy of the file, removed at the end of the block, or, after a kill, by the next one.

    Raises:
        BagError: no folder can be made.
    """
    with ExitStack() as stack:
        try:
            _remove_left()
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            mine = stack.enter_context(staging_folder(folder, WAIT_FOR_WRITER_S))
        except OSError as error:
            raise no_room(path, error) from error
        if not mine:
            raise BagError(f"cannot copy {path}: another process holds {folder}; try again")
        yield folder


def no_room(path: Path, error: OSError) -> BagError:
    """What to say when a temporary copy of the file cannot be written."""
    if error.errno != errno.ENOSPC:
        return BagError(f"cannot read {path}: {error.strerror or error}; check the file and the rights to read it")
    return BagError(f"no room in {tempfile.gettempdir()} for a temporary copy of {path}; "
                    "free some space or point TMPDIR to a larger disk")


def _remove_left() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), claimed_folder(left, 0.0) as mine:
            if mine:
                shutil.rmtree(left, ignore_errors=True)
