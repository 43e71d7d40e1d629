"""Faults done to a moving arm through real processes; `ladle bench faults` does all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.benchmarks.fault_cases import faults
from app.benchmarks.faults import BEGIN, END, FaultResult, run_faults, table, write_table
from ladle.errors import ConfigError

SAFETY = Path(__file__).parents[2] / "docs" / "safety.md"
# One of each sort: the arm's own reflex, a sensor that is silent, one that lies. The death of the policy's node has a
# test of its own (tests/ros2_ws/test_policy_death.py).
IN_EVERY_RUN = ("controller_killed", "camera_killed", "joints_nan")
PASSED = FaultResult("reflex", "the arm stops", 0.4, "FAULT", "arm_reflex", 0.01, 0.02, 0.1, 0.25, "start", ())


@pytest.mark.slow
def test_a_moving_arm_comes_to_rest_in_time_and_moves_again() -> None:
    """Whoever dies: detected and at rest within the stated times, no violation, and the run can go on."""
    results = run_faults(IN_EVERY_RUN)
    assert [result.name for result in results] == list(IN_EVERY_RUN)
    assert [result.problems for result in results] == [()] * len(results), table(results)


def test_an_unknown_fault_is_named() -> None:
    """Before any process starts."""
    with pytest.raises(ConfigError, match="no fault is called 'meteorite'; known: policy_killed, "):
        run_faults(["meteorite"])


def test_the_table_of_the_safety_document_has_every_fault_and_all_have_passed() -> None:
    """The document's table is what the command wrote, with a row for each fault that there is now."""
    made = SAFETY.read_text().partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert made[:2] == table([]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in made[2:]]
    assert [(row[0], row[1]) for row in rows] == [(fault.name, fault.what) for fault in faults()]
    assert len(rows) >= 14
    for row, fault in zip(rows, faults(), strict=True):
        assert row[-1] == "yes", row
        if fault.alarms:
            assert any(row[3].startswith(alarm) for alarm in fault.alarms)


def test_a_table_is_put_between_its_marks(tmp_path: Path) -> None:
    """What stands around it stays, and rows of other faults; a failed one tells why; no marks, no table."""
    file = tmp_path / "safety.md"
    file.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write_table(file, [replace(PASSED, name="guiding"), replace(PASSED, problems=("it meets a rock",))])
    write_table(file, [PASSED])
    write_table(file, [replace(PASSED, name="guiding", problems=("the arm does not come to rest",))])
    lines = file.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert len(lines) == 8
    assert lines[4].endswith("| yes |")
    assert lines[5].endswith("| no: the arm does not come to rest |")
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="no place for the table"):
        write_table(file, [PASSED])
