"""When the policy is asked, what it is shown, and what becomes of a policy that fails or falls silent."""

from __future__ import annotations

import logging

from ladle.errors import LadleError, ObservationError, PolicyGoneError
from ladle.policy import ActionChunk, ObservationWindow, Policy
from real_world_deployment.chunking import ChunkJoiner
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.loop_state import LoopCounts, RunState
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.policy_caller import PolicyCaller
from real_world_deployment.safety.alarms import Alarm, Trouble, silence_bound_s

log = logging.getLogger(__name__)

EARLY_S = 1e-6  # a tick this much before its time counts as on time


class Questions:
    """One question at a time, every `replan_ticks` ticks of the task or at rest; at the other ticks the policy watches.

    Attributes:
        counts, run: what has happened, and the run's state, for reasons.
        replan_ticks: as in the configuration.
        next_tick_s: when the task's next tick is due.
        trouble: what ends or holds the run; None while all is well.
    """

    def __init__(self, policy: Policy, caller: PolicyCaller, observations: ObservationBuffer, joiner: ChunkJoiner,
                 config: DeploymentConfig, period_s: float) -> None:
        self._policy, self._caller, self._observations, self._joiner = policy, caller, observations, joiner
        self._config, self._period_s = config, period_s
        self.replan_ticks = config.replan_ticks
        self.counts, self.run = LoopCounts(), RunState()
        self.trouble: Trouble | None = None
        self.next_tick_s, self._ticks_to_question = 0.0, 0
        self._asked_s: float | None = None
        self._failures_in_a_row, self._not_before_s = 0, -float("inf")

    def clear(self) -> None:
        """Another run is asked for: failures of the last one are over."""
        self.trouble, self._failures_in_a_row = None, 0

    def begin(self, seed: int, now_s: float) -> None:
        """A run begins: the policy forgets the last one."""
        self._policy.reset(seed)
        self.clear()
        self._asked_s, self._ticks_to_question, self._not_before_s = None, 0, -float("inf")
        self.next_tick_s = now_s
        self._joiner.reset()

    def resume(self, now_s: float) -> None:
        """The arm has rested: chunks of before do not count; what the policy keeps (its stage) still holds."""
        self.trouble, self.next_tick_s, self._not_before_s = None, now_s, now_s
        self._ticks_to_question = 0
        self._joiner.reset()

    def check(self) -> None:
        """Whether the policy is there, though nothing is asked."""
        try:
            self._caller.check()
        except PolicyGoneError as error:
            self._count_failure(error)

    def gone(self) -> Trouble | None:
        """Whether no answer will ever come: asked before a run, where nothing is counted."""
        try:
            self._caller.check()
        except PolicyGoneError as error:
            return _gone(error)
        return None

    def silence(self, now_s: float) -> Trouble | None:
        """Whether the open question should have been answered by now."""
        if self._asked_s is None or now_s - self._asked_s <= self.silence_bound_s:
            return None
        return Trouble(Alarm.POLICY_SILENT, "the policy has not answered in time")

    @property
    def silence_bound_s(self) -> float:
        """How long an answer may take."""
        return silence_bound_s(self._config, self._caller.latency.p95_s)

    @property
    def latency_p95_s(self) -> float:
        """What was measured; not a number before."""
        return self._caller.latency.p95_s

    def put(self, now_s: float, *, at_rest: bool = True) -> None:
        """One tick of the task, if it is due: ask when it is time to, else let the policy watch.

        Args:
            at_rest: whether the motion has ended; where chunks wait for that, every such tick is time to ask.
        """
        if now_s < self.next_tick_s - EARLY_S:
            return
        self.next_tick_s += self._period_s
        if self.next_tick_s <= now_s - EARLY_S:
            self.next_tick_s = now_s + self._period_s  # ticks were missed: go on from here
        is_due = self._asked_s is None and (at_rest if self._joiner.waits_for_rest else self._ticks_to_question <= 0)
        self._ticks_to_question -= 1
        window = self._window(now_s)
        if window is None:
            return
        if not is_due:
            self._watch(window)
            return
        self._caller.ask(window, self._joiner.running(now_s))
        self._asked_s = now_s
        self._ticks_to_question = self.replan_ticks - 1
        self.counts.decisions += 1

    def answer(self, now_s: float) -> tuple[ActionChunk, ActionChunk] | None:
        """The answer when it is due, as it came and as it is to be carried out; None while there is none to use."""
        if self._asked_s is None or now_s < self._asked_s + self._config.latency_s - EARLY_S:
            return None
        try:
            chunk = self._caller.answer()
        except Exception as error:
            # A policy may fail in any way; the plan in force ends at rest.
            self._asked_s = None
            self._count_failure(error)
            return None
        if chunk is None:
            return None
        joined = self._joiner.joined(chunk, now_s - self._asked_s, now_s)
        self._asked_s, self._failures_in_a_row = None, 0
        if chunk.observation_time_s < self._not_before_s:
            return None  # of before the pause: the arm has come to rest since
        return chunk, joined

    def is_due(self, now_s: float) -> bool:
        """Whether a tick of the task is due at which nothing is being waited for."""
        return self._asked_s is None and now_s >= self.next_tick_s - EARLY_S

    @property
    def is_open(self) -> bool:
        """Whether an answer is awaited."""
        return self._asked_s is not None

    def _window(self, now_s: float) -> ObservationWindow | None:
        stale = self._observations.stale(now_s, self._config.joints_age_s, self._config.camera_age_s)
        try:
            if stale is not None:
                raise ObservationError(stale)
            ticks = [now_s - age * self._period_s for age in reversed(range(self._policy.n_obs_steps))]
            return self._observations.window(ticks, self._policy.observation_keys)
        except ObservationError as error:
            self.counts.skipped += 1
            self.run.say(f"the policy is not asked: {error}")
            return None

    def _watch(self, window: ObservationWindow) -> None:
        """Show a tick; a question that is open stays open whatever the policy raises."""
        try:
            self._caller.observe(window)
        except Exception as error:
            self._count_failure(error)

    def _count_failure(self, error: Exception) -> None:
        self.counts.policy_errors += 1
        self._failures_in_a_row += 1
        log.error("the policy failed: %s", error, exc_info=None if isinstance(error, LadleError) else error)
        if isinstance(error, PolicyGoneError):
            self.trouble = _gone(error)
        elif self._failures_in_a_row >= self._config.max_policy_failures:
            self.trouble = Trouble(Alarm.POLICY_FAILED,
                                   f"the policy failed {self._failures_in_a_row} times in a row: {error}")


def _gone(error: PolicyGoneError) -> Trouble:
    return Trouble(Alarm.POLICY_GONE, f"the policy is gone: {error}")
