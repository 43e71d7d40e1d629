"""What follows when a watchdog or an operator speaks, and when a watchdog falls silent again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from real_world_deployment.arm_motion import ArmMotion
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.judgement import Judgement
from real_world_deployment.loop_state import MOVING, POLICY_MOVES, LoopState, RunState, Wish
from real_world_deployment.questions import Questions
from real_world_deployment.safety.alarms import BRIEF, JUDGED, SETTLING, UNHEARD, Alarm, Trouble
from real_world_deployment.safety.watchdogs import Watchdogs

Array = NDArray[np.float64]


class Reactions:
    """Brings the arm to rest, into HOLD, STOPPED or FAULT, and out of HOLD again."""

    def __init__(self, run: RunState, motion: ArmMotion, watchdogs: Watchdogs, questions: Questions,
                 judgement: Judgement, config: DeploymentConfig, newest_joints: Callable[[], Array | None]) -> None:
        self._run, self._motion, self._watchdogs = run, motion, watchdogs
        self._questions, self._judgement, self._config = questions, judgement, config
        self._newest_joints = newest_joints
        self._was_running = self._is_unheard = False
        self._held_since_s = 0.0
        self._good_since_s: float | None = None
        self._over = (f"its cause is over, but the arm was held for more than {config.hold_patience_s:g} s: see that "
                      "nobody is near, then /ladle/resume or /ladle/start")

    def look(self, now_s: float) -> Trouble | None:
        """What is wrong now; None if nothing is. Without a policy to ask, none is missed."""
        trouble = self._watchdogs.look(now_s, self._motion.plan)
        if trouble is None and self._run.wish is Wish.RUN:
            self._questions.check()
            trouble = self._questions.trouble
        return trouble

    def stop(self, now_s: float, reason: str, *, is_failure: bool = False) -> None:
        """Come to rest as fast as the limits allow and stay there; a fault stays a fault."""
        if self._run.state is LoopState.FAULT:
            return
        if self._run.state in MOVING:
            self._motion.rest(now_s)
        self._run.wish = Wish.NONE
        self._run.enter(LoopState.STOPPED, reason, now_s, is_failure=is_failure)

    def react(self, trouble: Trouble, now_s: float) -> None:
        """Come to rest as the alarm wants it, in the state that it leads to; logged once."""
        state, was = LoopState[trouble.reaction.state], self._run.state
        if state is was:
            self._note_again(trouble, now_s)
            return
        if was in MOVING:
            self._was_running = was is LoopState.RUNNING
        if not trouble.reaction.brakes:
            self._motion.let_go()
        elif was in MOVING:
            self._motion.rest(now_s)
        self._run.enter(state, str(trouble), now_s, trouble.alarm)
        if state is LoopState.HOLD:
            self._held_since_s, self._good_since_s = now_s, None
            self._is_unheard = self._may_be_unheard(trouble, now_s)
            self._questions.counts.holds += 1
        else:
            self._run.wish = Wish.NONE

    def recover(self, now_s: float) -> None:
        """On HOLD, and no watchdog speaks: go on when its cause is over, or say that an operator has to."""
        if not self._is_over(now_s):
            return
        if self.waits_for_operator(now_s):
            self._run.say(self._over)
        else:
            self._go_on(now_s)

    def waits_for_operator(self, now_s: float) -> bool:
        """Whether a real robot was held for so long that somebody may have stepped up to it.

        Who lets go of the button and presses it again has said so.
        """
        config, run = self._config, self._run
        return (config.real_robot and run.state is LoopState.HOLD and run.alarm is not Alarm.HOLD_TO_RUN
                and now_s - self._held_since_s > config.hold_patience_s)

    def resume(self, now_s: float) -> None:
        """An operator says to go on, where its cause is over or is a judgement to be overruled.

        Raises:
            DeploymentError: the arm is not held, or what it is held for is still there.
        """
        if self._run.state is not LoopState.HOLD:
            raise DeploymentError(f"only a run on HOLD can be resumed, this one is {self._run.state.value}; start it")
        trouble = self.look(now_s)
        if trouble is not None:
            raise DeploymentError(f"not resumed: {trouble}")
        if self._run.alarm is Alarm.POLICY_SILENT and self._questions.is_open:
            raise DeploymentError("not resumed: the policy has not answered yet")
        if not self._is_where_it_seems(now_s):
            raise DeploymentError("not resumed: the arm is not at rest yet; ask again in a second")
        self._judgement.reset()
        self._go_on(now_s)

    def _note_again(self, trouble: Trouble, now_s: float) -> None:
        """The arm rests already."""
        self._good_since_s = None
        self._is_unheard = self._is_unheard or self._may_be_unheard(trouble, now_s)
        if trouble.alarm is not self._run.alarm or self._run.detail == self._over:
            self._run.enter(self._run.state, str(trouble), now_s, trouble.alarm)

    def _may_be_unheard(self, trouble: Trouble, now_s: float) -> bool:
        """Whether the arm may not hear what is sent; of several troubles only the first is told."""
        arm = self._watchdogs.arm.trouble(now_s)
        return trouble.alarm in UNHEARD or (arm is not None and arm.alarm in UNHEARD)

    def _is_over(self, now_s: float) -> bool:
        """Whether the cause of the hold has been over for long enough."""
        self._good_since_s = now_s if self._good_since_s is None else self._good_since_s
        if not self._is_where_it_seems(now_s):
            return False
        alarm, bounds = self._run.alarm, self._config.bounds
        if alarm is not None and (alarm in JUDGED or alarm is Alarm.POLICY_SILENT):
            return self._has_answered(alarm, now_s)
        is_brief = alarm in BRIEF and not self._is_unheard and now_s - self._run.since_s <= bounds.brief_s
        return alarm not in SETTLING or is_brief or now_s - self._good_since_s >= bounds.settle_s

    def _is_where_it_seems(self, now_s: float) -> bool:
        """Whether the arm rests where it is measured, or is on the plan that we know.

        Where the network was down, the controller ended what it held and never heard of the stop that was sent.
        """
        return not self._is_unheard or self._motion.is_settled(now_s)

    def _has_answered(self, alarm: Alarm, now_s: float) -> bool:
        """Whether the policy says, while the arm rests, what lets it go on."""
        if alarm in JUDGED:
            self._questions.put(now_s)
        answer = self._questions.answer(now_s)
        trouble = None if answer is None else self._judgement.update(answer[0])
        if trouble is not None:
            self.react(trouble, now_s)
            return False
        return answer is not None or (alarm is Alarm.POLICY_SILENT and not self._questions.is_open)

    def _go_on(self, now_s: float) -> None:
        """From where the arm is: on with the policy, or home again."""
        if self._was_running:
            q_rad = self._newest_joints()
            if q_rad is not None and self._motion.is_settled(now_s):
                self._motion.stand(q_rad, now_s)
            self._questions.resume(now_s)
            self._run.enter(LoopState.RUNNING, POLICY_MOVES, now_s)
        else:
            self._run.homings = 0
            self._run.enter(LoopState.IDLE, "homing was interrupted", now_s)
