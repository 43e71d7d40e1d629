"""What the simulated arm reports of itself is what the deployment understands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from ladle_nodes.arm_condition_publisher import ArmConditionPublisher
from ladle_nodes.arm_conditions import of_status
from simulation.reflex_model import CONTROLLER_LOST
from simulation.served_state import ArmState

AT_EASE = ArmState(0.0, np.zeros(7), np.zeros(7), np.zeros(7), 0.0, 0, None, delivered=False, succeeded=False)
STEP_S = 0.01


class Wire:
    """Stands for the node, its publisher and the topic between."""

    def __init__(self) -> None:
        self.messages: list[DiagnosticStatus] = []

    def create_publisher(self, *_: Any) -> Wire:
        """Messages come here."""
        return self

    def publish(self, message: DiagnosticStatus) -> None:
        """Keep it."""
        self.messages.append(message)


def reported(steps: list[tuple[ArmState, bool]]) -> list[tuple[str, tuple[str, ...], float]]:
    """Modes, errors and rates of the reports that come of consecutive steps, as the deployment reads them."""
    wire: Any = Wire()
    publisher = ArmConditionPublisher(wire)
    for number, (state, is_commanded) in enumerate(steps, start=1):
        publisher.note(replace(state, time_s=number * STEP_S), is_commanded)
    conditions = [of_status(message, 0.0) for message in wire.messages]
    return [(condition.mode, condition.errors, condition.command_success_rate) for condition in conditions]


@pytest.mark.parametrize(("state", "is_commanded", "mode", "errors"), [
    (AT_EASE, True, "move", ()), (AT_EASE, False, "idle", ()),
    (replace(AT_EASE, taken_by="guiding"), True, "guiding", ()),
    (replace(AT_EASE, taken_by="user_stopped"), True, "user_stopped", ()),
    (replace(AT_EASE, reflex="cartesian_reflex (35 N)"), True, "reflex", ("cartesian_reflex",)),
])
def test_the_mode_tells_who_has_the_arm(state: ArmState, is_commanded: bool, mode: str,
                                        errors: tuple[str, ...]) -> None:
    """In a Franka's own words, fifty times a second."""
    reports = reported([(state, is_commanded)] * 20)
    assert len(reports) == 10
    assert reports[-1] == (mode, errors, float(is_commanded))


def test_a_dead_controllers_commands_fail_and_the_next_ones_count_alone() -> None:
    """The rate falls over 100 ms; another controller begins with a clean record."""
    lost = replace(AT_EASE, reflex=CONTROLLER_LOST)
    reports = reported([(AT_EASE, True)] * 20 + [(lost, False)] * 20 + [(lost, True)] * 3)
    rates = [rate for _, _, rate in reports]
    assert rates[9] == 1.0
    assert rates[10:15] == sorted(rates[10:15], reverse=True)
    assert 0.0 < rates[12] < 1.0
    assert rates[19] == 0.0
    assert rates[-1] == 1.0
