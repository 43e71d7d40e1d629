"""Who stages in a folder, written into it: locks do not reach beyond one machine, and some file systems have none."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

OWNER_FILE = ".owner"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5); containers of one machine share it
START_FIELD = 19  # of /proc/<pid>/stat behind the name in parentheses: the start in ticks after boot, proc(5)


@dataclass(frozen=True)
class Owner:
    """A process. host: its machine's or container's name; boot: the machine's start; started: when it began, in ticks
    after that.
    """

    host: str
    boot: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Owner:
        """The process that asks."""
        return cls(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()))

    @classmethod
    def of(cls, folder: Path) -> Owner | None:
        """Who wrote its name into the folder; None when nobody did or it cannot be read."""
        try:
            return cls(**json.loads((folder / OWNER_FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write the name into a folder that nobody has."""
        with (folder / OWNER_FILE).open("x") as file:
            json.dump(asdict(self), file)

    def may_live(self, *, is_locked: bool, foreign_too: bool) -> bool:
        """Whether it may still be at work.

        Args:
            is_locked: the asking process holds the folder's lock, so on this machine nobody else is at work.
            foreign_too: count a process on another machine as dead.
        """
        this = Owner.this()
        if self.boot == this.boot and is_locked:
            return False
        if self.host != this.host:
            return not foreign_too
        return self.boot == this.boot and self.started == _started(self.pid)


def _boot() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_FIELD]
    except (OSError, IndexError):
        return ""
