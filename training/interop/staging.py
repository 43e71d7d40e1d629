"""A target appears whole or not at all, and a disk that refuses is one clear line."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from ladle.atomic import (
    PARTIAL,
    WAIT_FOR_WRITER_S,
    put_file,
    recover_folder,
    replace_folder,
    set_aside,
    staging_folder,
)
from ladle.errors import ReplayBufferError

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
FULL = {"ENOSPC", "EDQUOT", "EFBIG"}
HDF5_ERRNO = re.compile(r"errno = (\d+)")
HDF5_NAME = re.compile(r"name = '([^']+)'")


@contextmanager
def staged(target: Path, *, override: bool, check_old: Callable[[Path], None]) -> Generator[Path, None, None]:
    """Give a path to write to; at the end of the block it takes the place of `target`.

    What a killed run left behind is removed first. An exception leaves an existing target untouched; `check_old` raises
    one when what is there may not be replaced.

    Raises:
        ReplayBufferError: the target exists and may not be replaced, another process writes it, or the disk is full or
            read-only.
    """
    staging = target.with_name(PARTIAL + target.name)
    with disk_errors(target), staging_folder(staging, WAIT_FOR_WRITER_S) as held:
        if not held:
            raise ReplayBufferError(f"{target} is being written by another process; let it finish, or, if its machine "
                                    f"is dead, remove {staging}")
        recover_folder(target)
        if target.exists() and not override:
            raise ReplayBufferError(f"{target} exists; pass --override to replace it, or choose another name")
        if target.exists():
            check_old(target)
        whole = staging / target.name
        yield whole
        _put(whole, target)


def _put(whole: Path, target: Path) -> None:
    """Give a finished file or folder its name."""
    if target.exists() and target.is_dir() != whole.is_dir():
        raise ReplayBufferError(f"{target} is a {'folder' if target.is_dir() else 'file'} and would become the other; "
                                "remove it first, or choose another name")
    if whole.is_dir():
        replace_folder(whole, target)
    else:
        put_file(whole, target)


@contextmanager
def disk_errors(target: Path) -> Generator[None, None, None]:
    """What the disk refuses becomes a ReplayBufferError that names the target, or the file that cannot be read."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = disk_refusal(error)
        if reason is None:
            raise
        source = _source(error, target)
        if source is not None:
            raise ReplayBufferError(f"cannot read {source}: {reason}; check the file and the rights to read it, then "
                                    "run the same command again") from error
        remedy = "free some space" if reason.partition(":")[0] in FULL else "check the rights"
        raise ReplayBufferError(f"cannot write {target}: {reason}; {remedy} or choose another folder, then run the "
                                "same command again") from error


def _source(error: BaseException, target: Path) -> Path | None:
    """The file that could not be read; None when the refusal concerns the target or no file is named."""
    name = getattr(error, "filename", None)
    if name is None and (found := HDF5_NAME.search(str(error))):
        name = found[1]
    if not isinstance(name, str):
        return None
    path, place = Path(name).absolute(), target.absolute()
    written = (place, set_aside(place), place.with_name(PARTIAL + place.name))
    is_written = place.is_relative_to(path) or any(path.is_relative_to(made) for made in written)
    return None if is_written else Path(name)


def disk_refusal(error: BaseException) -> str | None:
    """Why the disk refused, in the system's words; None when the error is of another kind."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := HDF5_ERRNO.search(str(error))):
        number = int(found[1])
    if number == errno.ENOENT and PARTIAL in str(getattr(error, "filename", "")):
        return "ENOENT: nothing can be made there"
    if number in DISK_ERRORS:
        return errno.errorcode[number] + ": " + _words(number)
    return None if error.__context__ is None else disk_refusal(error.__context__)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _words(number: int) -> str:
    return {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "the file may not grow further", errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission denied", errno.EPERM: "permission denied",
            errno.ENOTDIR: "a part of the path is a file"}[number]
