"""Files and folders appear whole or not at all: after a kill at any moment, and after a loss of power.

A rename is atomic, but only what was flushed before it is on the disk when the power goes; so contents come first, the
rename second, the folder that holds the name third.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

AT_FDCWD = -100  # <fcntl.h>
RENAME_EXCHANGE = 2  # <linux/fs.h>, renameat2(2)
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
LOCK_POLL_S = 0.02
SET_ASIDE = ".old-"


@contextmanager
def replace_file(path: Path) -> Generator[Path, None, None]:
    """Give a sibling to write to; at the end of the block it is flushed to disk and takes the place of `path`.

    An exception leaves an existing file untouched and removes the sibling.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
        flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush_tree(folder: Path) -> None:
    """Put every file below the folder on the disk, and the names of them all."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            _flush(path)
    _flush(folder)


def flush_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: what was renamed into it stays there when the power goes."""
    _flush(folder)


def replace_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of `path`, which may exist: at every moment one of the two is there, whole.

    Both lie on one file system. What was at `path` is then removed. Where the file system cannot exchange two names
    (NFS), the old folder lies for an instant at `set_aside(path)` only, where `recover_folder` finds it.
    """
    flush_tree(new)
    if not path.exists():
        new.rename(path)
    elif _exchange(new, path):
        flush_folder(path.parent)
        shutil.rmtree(new)
    else:
        aside = set_aside(path)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        new.rename(path)
        flush_folder(path.parent)
        shutil.rmtree(aside)
    flush_folder(path.parent)


def set_aside(path: Path) -> Path:
    """Where `replace_folder` keeps the old folder when two names cannot be exchanged."""
    return path.with_name(f"{SET_ASIDE}{path.name}")


def recover_folder(path: Path) -> bool:
    """Undo a replacement that a kill cut in two; whether there was one. What was set aside is gone afterwards."""
    aside = set_aside(path)
    if not aside.is_dir():
        return False
    if path.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(path)
    return True


@contextmanager
def locked_folder(folder: Path, wait_s: float) -> Generator[bool, None, None]:
    """Make the folder and hold it against other processes; False when another one holds it for longer than wait_s.

    The lock goes with the process, however that ends, and leaves no file. On a file system without locks nobody holds
    anything.
    """
    end_s = time.monotonic() + wait_s
    while (descriptor := _lock(folder)) is None:
        if time.monotonic() >= end_s:
            yield False
            return
        time.sleep(LOCK_POLL_S)
    try:
        yield True
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of the folder which bears this name now; None when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in CANNOT_LOCK:
            return descriptor
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    os.close(descriptor)  # its holder removed or renamed it while we waited
    return None


def _exchange(one: Path, two: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(two))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
