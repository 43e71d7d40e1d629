"""Records a run without ever holding it up: everything goes through a bounded queue to a thread that writes.

What the policy is shown and answers is taken down at the caller, what moves the arm at the controller; neither they
nor the loop know of it.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.policy import (
    ActionChunk,
    ContinuingPolicy,
    ObservationWindow,
    Policy,
    RunningChunk,
    action_steps_of,
    starts_of,
)
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.latency import LatencyMonitor
from real_world_deployment.policy_caller import PolicyCaller
from real_world_deployment.policy_messages import chunk_message, is_image, window_message
from real_world_deployment.run_file import RunFile

log = logging.getLogger(__name__)

CAPACITY = 1000  # events; a second of 1 kHz joints, or what a disk that sleeps for a moment leaves waiting
CLOSE_S = 30.0

INFO, RESET, RUNNING, ASK, OBSERVE, CHUNK, FAILED, STATE, END = (
    "info", "reset", "running", "ask", "observe", "chunk", "failed", "state", "end")

Job = Callable[[RunFile], None]


class RunRecorder:
    """The recording of a run, or of one scene after the other.

    Attributes:
        lost: events that did not fit into the queue, or could not be written.
    """

    def __init__(self, folder: Path, info: Mapping[str, Any], *, wait: bool, capacity: int = CAPACITY) -> None:
        """Begin a bag in a folder that does not exist yet.

        Args:
            info: plain values that say how to make the policy again.
            wait: hold the caller up rather than lose an event: for lockstep, where time waits too.
        """
        self.lost = 0
        self._wait, self._start_ns = wait, 0
        self._order, self._last_s = 0, 0.0
        self._jobs: queue.Queue[Job | None] = queue.Queue(capacity)
        self._file = RunFile(folder)
        self._thread = threading.Thread(target=self._write, name="run recorder", daemon=True)
        self._thread.start()
        self._info = dict(info)

    def begin(self, start_ns: int) -> None:
        """Times count from here on the ROS clock."""
        self._start_ns, self._last_s = start_ns, 0.0
        self.note(0.0, ArrayMessage(INFO, self._info))

    def note(self, time_s: float, message: ArrayMessage, images: Mapping[str, NDArray[Any]] | None = None) -> None:
        """One event of the run; the arrays must not be changed afterwards.

        Events are numbered, so that a reader sees where one was lost.
        """
        self._last_s = max(self._last_s, time_s)
        time_ns = self._ns(self._last_s)
        message = ArrayMessage(message.kind, {**message.values, "order": self._order}, message.arrays)
        self._order += 1
        self._put(lambda file: file.record(time_ns, message, images or {}))

    def window(self, kind: str, window: ObservationWindow) -> None:
        """What the policy is shown."""
        images = {key: stream for key, stream in window.streams.items() if is_image(stream)}
        others = {key: stream for key, stream in window.streams.items() if key not in images}
        self.note(window.decision_time_s, window_message(kind, window, others), images)

    def sent(self, time_s: float, plan: JtcMessage) -> None:
        """What goes to the controller."""
        time_ns, stamp_ns = self._ns(time_s), self._ns(plan.stamp_s)
        self._put(lambda file: file.sent(time_ns, stamp_ns, plan))

    def joints(self, receive_s: float, header_s: float, names: tuple[str, ...], q_rad: NDArray[np.float64]) -> None:
        """What is measured, (J,) rad."""
        time_ns, header_ns = self._ns(receive_s), self._ns(header_s)
        self._put(lambda file: file.joints(time_ns, header_ns, names, q_rad))

    def close(self, time_s: float = 0.0) -> None:
        """Write what waits, and how much was lost."""
        self._wait = True  # there is time now
        self.note(time_s, ArrayMessage(END, {"lost": self.lost}))
        if self._thread.is_alive():
            self._jobs.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)
        if self.lost:
            log.warning("%d events of the run are not in its recording; the disk or the processor was too slow",
                        self.lost)

    def _put(self, job: Job) -> None:
        if not self._thread.is_alive():
            self.lost += 1
            return
        try:
            self._jobs.put(job, block=self._wait, timeout=CLOSE_S if self._wait else None)
        except queue.Full:
            self.lost += 1

    def _write(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                job(self._file)
        except Exception:  # a full disk must not stop an arm
            self.lost += 1
            log.exception("the run is not recorded any further")
        finally:
            self._file.close()

    def _ns(self, time_s: float) -> int:
        return self._start_ns + (round(time_s * 1e9) if math.isfinite(time_s) else 0)


class RecordedPolicy:
    """A policy whose resets are taken down."""

    def __init__(self, policy: Policy, recorder: RunRecorder) -> None:
        self._policy, self._recorder = policy, recorder
        self.n_obs_steps, self.observation_keys = policy.n_obs_steps, policy.observation_keys
        self.start_poses, self.n_action_steps = starts_of(policy), action_steps_of(policy)

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._recorder.note(0.0, ArrayMessage(RESET, {"seed": seed}))
        self._policy.reset(seed)

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """Ask at once; the caller is what is taken down."""
        return self._policy.predict(window)


class RecordedContinuingPolicy(RecordedPolicy):
    """The same of one that can continue a running chunk."""

    def __init__(self, policy: ContinuingPolicy, recorder: RunRecorder) -> None:
        super().__init__(policy, recorder)
        self._continuing = policy

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        """Ask at once; the caller is what is taken down."""
        return self._continuing.predict_next(window, running)


class RecordedCaller:
    """A caller whose questions and answers are taken down.

    Attributes:
        latency: the caller's.
    """

    def __init__(self, caller: PolicyCaller, recorder: RunRecorder) -> None:
        self._caller, self._recorder = caller, recorder
        self._asked_s = 0.0

    @property
    def latency(self) -> LatencyMonitor:
        """How long answers took."""
        return self._caller.latency

    def observe(self, window: ObservationWindow) -> None:
        """Show a tick."""
        self._recorder.window(OBSERVE, window)
        self._caller.observe(window)

    def ask(self, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        """Put a question."""
        self._asked_s = window.decision_time_s
        if running is not None:
            self._recorder.note(self._asked_s, chunk_message(RUNNING, running.chunk,
                                                             frozen_until_s=running.frozen_until_s))
        self._recorder.window(ASK, window)
        self._caller.ask(window, running)

    def check(self) -> None:
        """Raise PolicyGoneError if no answer will come any more."""
        self._caller.check()

    def answer(self) -> ActionChunk | None:
        """The answer, once."""
        try:
            chunk = self._caller.answer()
        except Exception as error:
            self._recorder.note(self._asked_s, ArrayMessage(FAILED, {"text": str(error), "type": type(error).__name__}))
            raise
        if chunk is not None:
            self._recorder.note(self._asked_s, chunk_message(CHUNK, chunk, latency_p50_s=_plain(self.latency.p50_s),
                                                             latency_p95_s=_plain(self.latency.p95_s)))
        return chunk


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
