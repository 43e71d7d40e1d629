"""Where the simulated arm gets its set-points from: the JTC's process, or a topic of raw set-points."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from ladle_nodes.lockstep import DEPTH
from ladle_nodes.process import Spinner
from ladle_nodes.qos import reliable
from simulation.served_link import ArmEnd, SetpointRequest
from simulation.served_state import ArmState

Floats = NDArray[np.float64]
SETPOINT_TIMEOUT_S = 60.0
STREAM_PATIENCE_S = 0.5


class SetpointSource(Protocol):
    """What drives the arm."""

    def connect(self) -> None:
        """Wait until the controller is there."""
        ...

    def found(self) -> bool:
        """After a ControllerGoneError: whether another controller is there by now; does not wait."""
        ...

    def reset(self, first_ns: int, sent: int, state: ArmState) -> None:
        """A new scene begins; what was sent for the old one (`sent` messages of it in all) is dropped."""
        ...

    def setpoints(self, first_ns: int, cycles: int, sent: int, state: ArmState) -> Floats:
        """(cycles, n) rad from `first_ns` on; in lockstep `sent` messages since the reset are waited for (else -1).

        Raises:
            ControllerGoneError: the controller's process has ended.
        """
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class JtcSource:
    """The simulated JTC in its own process."""

    def __init__(self, socket_path: str) -> None:
        self._link = ArmEnd(socket_path)

    def connect(self) -> None:
        """Wait for jtc_node."""
        self._link.accept()

    def found(self) -> bool:
        """Whether another jtc_node has connected."""
        return self._link.accept_waiting()

    def reset(self, first_ns: int, sent: int, state: ArmState) -> None:
        """Let it hold the arm's position."""
        self._ask("reset", first_ns, 0, sent, state)

    def setpoints(self, first_ns: int, cycles: int, sent: int, state: ArmState) -> Floats:
        """The controller's set-points of these cycles."""
        return self._ask("setpoints", first_ns, cycles, sent, state)

    def close(self) -> None:
        """Hang up; jtc_node ends by itself."""
        self._link.close()

    def _ask(self, kind: str, first_ns: int, cycles: int, sent: int, state: ArmState) -> Floats:
        return self._link.ask(SetpointRequest(kind, first_ns, cycles, sent, tuple(state.q_rad.tolist()),
                                              tuple(state.dq_rad_s.tolist())))


class TopicSource:
    """Raw set-points from a topic, one a cycle, the last one held: a forward_command_controller.

    Simulation time waits a little for a stream that is under way: on a robot every cycle takes the same time for both
    ends, here a busy machine would make steps that no robot sees. A stream that stays away is not waited for again.
    """

    def __init__(self, node: Node, topic: str, spinner: Spinner) -> None:
        self._spinner = spinner
        self._queue: list[Floats] = []
        self._received = 0
        self._is_streaming = False
        self._held: Floats | None = None
        node.create_subscription(Float64MultiArray, topic, self._keep, reliable(DEPTH))

    def connect(self) -> None:
        """Set-points may come at any time; the arm holds until then."""

    def found(self) -> bool:
        """A topic does not end."""
        return True

    def reset(self, first_ns: int, sent: int, state: ArmState) -> None:
        """Hold the arm's position."""
        self._wait_for(sent)
        self._queue.clear()
        self._received = 0
        self._is_streaming = False
        self._held = state.q_rad

    def setpoints(self, first_ns: int, cycles: int, sent: int, state: ArmState) -> Floats:
        """The next set-points in the order of arrival."""
        self._wait_for(sent)
        assert self._held is not None, "reset() first"
        if sent < 0 and self._is_streaming:
            self._wait_for_stream(cycles)
        taken = self._queue[:cycles]
        del self._queue[:cycles]
        if taken:
            self._held = taken[-1]
        return np.array([*taken, *[self._held] * (cycles - len(taken))])

    def close(self) -> None:
        """Nothing to release."""

    def _keep(self, message: Float64MultiArray) -> None:
        self._queue.append(np.array(message.data, np.float64))
        self._received += 1
        self._is_streaming = True

    def _wait_for_stream(self, cycles: int) -> None:
        give_up_s = time.monotonic() + STREAM_PATIENCE_S
        while len(self._queue) < cycles and time.monotonic() < give_up_s:
            self._spinner.once(STREAM_PATIENCE_S)
        self._is_streaming = len(self._queue) >= cycles

    def _wait_for(self, sent: int) -> None:
        self._spinner.until(lambda: self._received >= sent, SETPOINT_TIMEOUT_S,
                            lambda: f"set-point {sent} (got {self._received})")
