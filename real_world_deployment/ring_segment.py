"""Names, locks and leftovers of shared-memory segments.

A segment is a file in /dev/shm, which is what multiprocessing.shared_memory makes as well; but its resource tracker
removes, up to Python 3.12, a segment as soon as any process that looked at it ends. Here a lock says who is alive: the
writer holds it as long as it lives, the kernel lets go of it when the writer dies in whatever way.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from ladle.errors import DeploymentError, ObservationError
from real_world_deployment.ring_layout import COUNT_AT, RingLayout

FOLDER = Path("/dev/shm")
NAME = re.compile(r"[a-z0-9_.-]{1,80}")
PARTIAL = "partial-"
ATTEMPTS = 100


def segment_path(name: str) -> Path:
    """Where the segment of a ring lies. Raises ObservationError for a name that is not short and plain."""
    if not NAME.fullmatch(name):
        raise ObservationError(f"ring name {name!r}; use 1 to 80 of a-z 0-9 _ . -")
    return FOLDER / f"{_prefix()}{name}"


def claim_segment(name: str, layout: RingLayout) -> int:
    """A descriptor of the segment, locked for us: the one that a dead writer left if it has our layout, else a new one.

    Raises:
        ObservationError: a living process writes to it, or /dev/shm has no room.
    """
    path = segment_path(name)
    for _ in range(ATTEMPTS):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            made = _create(path, layout, replace=False)
            if made is not None:
                return made
            continue
        if not _lock(descriptor):
            os.close(descriptor)
            raise ObservationError(f"ring {name!r} has a writer already; end that process, or give another name")
        if not _is_at(descriptor, path):  # cleaned away between opening and locking
            os.close(descriptor)
            continue
        if layout_of(descriptor) == layout:
            return descriptor
        made = _create(path, layout, replace=True)
        os.close(descriptor)
        if made is not None:
            return made
    raise DeploymentError(f"ring {name!r} appears and vanishes; does something else clean {FOLDER}?")


def layout_of(descriptor: int) -> RingLayout | None:
    """What the head says; None where it is not whole, or the file is shorter than it should be."""
    layout = RingLayout.from_head(os.pread(descriptor, COUNT_AT, 0))
    return layout if layout is not None and os.fstat(descriptor).st_size == layout.total_bytes else None


def remove_stale_segments() -> list[str]:
    """Remove our segments whose writers are dead, and return their names; readers keep what they have mapped."""
    removed: list[str] = []
    for path in sorted(FOLDER.glob(f"{_prefix()}*")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        if _lock(descriptor) and _is_at(descriptor, path):
            path.unlink(missing_ok=True)
            removed.append(path.name.removeprefix(_prefix()))
        os.close(descriptor)
    return removed


def release_segment(name: str, descriptor: int, *, unlink: bool) -> None:
    """End of a writer. The lock is let go by hand: a mapping keeps the descriptor open behind our back."""
    if unlink:
        segment_path(name).unlink(missing_ok=True)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_current(inode: int, path: Path) -> bool:
    """Whether the mapped segment is still the one with the name; True also where the name is gone."""
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return True


def _prefix() -> str:
    return f"ladle-{os.getuid()}-"


def _create(path: Path, layout: RingLayout, *, replace: bool) -> int | None:
    """A new segment, whole and locked before it has its name; None if another one was faster."""
    partial = path.with_name(f"{_prefix()}{PARTIAL}{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(descriptor):  # somebody cleans, and takes it for a leftover
            raise FileNotFoundError(partial)
        # Without the room set aside, writing to the mapping would kill us with SIGBUS.
        os.posix_fallocate(descriptor, 0, layout.total_bytes)
        os.pwrite(descriptor, layout.to_head(), 0)
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)
    except (FileExistsError, FileNotFoundError):
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.ENOSPC:
            raise ObservationError(f"{FOLDER} has no room for {layout.total_bytes / 1e6:.1f} MB of ring "
                                   f"{path.name!r}; enlarge it (docker: --shm-size) or remove what fills it") from error
        raise
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
