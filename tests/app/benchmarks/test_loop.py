"""What the loop's cost is counted from, and the machine's own floor beside it."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.benchmarks.loop import LEAST_SHARE, summary
from app.benchmarks.loop_floor import Planner, compiled_work, lateness_s, measure_floor
from app.cli import app
from ladle.errors import DeploymentError
from ladle.task import load_task

SECONDS = 10.0
FLOOR = {"period_p999_ms", "compiled_p50_ms", "compiled_p99_ms", "plan_p50_ms", "plan_p99_ms"}


def noted(commands: int = 100, setpoints: int = 10_000) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both nodes tell of 10 s: each command 1 + 2 + 3 + 4 ms after its tick was due, all set-points 1 ms apart."""
    policy = {"steps_s": [[0.001, 0.002, 0.003, 0.004]] * commands, "stamps_s": list(0.001 * np.arange(10_001)),
              "cpu_share": 0.5, "decisions": commands + 2, "state": "RUNNING", "detail": "well"}
    return policy, {"published_s": list(5.0 + 0.001 * np.arange(setpoints + 1)), "cpu_share": 0.25}


def test_a_command_takes_the_sum_of_its_steps() -> None:
    """Two commands that moved in 24 ms instead of 4, of a hundred, are the p99 and leave the p50."""
    policy, ruckig = noted()
    for row in (20, 70):
        policy["steps_s"][row] = [0.001, 0.002, 0.003, 0.024]
    found = summary(policy, ruckig, SECONDS)
    assert found["obs_to_command_p50_ms"] == pytest.approx(10.0)
    assert found["obs_to_command_p99_ms"] == pytest.approx(30.0)
    assert found["steps_p99_ms"] == {"wait": 1.0, "ask": 2.0, "policy": 3.0, "motion": 24.0}
    assert (found["commands"], found["unanswered"], found["cpu_share"]) == (100, 2, 0.75)


def test_late_setpoints_and_lost_joint_states_are_counted() -> None:
    """Twenty pauses of 7 ms between set-points, and three joint states that never came."""
    policy, ruckig = noted()
    for at in range(500, 10_000, 475):
        ruckig["published_s"] = [s + 0.006 * (n >= at) for n, s in enumerate(ruckig["published_s"])]
    policy["stamps_s"] = [s for n, s in enumerate(policy["stamps_s"]) if n not in (4000, 4001, 9000)]
    found = summary(policy, ruckig, SECONDS)
    assert found["ruckig_period_p50_ms"] == pytest.approx(1.0)
    assert found["ruckig_period_p999_ms"] == pytest.approx(7.0)
    assert found["ruckig_outliers"] == 20
    assert found["lost_joint_states"] == 3


@pytest.mark.parametrize("few", [{"commands": 89}, {"setpoints": 8900}])
def test_a_run_that_was_held_is_no_measurement(few: dict[str, int]) -> None:
    """Less than nine tenths of what was due is refused with the loop's own words."""
    assert LEAST_SHARE == 0.9
    policy, ruckig = noted(**few)
    with pytest.raises(DeploymentError, match="the loop was RUNNING: well"):
        summary(policy, ruckig, SECONDS)


def test_the_floor_counts_from_the_instant_at_which_work_is_due() -> None:
    """Work of 5 ms every 10 ms takes 5 ms; of 15 ms it falls behind by 5 ms each time."""
    calls: list[tuple[int, float]] = []

    def work(n: int, due_s: float) -> None:
        calls.append((n, due_s))
        time.sleep(0.015)

    found = lateness_s(0.01, 0.1, work)
    assert calls == [(n, pytest.approx(0.01 * n)) for n in range(10)]
    assert all(late >= 0.015 + 0.005 * n - 1e-6 for n, late in enumerate(found))


def test_the_floor_plans_and_works() -> None:
    """The plan in force moves with the chunk, and the compiled work takes a time."""
    planner = Planner("scoop")
    period_s = load_task("scoop").period_s
    for n in range(12):
        planner.refresh(n * period_s / 4)
        if n % 4 == 0:
            planner.plan(n * period_s / 4)
    plan = planner._motion.plan
    assert plan is not None
    assert np.ptp(plan.q_rad, axis=0).max() > 1e-3
    begun_s = time.perf_counter()
    compiled_work()()
    assert time.perf_counter() - begun_s > 1e-4


def test_the_floor_is_measured_in_a_process_of_its_own() -> None:
    """All its figures, none of them nothing."""
    found = measure_floor("scoop", 0.5)
    assert set(found) == FLOOR
    assert all(value > 0.0 for value in found.values())


@pytest.mark.slow
@pytest.mark.alone
def test_one_json_object_from_real_processes() -> None:
    """Cameras, joints, policy, loop and stream for 3 s; a machine that is too busy for it is told so in one line."""
    result = CliRunner().invoke(app, ["bench", "loop", "--seconds", "3", "--json"])
    if result.exit_code == 2:
        assert "no run of 3 s was measured" in result.output
        pytest.skip("the machine is overloaded")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert {"obs_to_command_p99_ms", "ruckig_period_p999_ms", "lost_joint_states", "cpu_share"} <= set(found)
    assert set(found["floor"]) == FLOOR
    assert found["obs_to_command_p99_ms"] > found["obs_to_command_p50_ms"] > 0.0
    assert 27 <= found["commands"] <= 30
    assert found["joint_states"] + found["lost_joint_states"] > 2900
