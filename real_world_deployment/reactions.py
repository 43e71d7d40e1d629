"""What follows when a watchdog speaks, and when it falls silent again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from real_world_deployment.arm_motion import ArmMotion
from real_world_deployment.config import WatchdogBounds
from real_world_deployment.judgement import Judgement
from real_world_deployment.loop_state import MOVING, POLICY_MOVES, LoopState, RunState, Wish
from real_world_deployment.questions import Questions
from real_world_deployment.safety.alarms import BRIEF, JUDGED, SETTLING, Alarm, Trouble
from real_world_deployment.safety.watchdogs import Watchdogs

Array = NDArray[np.float64]


class Reactions:
    """Brings the arm to rest, into HOLD, STOPPED or FAULT, and out of HOLD again."""

    def __init__(self, run: RunState, motion: ArmMotion, watchdogs: Watchdogs, questions: Questions,
                 judgement: Judgement, bounds: WatchdogBounds, newest_joints: Callable[[], Array | None]) -> None:
        self._run, self._motion, self._watchdogs = run, motion, watchdogs
        self._questions, self._judgement, self._bounds = questions, judgement, bounds
        self._newest_joints = newest_joints
        self._was_running = False
        self._good_since_s: float | None = None

    def look(self, now_s: float) -> Trouble | None:
        """What is wrong now; None if nothing is. Without a policy to ask, none is missed."""
        trouble = self._watchdogs.look(now_s, self._motion.plan)
        if trouble is None and self._run.wish is Wish.RUN:
            self._questions.check()
            trouble = self._questions.trouble
        return trouble

    def react(self, trouble: Trouble, now_s: float) -> None:
        """Come to rest as the alarm wants it, in the state that it leads to; logged once."""
        state, was = LoopState[trouble.reaction.state], self._run.state
        if state is was:
            self._good_since_s = None
            if trouble.alarm is not self._run.alarm:
                self._run.enter(state, str(trouble), now_s, trouble.alarm)
            return
        if was in MOVING:
            self._was_running = was is LoopState.RUNNING
        if not trouble.reaction.brakes:
            self._motion.let_go()
        elif was in MOVING:
            self._motion.rest(now_s)
        self._run.enter(state, str(trouble), now_s, trouble.alarm)
        if state is LoopState.HOLD:
            self._good_since_s = None
            self._questions.counts.holds += 1
        else:
            self._run.wish = Wish.NONE

    def recover(self, now_s: float) -> None:
        """On HOLD, and no watchdog speaks: go on when its cause has been over for long enough."""
        alarm = self._run.alarm
        if alarm is not None and (alarm in JUDGED or alarm is Alarm.POLICY_SILENT):
            self._hear(alarm, now_s)
            return
        self._good_since_s = now_s if self._good_since_s is None else self._good_since_s
        bounds = self._bounds
        is_brief = alarm in BRIEF and now_s - self._run.since_s <= bounds.brief_s
        if alarm not in SETTLING or is_brief or now_s - self._good_since_s >= bounds.settle_s:
            self.go_on(now_s)

    def _hear(self, alarm: Alarm, now_s: float) -> None:
        """What the policy says while the arm rests."""
        if alarm in JUDGED:
            self._questions.put(now_s)
        answer = self._questions.answer(now_s)
        trouble = None if answer is None else self._judgement.update(answer[0])
        if trouble is not None:
            self.react(trouble, now_s)
        elif answer is not None or (alarm is Alarm.POLICY_SILENT and not self._questions.is_open):
            self.go_on(now_s)

    def go_on(self, now_s: float) -> None:
        """From where the arm is: on with the policy, or home again.

        Where the network was down, the controller ended what it held and never heard of the stop that was sent: the arm
        stands elsewhere than the plan says.
        """
        if self._was_running:
            q_rad = self._newest_joints()
            if q_rad is not None and self._motion.is_settled(now_s):
                self._motion.stand(q_rad, now_s)
            self._questions.resume(now_s)
            self._run.enter(LoopState.RUNNING, POLICY_MOVES, now_s)
        else:
            self._run.homings = 0
            self._run.enter(LoopState.IDLE, "homing was interrupted", now_s)
