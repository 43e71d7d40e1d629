"""From what an operator asks for to the place where the policy takes over: the gate, and the way home."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ladle.errors import LadleError
from real_world_deployment.arm_motion import ArmMotion
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.loop_state import POLICY_MOVES, LoopState, RunState, Wish
from real_world_deployment.questions import Questions
from real_world_deployment.reactions import Reactions
from real_world_deployment.safety.gate import StartGate
from real_world_deployment.safety.watchdogs import Watchdogs

Array = NDArray[np.float64]
MAX_HOMINGS = 3  # of one run, where refreshes come too late again and again


class Approach:
    """Waits until nothing is in the way of a wish, for ever in simulation, then brings the arm to where it is to be."""

    def __init__(self, run: RunState, motion: ArmMotion, watchdogs: Watchdogs, gate: StartGate, questions: Questions,
                 reactions: Reactions, config: DeploymentConfig, newest_joints: Callable[[], Array | None]) -> None:
        self._run, self._motion, self._watchdogs, self._gate = run, motion, watchdogs, gate
        self._questions, self._reactions, self._config = questions, reactions, config
        self._newest_joints = newest_joints
        self.ask(Wish.NONE, 0)

    def ask(self, wish: Wish, seed: int) -> None:
        """What is wished for from now on; the seed is that of the policy's noise."""
        self._run.wish, self._run.homings, self.seed = wish, 0, seed
        self._waits_since_s: float | None = None
        self._said: frozenset[str] = frozenset()

    def begin(self, now_s: float) -> None:
        """Home, or let the policy take over at once; or tell what is in the way."""
        wish = self._run.wish
        homes, goes_on = self._config.home or wish is Wish.HOME, wish is Wish.RUN
        if goes_on and (gone := self._questions.gone()) is not None:
            self._reactions.react(gone, now_s)
            return
        denials, q_rad = self._denials(now_s, takes_over=goes_on), self._newest_joints()
        if denials or q_rad is None:
            self._wait_for(denials, now_s)
            return
        self._waits_since_s = None
        self._watchdogs.reset()
        self._motion.stand(q_rad, now_s)
        if not homes or self._motion.distance_from_home(q_rad) <= self._config.home_tolerance_rad:
            self._arrive(now_s)
            return
        try:
            self._motion.go_home(q_rad, now_s)
        except LadleError as error:
            self._reactions.stop(now_s, f"cannot go home: {error}", is_failure=True)
            return
        self._run.homings += 1
        self._run.enter(LoopState.HOMING, "going to the task's home pose", now_s)

    def watch_homing(self, now_s: float) -> None:
        """See whether the arm has arrived."""
        plan = self._motion.plan
        assert plan is not None
        if now_s < plan.end_s:
            return
        q_rad = self._newest_joints()
        distance_rad = float("inf") if q_rad is None else self._motion.distance_from_home(q_rad)
        if distance_rad <= self._config.home_tolerance_rad:
            self._arrive(now_s)
        elif self._motion.is_interrupted and self._run.homings < MAX_HOMINGS:
            self.begin(now_s)
        elif now_s > plan.end_s + self._config.home_timeout_s:
            self._reactions.stop(now_s, f"the arm is {distance_rad:.3f} rad from home after the homing motion; at most "
                                        f"{self._config.home_tolerance_rad} rad are allowed: is the controller active?",
                                 is_failure=True)

    def _denials(self, now_s: float, *, takes_over: bool) -> dict[str, str]:
        """What is in the way, by kind."""
        denials = {denial.what: str(denial) for denial in self._gate.denials(now_s, takes_over=takes_over)}
        button = self._watchdogs.button
        if button is not None and not button.is_held(now_s):
            denials["button"] = "hold the button to let the arm move"
        if not self._motion.is_settled(now_s):
            denials["arm"] = "the arm is not at rest yet"
        return denials

    def _wait_for(self, denials: Mapping[str, str], now_s: float) -> None:
        """Tell what is in the way; logged when other things are, not when their numbers change."""
        why, patience_s = "; ".join(denials.values()), self._config.start_patience_s
        self._waits_since_s = now_s if self._waits_since_s is None else self._waits_since_s
        if self._config.real_robot and now_s - self._waits_since_s > patience_s:
            self._withdraw(f"not begun within {patience_s:g} s: {why}; then start again", now_s)
            return
        detail = f"waiting: {why}"
        if frozenset(denials) == self._said:
            self._run.detail = detail
        self._said = frozenset(denials)
        self._run.say(detail)

    def _withdraw(self, reason: str, now_s: float) -> None:
        """Whoever asked has turned away: what begins now would surprise."""
        if self._run.state is LoopState.IDLE:
            self._run.wish = Wish.NONE
            self._run.enter(LoopState.IDLE, reason, now_s, is_failure=True)
        else:
            self._reactions.stop(now_s, reason, is_failure=True)

    def _arrive(self, now_s: float) -> None:
        """The arm is where it is to be: the policy takes over, or the wish is fulfilled."""
        if self._run.wish is Wish.HOME:
            self._run.wish = Wish.NONE
            self._run.enter(LoopState.IDLE, "the arm is at home", now_s)
            return
        self._questions.begin(self.seed, now_s)
        self._run.enter(LoopState.RUNNING, POLICY_MOVES, now_s)
