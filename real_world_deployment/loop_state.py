"""What the control loop is doing, and what has happened so far."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class LoopState(Enum):
    """What the loop is doing."""

    IDLE = "IDLE"
    HOMING = "HOMING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


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
    """

    decisions: int = 0
    sent: int = 0
    slowed: int = 0
    refused: int = 0
    policy_errors: int = 0
    skipped: int = 0
