"""Commands in processes that can be killed with all their children; the modules are imported once, by a server.

The server (multiprocessing's fork server) imports and does nothing else, so a process that it forks is as good as a new
one, and a moment within its life is a moment within the work.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from ladle.errors import LadleError
from ladle.script import run_script

MODULES = ("app.cli", "read_sensors_utils.format_data_replay_buffer", "training.real_data_conversion")
GONE_TIMEOUT_S = 5.0
# A worker that is still being imported, which takes seconds on a busy core, learns of its parent's end when it is.
ORPHAN_TIMEOUT_S = 30.0
ERROR_BYTES = 400


@dataclass(frozen=True)
class Command:
    """A script's module and its arguments. log: where its messages go."""

    module: str
    arguments: tuple[str, ...]
    log: Path


def server() -> ForkServerContext:
    """What starts the processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    return context


def run(command: Command) -> float:
    """Run to the end; returns the seconds it took. Raises LadleError when it fails."""
    started_s = time.monotonic()
    process = start(command)
    try:
        process.join()
    finally:
        kill(process)
    _expect_success(process.exitcode, command)
    return time.monotonic() - started_s


def run_and_kill(command: Command, after_s: float, *, parent_only: bool = False) -> bool:
    """Start, kill the whole process group after a while, wait until it is gone; False when the run ended before.

    Args:
        parent_only: kill the process that was started alone; its children must then end by themselves.

    Raises:
        LadleError: it ended and failed, or a child outlived it.
    """
    process = start(command)
    try:
        process.join(after_s)
        exit_code = process.exitcode
        if parent_only and exit_code is None:
            process.kill()
            process.join()
            expect_no_child(process, command)
    finally:
        kill(process)
    if exit_code is not None:
        _expect_success(exit_code, command)
    return exit_code is None


def expect_no_child(process: ForkServerProcess, command: Command) -> None:
    """Raise LadleError where processes that a killed one started live on."""
    assert process.pid is not None
    end_s = time.monotonic() + ORPHAN_TIMEOUT_S
    while left := _alive_in_group(process.pid):
        if time.monotonic() > end_s:
            raise LadleError(f"{len(left)} processes of {command.module} outlived it by {ORPHAN_TIMEOUT_S:g} s")
        time.sleep(0.01)


def _alive_in_group(group: int) -> list[int]:
    """Processes of a group that are no zombies: state and group are the fields after the name in /proc/N/stat."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(int(path.parent.name))
    return found


def _expect_success(exit_code: int | None, command: Command) -> None:
    if exit_code != 0:
        raise LadleError(f"{command.module} ended with {exit_code}: "
                         f"{command.log.read_text(errors='replace')[-ERROR_BYTES:]}")


def start(command: Command) -> ForkServerProcess:
    """A process with a group of its own."""
    process = server().Process(target=_main, args=(command,))
    process.start()
    return process


def _main(command: Command) -> None:
    """In the new process."""
    os.setsid()
    with command.log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [command.module, *command.arguments]
    run_script(importlib.import_module(command.module).main)


def kill(process: ForkServerProcess) -> None:
    """Leave nothing of a process and its children."""
    group = process.pid
    assert group is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    if process.exitcode is None:
        process.kill()  # it may not have had a group of its own yet
    process.join()
    end_s = time.monotonic() + GONE_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end_s:  # one that was killed may still hold a file for a moment
            os.killpg(group, 0)
            time.sleep(0.01)
