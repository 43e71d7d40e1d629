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
import secrets
import shutil
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from ladle.owner import Owner

AT_FDCWD = -100  # <fcntl.h>
RENAME_EXCHANGE = 2  # <linux/fs.h>, renameat2(2)
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
LOCK_POLL_S = 0.02
WAIT_FOR_WRITER_S = 5.0  # a killed parent's worker notices within milliseconds; moving a result into place takes less
PARTIAL = ".partial-"  # what is being written, or was left by a kill: worth nothing
SET_ASIDE = ".old-"
TOKEN_BYTES = 4


@contextmanager
def replace_file(path: Path) -> Generator[Path, None, None]:
    """Give a sibling to write to; at the end of the block it is flushed to disk and takes the place of `path`.

    Every writer has a sibling of its own: of two, the later one's file stays. An exception leaves an existing file
    untouched and removes the sibling; what a kill left is removed by the next writer of the same file.
    """
    remove_unfinished(path)
    partial = path.with_name(f"{PARTIAL}{secrets.token_hex(TOKEN_BYTES)}-{path.name}")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _try_lock(descriptor)
        yield partial
        put_file(partial, path)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def put_file(whole: Path, path: Path) -> None:
    """Flush a finished file and give it the name `path`, on the same file system."""
    flush(whole)
    whole.replace(path)
    flush(path.parent)


def remove_unfinished(path: Path) -> None:
    """Remove the siblings that killed writers of a file left; those that are being written stay."""
    for sibling in _siblings(path):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(sibling, os.O_RDWR)
            try:
                if _try_lock(descriptor):
                    sibling.unlink()
            finally:
                os.close(descriptor)


def _siblings(path: Path) -> Iterator[Path]:
    end = f"-{path.name}"
    length = len(PARTIAL) + 2 * TOKEN_BYTES + len(end)
    for entry in path.parent.iterdir():
        if len(entry.name) == length and entry.name.startswith(PARTIAL) and entry.name.endswith(end):
            yield entry


def flush_tree(folder: Path) -> None:
    """Put every file below the folder on the disk, and the names of them all."""
    for path in folder.rglob("*"):
        if not path.is_symlink():
            flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Put a file on the disk, or the names in a folder: what was renamed into it stays there when the power goes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(new: Path, path: Path) -> None:
    """Put a finished folder in the place of `path`, which may exist: at every moment one of the two is there, whole.

    Both lie on one file system; a link at `path` stays and what it points to is replaced, so give `real_path(path)` to
    stage beside it. What was at `path` is then removed. Where the file system cannot exchange two names (NFS), the old
    folder lies for an instant at `set_aside(path)` only, where `recover_folder` finds it.
    """
    path = real_path(path)
    flush_tree(new)
    if not path.exists():
        new.rename(path)
    elif _exchange(new, path):
        flush(path.parent)
        shutil.rmtree(new)
    else:
        aside = set_aside(path)
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        new.rename(path)
        flush(path.parent)
        shutil.rmtree(aside)
    flush(path.parent)


def real_path(path: Path) -> Path:
    """Where a path leads if it is a link, else the path as it is."""
    return path.resolve() if path.is_symlink() else path


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
    anything, and NFS knows locks of folders within one machine only; `claimed_folder` heeds both.
    """
    descriptor = _wait_for_lock(folder, wait_s)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def claimed_folder(folder: Path, wait_s: float, *, foreign_too: bool = False) -> Generator[bool, None, None]:
    """As `locked_folder`; False also when the process that stages in the folder may live where the lock does not reach.

    Args:
        foreign_too: claim what a process on another machine has, too; nobody can tell whether that one lives.
    """
    descriptor = _wait_for_lock(folder, wait_s)
    if descriptor is None:
        yield False
        return
    try:
        owner = Owner.of(folder)
        has_lock = _try_lock(descriptor) is True  # again, now to learn whether there are locks
        yield owner is None or not owner.may_live(is_locked=has_lock, foreign_too=foreign_too)
    finally:
        os.close(descriptor)


@contextmanager
def staging_folder(folder: Path, wait_s: float) -> Generator[bool, None, None]:
    """Hold an empty folder to stage in, with the name of this process; removed at the end unless it was renamed.

    Yields False, and touches nothing, when another process stages there, or may do so on another machine.
    """
    with claimed_folder(folder, wait_s) as mine:
        if not mine or not _owned(folder):
            yield False
            return
        staged = folder.stat()  # held open, so no other folder gets its inode
        try:
            yield True
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(staged, folder.stat()):  # else it was renamed, and the name is the next writer's
                    shutil.rmtree(folder, ignore_errors=True)


def _owned(folder: Path) -> bool:
    """Empty a claimed folder and write this process' name into it; False when another one was faster, without locks."""
    try:
        _empty(folder)
        Owner.this().write(folder)
    except (FileExistsError, FileNotFoundError):
        return False
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return True


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def _wait_for_lock(folder: Path, wait_s: float) -> int | None:
    """A descriptor that holds the lock of the folder; None when another process has it for longer than wait_s."""
    end_s = time.monotonic() + wait_s
    while (descriptor := _lock(folder)) is None:
        if time.monotonic() >= end_s:
            return None
        time.sleep(LOCK_POLL_S)
    return descriptor


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of the folder which bears this name now; None when another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    except FileExistsError:
        # Or its holder removed it between mkdir's refusal and mkdir's look at what is there.
        if _is_no_folder(folder):
            raise
        return None
    try:
        if _try_lock(descriptor) is not False and _is_at(descriptor, folder):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)  # another process has it, or removed or renamed it while we waited
    return None


def _is_no_folder(path: Path) -> bool:
    """Whether something else bears the name; in one look, for between two a folder may come or go."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool | None:
    """Whether this process now holds the lock of an open file; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in CANNOT_LOCK:
            return None
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


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
