"""Where a simulated controller in another process meets the simulated arm: a Unix socket, one request a step.

The arm's side asks for the set-points of the next control cycles; the controller's side answers with them. Frames
are a JSON header and an array's bytes, so nothing that arrives is executed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ladle.errors import SimulationError

CONNECT_TIMEOUT_S = 60.0
# A controller may have to wait for a trajectory that a slow policy has not sent yet.
ANSWER_TIMEOUT_S = 300.0

Floats = NDArray[np.float64]


class ControllerGoneError(SimulationError):
    """The controller's process has ended."""


@dataclass(frozen=True)
class SetpointRequest:
    """What the controller is asked.

    Attributes:
        kind: "reset" (hold the measured position) or "setpoints".
        first_ns: time of the first cycle.
        cycles: how many set-points, 1 ms apart.
        trajectories: how many trajectories since the reset must have come before it may answer; -1: do not wait.
        measured_rad, measured_rad_s: the arm's state now, one entry per joint.
    """

    kind: str
    first_ns: int
    cycles: int
    trajectories: int
    measured_rad: tuple[float, ...]
    measured_rad_s: tuple[float, ...]

    def times_s(self, cycle_s: float) -> Floats:
        """Times of the cycles (cycles,) in seconds."""
        return self.first_ns * 1e-9 + np.arange(self.cycles, dtype=np.float64) * cycle_s


class ArmEnd:
    """The arm's side: listens, then asks."""

    def __init__(self, socket_path: str) -> None:
        """Listen at the path; a socket left there by a killed process is taken over."""
        Path(socket_path).unlink(missing_ok=True)
        self._path = socket_path
        self._listener = Listener(socket_path, family="AF_UNIX")
        Path(socket_path).chmod(0o600)
        self._connection: Connection | None = None

    def accept(self) -> None:
        """Wait for the controller. Raises SimulationError when none comes."""
        if not self._accepted_within(CONNECT_TIMEOUT_S):
            raise SimulationError(f"no controller has connected to {self._path} within {CONNECT_TIMEOUT_S:.0f} s; "
                                  "start ladle_nodes jtc_node with the same arm_socket")

    def accept_waiting(self) -> bool:
        """Take a controller that is there already, without waiting for one; whether there was one."""
        return self._accepted_within(0.0)

    def ask(self, request: SetpointRequest) -> Floats:
        """Set-points (cycles, n) rad; (0, n) for a reset. Raises ControllerGoneError when it has died."""
        assert self._connection is not None, "accept() first"
        try:
            self._connection.send_bytes(json.dumps(asdict(request)).encode())
            if not self._connection.poll(ANSWER_TIMEOUT_S):
                raise SimulationError(f"the controller has not answered for {ANSWER_TIMEOUT_S:.0f} s")
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            self._connection.close()
            raise ControllerGoneError("the controller's process ended; the arm holds") from error
        return np.frombuffer(answer, np.float64).reshape(-1, len(request.measured_rad))

    def _accepted_within(self, timeout_s: float) -> bool:
        # Listener has no timeout of its own; its socket does.
        self._listener._listener._socket.settimeout(timeout_s)  # type: ignore[attr-defined]
        try:
            self._connection = self._listener.accept()  # type: ignore[assignment]
        except (TimeoutError, BlockingIOError):
            return False
        return True

    def close(self) -> None:
        """Hang up and remove the socket."""
        if self._connection is not None:
            self._connection.close()
        self._listener.close()


def answer_requests(socket_path: str, answer: Callable[[SetpointRequest], Floats]) -> None:
    """The controller's side: connect, then answer until the arm hangs up.

    Raises:
        SimulationError: no arm listens at the path.
    """
    connection = _connect(socket_path)
    with connection, suppress(EOFError, ConnectionError):
        while True:
            fields = json.loads(connection.recv_bytes())
            request = SetpointRequest(**{**fields, "measured_rad": tuple(fields["measured_rad"]),
                                         "measured_rad_s": tuple(fields["measured_rad_s"])})
            connection.send_bytes(np.ascontiguousarray(answer(request), np.float64).tobytes())


def _connect(socket_path: str) -> Connection:
    until_s = time.monotonic() + CONNECT_TIMEOUT_S
    while time.monotonic() < until_s:
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(socket_path, family="AF_UNIX")  # type: ignore[return-value]
        time.sleep(0.05)
    raise SimulationError(f"no simulated arm listens at {socket_path}; "
                          "start ladle_nodes simulator_node with the same arm_socket")
