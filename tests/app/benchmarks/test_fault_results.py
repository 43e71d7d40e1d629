"""What the fault injection says of a run: in time and at rest, or everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from app.benchmarks.fault_cases import Fault
from app.benchmarks.fault_motion import Motion
from app.benchmarks.fault_observer import Heard, RunStatus
from app.benchmarks.faults import FaultResult, run_fault
from app.cli import app
from ladle.errors import DeploymentError
from simulation.reflex_model import CYCLE_S

FAULT_S = 1000.0
IN_TIME = RunStatus("HOLD", "camera_stale", FAULT_S + 0.05, 0.1)


class Told:
    """A scene whose arm and run do what they are told to when the fault strikes."""

    def __init__(self, statuses: Sequence[RunStatus] = (IN_TIME,), stops_after_s: float | None = 0.2,
                 swings_on: bool = False, violations: Sequence[str] = (), errors: str = "",
                 moves_again: bool = True) -> None:
        """The arm turns one joint at 0.4 rad/s and begins to brake so long after the fault, or never."""
        self.starts, self.heard = 0, Heard(now_s=FAULT_S)
        self.observer = SimpleNamespace(heard=self.heard)
        self._statuses, self._errors, self._moves_again = statuses, errors, moves_again
        self._violations: list[str] = []
        self._provoked = list(violations)
        times_s = FAULT_S + np.arange(-500, 3000) * CYCLE_S
        since_s = np.maximum(times_s - FAULT_S - (10.0 if stops_after_s is None else stops_after_s), 0.0)
        speed = np.maximum(0.4 - 5.0 * since_s, 0.0)
        rows = np.zeros((len(times_s), 23))
        rows[:, 0], rows[:, 1], rows[:, 15] = times_s, np.cumsum(speed) * CYCLE_S, 0.1 if swings_on else speed
        self._rows = rows

    def strike(self, _scene: object) -> None:
        self.heard.statuses.extend(self._statuses)
        self.heard.conditions.append((FAULT_S, "reflex" if self._errors else "move", self._errors))
        self._violations = self._provoked

    def heal(self, _scene: object) -> None:
        if not self._moves_again:
            raise DeploymentError("it does not move")

    def wait_until_moving(self) -> str:
        return "by itself"

    def wait_simulated(self, duration_s: float) -> None:
        self.heard.now_s += duration_s

    def next_tick_s(self) -> float:
        return FAULT_S

    def new_violations(self) -> list[str]:
        return self._violations

    def motion(self, from_s: float) -> Motion:
        return Motion(self._rows[self._rows[:, 0] >= from_s])


def judged(told: Told, **change: object) -> FaultResult:
    """Of a fault that the run detects and that brings the arm to rest."""
    fault = Fault("camera", "it goes dark", told.strike, told.heal, ("camera_stale",), needs_detection=True)
    return run_fault(told, replace(fault, **change))  # type: ignore[arg-type]


def test_a_fault_that_is_detected_and_ends_at_rest_in_time_has_no_problem() -> None:
    """With what was measured; a clock that was set meanwhile is allowed for."""
    result = judged(Told())
    assert result.problems == ()
    assert (result.alarm, result.detected_s, result.restart) == ("camera_stale", 0.05, "by itself")
    assert result.speed_rad_s == pytest.approx(0.4)
    assert result.rest_s == pytest.approx(0.28, abs=0.002)
    assert judged(Told([replace(IN_TIME, since_s=FAULT_S + 0.55)]), clock_step_s=0.5).detected_s == 0.05
    assert judged(Told([], None), alarms=(), comes_to_rest=False).problems == ()
    assert judged(Told(errors="cartesian_reflex"), errors=("cartesian_reflex",)).problems == ()


@pytest.mark.parametrize(("told", "change", "words"), [
    (Told([], 0.1), {}, "none of camera_stale was raised, but nothing"),
    (Told([replace(IN_TIME, alarm="joints_stale")], 0.1), {}, "none of camera_stale was raised, but HOLD"),
    (Told([replace(IN_TIME, since_s=FAULT_S + 0.12)]), {}, "camera_stale after 0.120 s; 0.100 s are stated"),
    (Told([replace(IN_TIME, bound_s=0.2)]), {}, "the stated bound of camera_stale is 0.200 s"),
    (Told(stops_after_s=0.26), {}, "at rest after 0.3"),
    (Told(stops_after_s=0.2), {"needs_detection": False}, "at rest after 0.2"),
    (Told(stops_after_s=None), {}, "the arm does not come to rest"),
    (Told(swings_on=True), {}, "the measured joints do not settle"),
    (Told([], 0.1), {"alarms": (), "comes_to_rest": False}, "the arm was stopped for nothing"),
    (Told(stops_after_s=None), {"alarms": (), "comes_to_rest": False}, "the arm was stopped for nothing"),
    (Told(violations=["a step"]), {}, "a step"),
    (Told(errors="joint_velocity_violation"), {}, "the arm reports joint_velocity_violation"),
    (Told(errors="cartesian_reflex,a"), {"errors": ("cartesian_reflex",)}, "the arm reports cartesian_reflex,a"),
    (Told(moves_again=False), {}, "it does not move"),
])
def test_whatever_is_wrong_with_a_fault_is_a_problem(told: Told, change: dict[str, object], words: str) -> None:
    """A missing, other or late alarm, motion that goes on too long or stops for nothing, what the arm objects to."""
    problems = judged(told, **change).problems
    assert len(problems) == 1, problems
    assert words in problems[0]


def test_the_command_fails_where_a_fault_has_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, and the problem in the table; 0 where there is none."""
    for told, code, words in ((Told(), 0, "| yes |"), (Told(stops_after_s=None), 2, "| no: the arm does not come")):
        result = judged(told)
        monkeypatch.setattr("app.benchmarks.faults.run_faults", lambda *_, found=result: [found])
        printed = CliRunner().invoke(app, ["bench", "faults"])
        assert printed.exit_code == code
        assert words in printed.output
