"""Child processes that end with us, in order, and leave nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from ladle.parent_death import end_when_parent_dies

log = logging.getLogger("ladle.up")

INTERRUPT_PATIENCE_S = 30.0
TERMINATE_PATIENCE_S = 3.0
POLL_S = 0.02
SHARED_MEMORY = Path("/dev/shm")
# A process that starts creates its segment and maps it a moment later.
BEING_BORN_S = 0.5


class ChildProcess:
    """One started process with its name and, if wanted, its log file."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str],
                 log_path: Path | None) -> None:
        self.name, self.log_path = name, log_path
        output = log_path.open("wb") if log_path is not None else None
        try:
            # An own session: Ctrl-C in a terminal reaches us alone, and we end the children in order.
            self._process = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT if output is not None else None, start_new_session=True,
                preexec_fn=end_with_parent)
        finally:
            if output is not None:
                output.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within the time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Signal the process alone; its own children end with it."""
        if self.exit_code is None:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """The last line that it wrote to its log."""
        if self.log_path is None or not self.log_path.is_file():
            return ""
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def stop(children: Sequence[ChildProcess]) -> bool:
    """End processes one after the other, gently first; True when none had to be killed."""
    gentle = True
    for child in children:
        if child.exit_code is not None:
            continue
        child.send(signal.SIGINT)
        if child.wait(INTERRUPT_PATIENCE_S):
            continue
        child.send(signal.SIGTERM)
        if not child.wait(TERMINATE_PATIENCE_S):
            log.warning("%s does not end; killing it", child.name)
            child.send(signal.SIGKILL)
            child.wait(TERMINATE_PATIENCE_S)
            gentle = False
    return gentle


def wait_for_any(children: Sequence[ChildProcess], timeout_s: float) -> ChildProcess | None:
    """The first that ends within the time, or None."""
    until_s = time.monotonic() + timeout_s
    while True:
        ended = next((child for child in children if child.exit_code is not None), None)
        if ended is not None or time.monotonic() >= until_s:
            return ended
        time.sleep(POLL_S)


def remove_orphaned_shared_memory(created_since_s: float) -> None:
    """Fast DDS segments that a killed process left: newer than the run, ours, and mapped by no process any more.

    Args:
        created_since_s: wall-clock time (seconds since the epoch) of the run's start.
    """
    if not SHARED_MEMORY.is_dir():
        return
    mapped = _mapped_paths()
    for path in [*SHARED_MEMORY.glob("fastdds_*"), *SHARED_MEMORY.glob("sem.fastdds_*")]:
        with suppress(FileNotFoundError):
            status = path.stat()
            is_of_this_run = created_since_s <= status.st_ctime <= time.time() - BEING_BORN_S
            if status.st_uid == os.getuid() and is_of_this_run and str(path) not in mapped:
                path.unlink()


@contextmanager
def interrupted_by_sigterm() -> Generator[None, None, None]:
    """SIGTERM ends the block as Ctrl-C does; by default it would skip the clean-up. Only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _mapped_paths() -> set[str]:
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text()
        except OSError:
            continue
        found |= {line.split(maxsplit=5)[5] for line in text.splitlines() if f"{SHARED_MEMORY}/" in line}
    return found


def end_with_parent() -> None:
    """In the child before exec: SIGINT works, and SIGTERM comes when the parent dies, even by SIGKILL.

    A shell starts a background command (`ladle up &`) with SIGINT ignored, and its children would inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_when_parent_dies(signal.SIGTERM)
