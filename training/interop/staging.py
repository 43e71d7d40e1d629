"""A target appears whole or not at all, and a disk that refuses is one clear line."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ladle.atomic import flush_folder, locked_folder, recover_folder, replace_folder
from ladle.errors import ReplayBufferError

PARTIAL = ".partial-"
WAIT_FOR_WRITER_S = 5.0
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
HDF5_ERRNO = re.compile(r"errno = (\d+)")


@contextmanager
def staged(target: Path, *, override: bool) -> Generator[Path, None, None]:
    """Give a path to write to; at the end of the block it takes the place of `target`.

    What a killed run left behind is removed first. An exception leaves an existing target untouched.

    Raises:
        ReplayBufferError: the target exists and may not be replaced, another process writes it, or the disk is full or
            read-only.
    """
    staging = target.with_name(PARTIAL + target.name)
    with disk_errors(target), locked_folder(staging, WAIT_FOR_WRITER_S) as held:
        if not held:
            raise ReplayBufferError(f"{target} is being written by another process; let it finish")
        try:
            recover_folder(target)
            if target.exists() and not override:
                raise ReplayBufferError(f"{target} exists; pass --override to replace it, or choose another name")
            for left in staging.iterdir():
                remove(left)
            whole = staging / target.name
            yield whole
            _put(whole, target)
        finally:
            remove(staging)


def _put(whole: Path, target: Path) -> None:
    """Give a finished file or folder its name."""
    if target.exists() and target.is_dir() != whole.is_dir():
        raise ReplayBufferError(f"{target} is a {'folder' if target.is_dir() else 'file'} and would become the other; "
                                "remove it first, or choose another name")
    if whole.is_dir():
        replace_folder(whole, target)
        return
    with whole.open("rb") as file:
        os.fsync(file.fileno())
    whole.replace(target)
    flush_folder(target.parent)


@contextmanager
def disk_errors(target: Path) -> Generator[None, None, None]:
    """A full disk, a read-only folder or a missing permission becomes a ReplayBufferError that names the target."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = disk_refusal(error)
        if reason is None:
            raise
        raise ReplayBufferError(f"cannot write {target}: {reason}; free some space or choose another folder, then run "
                                "the same command again") from error


def disk_refusal(error: BaseException) -> str | None:
    """Why the disk refused, in the system's words; None when the error is of another kind."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := HDF5_ERRNO.search(str(error))):
        number = int(found[1])
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
