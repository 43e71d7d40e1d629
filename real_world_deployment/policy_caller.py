"""Asking a policy without knowing whether it answers at once, later, or never."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from ladle.policy import ActionChunk, ObservationWindow, Policy, RunningChunk, can_continue
from real_world_deployment.latency import LatencyMonitor


@runtime_checkable
class WatchingPolicy(Protocol):
    """A policy that keeps something from tick to tick, such as a stage with hysteresis."""

    def observe(self, window: ObservationWindow) -> None:
        """Take in a tick at which no action is wanted."""
        ...


def answer_to(policy: Policy, window: ObservationWindow, running: RunningChunk | None) -> ActionChunk:
    """What a policy answers, continuing the running chunk where there is one and the policy can."""
    if running is not None and can_continue(policy):
        return policy.predict_next(window, running)
    return policy.predict(window)


class PolicyCaller(Protocol):
    """One question at a time."""

    @property
    def latency(self) -> LatencyMonitor:
        """How long answers took, on the caller's own clock."""
        ...

    def observe(self, window: ObservationWindow) -> None:
        """Show a tick without a question to a policy that wants to see every tick; else do nothing.

        What the policy raises then is raised here, or at the next tick that is shown.
        """
        ...

    def ask(self, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        """Put a question; only while none is open. With a running chunk the answer is to continue it."""
        ...

    def answer(self) -> ActionChunk | None:
        """The answer, once; None while it is not there. What the policy raised is raised here."""
        ...

    def check(self) -> None:
        """Raise PolicyGoneError if no answer will come any more; cheap, for every tick."""
        ...


class SynchronousCaller:
    """Asks in the caller's own thread: for lockstep, where simulation time waits for the answer."""

    def __init__(self, policy: Policy, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.latency = LatencyMonitor()
        self._policy, self._clock_s = policy, clock_s
        self._future: Future[ActionChunk] | None = None

    def observe(self, window: ObservationWindow) -> None:
        """Show it now."""
        if isinstance(self._policy, WatchingPolicy):
            self._policy.observe(window)

    def ask(self, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        """Ask now and keep the answer, or what was raised."""
        self._future = Future()
        asked_s = self._clock_s()
        try:
            self._future.set_result(answer_to(self._policy, window, running))
            self.latency.add(self._clock_s() - asked_s)
        except Exception as error:  # whatever a policy raises is raised where the answer is fetched
            self._future.set_exception(error)

    def answer(self) -> ActionChunk | None:
        """What was answered."""
        future, self._future = self._future, None
        return None if future is None else future.result()

    def check(self) -> None:
        """It is as alive as its caller."""


class ThreadedCaller:
    """Asks in one other thread, so that the loop never waits."""

    def __init__(self, policy: Policy, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.latency = LatencyMonitor()
        self._policy, self._clock_s = policy, clock_s
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        self._future: Future[ActionChunk] | None = None
        self._shown: list[Future[None]] = []
        self._asked_s = 0.0

    def observe(self, window: ObservationWindow) -> None:
        """Show it after what was asked before; raises what the policy raised at a tick shown earlier."""
        if not isinstance(self._policy, WatchingPolicy):
            return
        done = [future for future in self._shown if future.done()]
        self._shown = [future for future in self._shown if not future.done()]
        self._shown.append(self._executor.submit(self._policy.observe, window))
        for future in done:
            future.result()

    def ask(self, window: ObservationWindow, running: RunningChunk | None = None) -> None:
        """Start the prediction."""
        self._asked_s = self._clock_s()
        self._future = self._executor.submit(answer_to, self._policy, window, running)

    def answer(self) -> ActionChunk | None:
        """The prediction when it is done."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        chunk = future.result()
        self.latency.add(self._clock_s() - self._asked_s)
        return chunk

    def check(self) -> None:
        """A thread does not go away."""

    def close(self) -> None:
        """Let the thread end; a prediction under way is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
