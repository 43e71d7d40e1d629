"""What the control loop is doing, why, and what has happened so far."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum

from real_world_deployment.safety.alarms import Alarm

log = logging.getLogger(__name__)


class LoopState(Enum):
    """What the loop is doing.

    IDLE waits, for an operator or for what a start needs. HOMING and RUNNING move the arm. HOLD was brought to rest by
    a watchdog, and goes on when its cause is over, on a real robot soon or at an operator's word. STOPPED was ended, by
    an operator or by what cannot be mended while running. FAULT is latched: only an operator's clearing leads out.
    """

    IDLE = "IDLE"
    HOMING = "HOMING"
    RUNNING = "RUNNING"
    HOLD = "HOLD"
    STOPPED = "STOPPED"
    FAULT = "FAULT"


POLICY_MOVES = "the policy moves the arm"
MOVING = frozenset({LoopState.HOMING, LoopState.RUNNING})


class Wish(Enum):
    """What an operator has asked for: nothing, the way home alone, or a run."""

    NONE = "none"
    HOME = "home"
    RUN = "run"


@dataclass
class LoopCounts:
    """What has happened since the start.

    Attributes:
        decisions: how often the policy was asked.
        sent: how many plans went to the controller, homing included.
        slowed: how many of them had to be made smoother or slower than asked.
        refused: chunks from which no safe motion could be made; the running plan went on.
        policy_errors: how often the policy raised.
        skipped: ticks at which the policy was not asked because an observation was missing or stale.
        holds: how often a watchdog brought the arm to rest for a while.
    """

    decisions: int = 0
    sent: int = 0
    slowed: int = 0
    refused: int = 0
    policy_errors: int = 0
    skipped: int = 0
    holds: int = 0

    def __str__(self) -> str:
        """What to tell of a run that goes on."""
        return (f"{self.decisions} decisions, {self.slowed} slowed, {self.refused} refused, "
                f"{self.policy_errors} policy errors, {self.skipped} skipped, {self.holds} holds")


class RunState:
    """The state with its reason. From FAULT only `clear` leads away: whoever enters another state there is wrong.

    Attributes:
        state, detail: what the loop does, and why (what it waits for, or what was refused last).
        alarm: the watchdog that led here; None where none did.
        since_s: when the state was entered, on the run's clock.
        is_failure: whether it was entered because something went wrong, and not because somebody wanted it.
        wish: what is asked for and not yet over.
        homings: begun since the last interruption.
    """

    def __init__(self) -> None:
        self.state, self.detail = LoopState.IDLE, "not started"
        self.alarm: Alarm | None = None
        self.since_s, self.is_failure = 0.0, False
        self.wish, self.homings = Wish.NONE, 0

    def enter(self, state: LoopState, detail: str, now_s: float, alarm: Alarm | None = None, *,
              is_failure: bool = False) -> None:
        """Change the state, or the reason of being in it; logged once."""
        if self.state is LoopState.FAULT and state is not LoopState.FAULT:
            raise AssertionError(f"only clearing leads out of FAULT, not {state.value}: {detail}")
        self._change(state, detail, now_s, alarm)
        self.is_failure = is_failure or alarm is not None

    def clear(self, detail: str, now_s: float) -> None:
        """An operator has cleared the fault."""
        self._change(LoopState.IDLE, detail, now_s, None)
        self.is_failure = False

    def say(self, detail: str) -> None:
        """Keep and log a reason once."""
        if detail != self.detail:
            log.warning("%s", detail)
        self.detail = detail

    def _change(self, state: LoopState, detail: str, now_s: float, alarm: Alarm | None) -> None:
        if (state, detail) != (self.state, self.detail):
            log.log(logging.INFO if alarm is None else logging.WARNING, "%s -> %s: %s", self.state.value, state.value,
                    detail)
        self.state, self.detail, self.alarm, self.since_s = state, detail, alarm, now_s
