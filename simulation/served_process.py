"""A process of the served simulator: started by module name, asked over a private socket pair.

The child is `python -m <module> <file descriptor>`; it answers requests until the parent closes its end, so it ends
with the parent even when that is killed.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from ladle.errors import LadleError, SimulationError

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


class ServedProcess:
    """The parent's end: calls by name, answers in order."""

    def __init__(self, module: str) -> None:
        """Start `python -m module`. Raises SimulationError when it does not come up."""
        self.module = module
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen([sys.executable, "-m", module, str(descriptor)], pass_fds=[descriptor])
        self._connection = Connection(ours.detach())
        if not self._connection.poll(START_TIMEOUT_S):
            self.close()
            raise SimulationError(f"{module} did not start within {START_TIMEOUT_S:.0f} s")
        self.receive()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def call(self, name: str, *arguments: Any) -> Any:
        """Call the child's operation and wait for its result; its errors are raised here."""
        self.send(name, *arguments)
        return self.receive()

    def send(self, name: str, *arguments: Any) -> None:
        """Ask without waiting; every `send` needs its `receive`, in the same order."""
        try:
            self._connection.send((name, arguments))
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        """The oldest answer that has not been taken."""
        try:
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if kind == "user_error":
            raise SimulationError(value)
        if kind == "bug":
            raise RuntimeError(f"in {self.module}:\n{value}")
        return value

    def close(self) -> None:
        """Let the child end; end it when it does not."""
        self._connection.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end by itself; killing it", self.module)
            self._process.kill()
            self._process.wait()

    def _ended(self) -> SimulationError:
        code = self._process.poll()
        return SimulationError(f"{self.module} ended (exit code {code}) while the simulator ran; see its output above")


def serve(operations: Mapping[str, Callable[..., Any]]) -> None:
    """The child's end: answer calls until the parent is gone. argv[1] is the socket's descriptor."""
    # Ctrl-C reaches the whole process group; this process ends when its parent closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    connection.send(("value", None))
    while True:
        try:
            name, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = ("value", operations[name](*arguments))
        except LadleError as error:
            answer = ("user_error", str(error))
        except Exception:
            answer = ("bug", traceback.format_exc())
        try:
            connection.send(answer)
        except OSError:
            return
