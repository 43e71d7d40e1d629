"""Asks a policy that runs in a process of its own: its death, its garbage collection and its GIL are not the loop's."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError, PolicyGoneError
from ladle.policy import ActionChunk, ObservationWindow, RunningChunk
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.frame_ring import RingWriter
from real_world_deployment.latency import LatencyMonitor
from real_world_deployment.policy_answers import (
    ASK,
    CHUNK,
    FAILED,
    OBSERVE,
    READY,
    RESET,
    WATCH_FAILED,
    Introduced,
    failure_text,
)
from real_world_deployment.policy_messages import is_image, to_chunk, window_message, with_running
from real_world_deployment.policy_process import MESSAGE_BYTES
from real_world_deployment.ring_layout import RingLayout
from real_world_deployment.ring_segment import remove_stale_segments

READY_TIMEOUT_S = 300.0  # importing torch and loading a large checkpoint from a slow disk
SILENCE_S = 3.0
END_S = 2.0
# Windows that may wait for a policy that is busy: ticks at which it only watches queue up behind a slow question.
WAITING_WINDOWS = 16
KEPT_RINGS = 2


class PolicyError(DeploymentError):
    """What the policy raised in its process."""


class ProcessCaller(Introduced):
    """Both the policy, for the loop's questions about it, and its caller. Nothing here waits, but for the start.

    Frames go through a shared-memory ring, everything else through a socket whose other end closes with the process.

    Attributes:
        latency: from the question to the answer being here.
        inference_s: how long the policy itself took for its last answer.
    """

    def __init__(self, factory: str, text: str, *, silence_s: float = SILENCE_S,
                 clock_s: Callable[[], float] = time.monotonic) -> None:
        """Start the process and wait until the policy is made.

        Args:
            factory: "package.module:function"; the function makes the policy of the text.
            silence_s: a question that is open for longer means that the policy is gone.

        Raises:
            DeploymentError: the policy cannot be made; says why.
        """
        self.latency, self.inference_s = LatencyMonitor(), float("nan")
        self._silence_s, self._clock_s = silence_s, clock_s
        self._questions, self._shapes, self._asked_s = 0, 0, 0.0
        self._open: int | None = None
        self._answer: ActionChunk | Exception | None = None
        self._watch_error: Exception | None = None
        self._gone: PolicyGoneError | None = None
        remove_stale_segments()
        self._ring_name = f"policy-{os.getpid()}-{id(self):x}"
        self._rings: list[tuple[RingLayout, RingWriter]] = []
        self._start(factory, text)
        self.hear_introduction(self._wait_until_ready())

    @property
    def pid(self) -> int:
        """Process id of the policy."""
        return self._process.pid

    def reset(self, seed: int) -> None:
        """Forget the last episode, and any answer that belongs to it."""
        self._open = self._answer = self._watch_error = None
        self._send(ArrayMessage(RESET, {"seed": seed}))

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """Ask and wait for the answer: for the start and for tests, never for the loop."""
        return self._wait_for(window, None)

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        """As `predict`, continuing a chunk."""
        return self._wait_for(window, running)

    def observe(self, window: ObservationWindow) -> None:
        """Show a tick; what the policy raised at an earlier one is raised here, and that it is gone."""
        self._take_messages()
        if self._gone is not None:
            raise self._gone
        self._put(OBSERVE, window)
        error, self._watch_error = self._watch_error, None
        if error is not None:
            raise error

    def ask(self, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        """Put a question, and what is being executed meanwhile."""
        self._questions += 1
        self._open, self._answer, self._asked_s = self._questions, None, self._clock_s()
        self._put(ASK, window, running)

    def is_answered(self, timeout_s: float) -> bool:
        """Wait for so long, or until something comes from a policy whose question is open; whether it has just ended.

        It is taken in here, so that an answer for which nobody asks any more is told once and not for ever.
        """
        if not self._is_waiting():
            time.sleep(timeout_s)
            return False
        if not select.select([self._link], [], [], timeout_s)[0]:
            return False
        self._take_messages()
        return not self._is_waiting()

    def _is_waiting(self) -> bool:
        return self._open is not None and self._gone is None

    def answer(self) -> ActionChunk | None:
        """The chunk when it is there.

        Raises:
            PolicyGoneError: the process has ended, or has not answered for silence_s.
            PolicyError: the policy raised.
        """
        self._take_messages()
        answer, self._answer = self._answer, None
        if answer is not None:
            if isinstance(answer, Exception):
                raise answer
            return answer
        if self._gone is None and self._open is not None and self._clock_s() - self._asked_s > self._silence_s:
            self._gone = PolicyGoneError(f"the policy (process {self.pid}) has not answered for {self._silence_s:g} s")
        if self._gone is not None:
            raise self._gone
        return None

    def check(self) -> None:
        """Raise PolicyGoneError if the process has ended or was given up."""
        self._take_messages()
        if self._gone is not None:
            raise self._gone

    def close(self) -> None:
        """End the process: by hanging up, by force if it does not listen."""
        self._link.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for _, ring in self._rings:
            ring.close()

    def _wait_for(self, window: ObservationWindow, running: RunningChunk | None) -> ActionChunk:
        self.ask(window, running)
        while (chunk := self.answer()) is None:
            select.select([self._link], [], [], 0.05)
        return chunk

    def _start(self, factory: str, text: str) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # The other interpreter finds the modules that this one finds.
            variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            command = [sys.executable, "-m", "real_world_deployment.policy_process", str(theirs.fileno()),
                       factory, text]
            self._process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL,
                                             pass_fds=[theirs.fileno()])
        self._link.setblocking(False)

    def _wait_until_ready(self) -> ArrayMessage:
        select.select([self._link], [], [], READY_TIMEOUT_S)
        try:
            message = ArrayMessage.from_bytes(self._link.recv(MESSAGE_BYTES))
        except (BlockingIOError, DeploymentError) as error:
            self.close()
            raise DeploymentError(f"the policy's process ended with exit code {self._process.returncode} while the "
                                  "policy was being made; see its output above") from error
        if message.kind == READY:
            return message
        self.close()
        text = message.values["text"]
        raise DeploymentError(text if message.values["is_users"] else f"making the policy failed: {text}")

    def _put(self, kind: str, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        images = {key: np.ascontiguousarray(stream) for key, stream in window.streams.items() if is_image(stream)}
        others = {key: stream for key, stream in window.streams.items() if key not in images}
        frames_at = self._put_frames(images)
        self._send(with_running(window_message(kind, window, others, number=self._questions, frames_at=frames_at),
                                running))

    def _put_frames(self, images: Mapping[str, NDArray[Any]]) -> tuple[str, int] | None:
        """Ring and number of the record; frames of another shape have another ring, for the last may be unread yet."""
        if not images:
            return None
        layout = RingLayout.like(images, WAITING_WINDOWS)
        if not self._rings or self._rings[-1][0] != layout:
            if len(self._rings) == KEPT_RINGS:
                self._rings.pop(0)[1].close()
            self._shapes += 1
            self._rings.append((layout, RingWriter(f"{self._ring_name}-{self._shapes}", layout)))
        ring = self._rings[-1][1]
        return ring.name, ring.put(images, 0, 0)

    def _send(self, message: ArrayMessage) -> None:
        if self._gone is not None:
            return
        try:
            self._link.send(message.to_bytes())
        except BlockingIOError:
            self._gone = PolicyGoneError(f"the policy (process {self.pid}) does not take questions any more")
        except OSError:
            self._note_death()

    def _take_messages(self) -> None:
        while self._gone is None:
            try:
                data = self._link.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._note_death()
                return
            self._take(ArrayMessage.from_bytes(data))

    def _take(self, message: ArrayMessage) -> None:
        if message.kind == WATCH_FAILED:
            self._watch_error = PolicyError(failure_text(message))
        elif message.values["number"] == self._open:
            self._open = None
            if message.kind == FAILED:
                self._answer = PolicyError(failure_text(message))
            elif message.kind == CHUNK:
                self.latency.add(self._clock_s() - self._asked_s)
                self.inference_s = message.values["inference_s"]
                self._answer = to_chunk(message)

    def _note_death(self) -> None:
        if self._gone is not None:
            return
        try:
            code: int | None = self._process.wait(0.01)  # a process that closed the socket is as good as dead
        except subprocess.TimeoutExpired:
            code = None
        how = "has hung up" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        self._gone = PolicyGoneError(f"the policy's process {self.pid} {how}")
