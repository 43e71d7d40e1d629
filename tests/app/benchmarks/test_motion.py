"""The reduced motion benchmark, and that it would see what it looks for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.benchmarks.motion import ROUTES, Route, RouteResult, judge, measure_batch, measure_motion
from app.benchmarks.motion_sequences import CLOCK_OFFSET_S, TRANSPORT_S, Arm, Array, Arrival, Sequence, random_sequence
from app.cli import app
from simulation import jtc_model
from simulation.reflex_model import CYCLE_S


@pytest.fixture(scope="module")
def arm() -> Arm:
    """The Panda of the scoop task."""
    return Arm.scoop()


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**31))
def test_late_chunks_never_break_a_limit_in_any_controller(seed: int) -> None:
    """No violation, no seam of 1 % of a joint's velocity, rest when the chunks stop."""
    for result in measure_batch([seed]).values():
        assert result.sequences == 1
        assert result.reasons == []
        assert result.violations == 0
        assert result.max_seam_step_share < 0.01
        assert result.not_at_rest == 0


def test_sequences_are_reproducible_and_as_late_as_promised(arm: Arm) -> None:
    """The same seed is the same run; transport and clocks are within what is asked for, messages in order."""
    sequences = [random_sequence(arm, seed) for seed in range(6)]
    again = random_sequence(arm, 3)
    assert again.clock_offset_s == sequences[3].clock_offset_s
    np.testing.assert_array_equal([a.at_s for a in again.arrivals], [a.at_s for a in sequences[3].arrivals])
    for sequence in sequences:
        assert abs(sequence.clock_offset_s) <= CLOCK_OFFSET_S
        at = [arrival.at_s for arrival in sequence.arrivals]
        assert at == sorted(at)
        assert all(a.at_s - a.message.stamp_s >= 0 for a in sequence.arrivals[1:])
    assert len({sequence.clock_offset_s for sequence in sequences}) == 6
    assert TRANSPORT_S == 0.02


def moving(arm: Arm) -> Sequence:
    """A run with messages in mid motion."""
    return random_sequence(arm, 2)


def with_messages(sequence: Sequence, **change: object) -> Sequence:
    """The same run with every message changed alike."""
    arrivals = tuple(replace(a, message=replace(a.message, **change)) for a in sequence.arrivals)  # type: ignore[arg-type]
    return replace(sequence, arrivals=arrivals)


@pytest.mark.parametrize("route", ["humble", "jazzy", "master"])
def test_a_planted_fault_is_seen(arm: Arm, route: Route) -> None:
    """Stamps of zero, or a clock half a second ahead: the reflex model trips."""
    assert judge(arm, moving(arm), route, 2).violations == 0
    assert judge(arm, with_messages(moving(arm), stamp_s=0.0), route, 2).violations == 1
    ahead = replace(moving(arm), clock_offset_s=0.5)
    assert judge(arm, ahead, route, 2).violations == 1


def test_masters_blending_would_be_seen(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """With allow_trajectory_replacement, which a run refuses, the same messages trip the reflex."""
    monkeypatch.setattr("app.benchmarks.motion.JTC", jtc_model.JtcParameters())
    result = judge(arm, moving(arm), "master", 2)
    assert result.violations == 1
    assert result.max_seam_step_share > 0.01


def test_the_command_prints_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four models, each with the four figures; exit code 2 for a violation, a step or an arm that moves on."""
    found = {route: RouteResult(3, 0, 0.004, 0) for route in ROUTES}
    monkeypatch.setattr("app.benchmarks.motion.measure_motion", lambda sequences, seed: found)
    printed = CliRunner().invoke(app, ["bench", "motion", "--sequences", "3", "--json"])
    assert printed.exit_code == 0
    assert json.loads(printed.output) == {
        route: {"sequences": 3, "violations": 0, "max_seam_step_share": 0.004, "not_at_rest": 0}
        for route in ("humble", "jazzy", "master", "ruckig")}
    for broken in (RouteResult(3, 1, 0.004, 0), RouteResult(3, 0, 0.01, 0), RouteResult(3, 0, 0.004, 1)):
        found["jazzy"] = broken
        assert CliRunner().invoke(app, ["bench", "motion", "--sequences", "3"]).exit_code == 2


def test_every_sequence_is_counted_once() -> None:
    """Batches add up."""
    found = measure_motion(2, seed=5, processes=1)
    assert {result.sequences for result in found.values()} == {2}


def test_a_run_that_is_cut_off_in_motion_is_not_at_rest(arm: Arm) -> None:
    """The figure can be other than 0: judged before its last plan has ended, an arm still moves."""
    sequence = moving(arm)
    cut = replace(sequence, arrivals=sequence.arrivals[: len(sequence.arrivals) // 2], rest_s=0.0)
    for route in ROUTES:
        assert judge(arm, cut, route, 2).not_at_rest == 1
        assert judge(arm, sequence, route, 2).not_at_rest == 0


def test_a_refused_message_is_a_violation_although_the_arm_stands(arm: Arm) -> None:
    """A controller that takes nothing must not pass for one that moves well."""
    result = judge(arm, with_messages(moving(arm), joint_names=("other",) * 7), "jazzy", 2)
    assert result.violations == 1
    assert "other" in result.reasons[0]


def judged(arm: Arm, monkeypatch: pytest.MonkeyPatch, speed_rad_s: Array, from_cycle: int) -> RouteResult:
    """What is said of an arm whose joints (7,) begin to move at once in a cycle of 900 to 4299.

    A message arrives in cycle 2020 of the controller's clock, which is 20 ms ahead, and takes effect in cycle 2500.
    """
    message = moving(arm).arrivals[0].message
    sequence = Sequence(0.02, (Arrival(2.0, 2.5, message),), 4.0, 1, 0)

    def driven(_route: str, _arm: Arm, _sequence: Sequence, cycles: Array, _arrivals: Array) -> tuple[Array, None]:
        return arm.home_rad + np.maximum(cycles - from_cycle + 1, 0)[:, None] * CYCLE_S * speed_rad_s, None

    monkeypatch.setattr("app.benchmarks.motion._jtc", driven)
    return judge(arm, sequence, "jazzy", 0)


@pytest.mark.parametrize(("cycle", "is_seam"), [(2020, True), (2500, True), (2250, False), (1980, False)])
@pytest.mark.parametrize("joint", [0, 6])
def test_a_step_at_a_seam_is_measured_on_any_joint(arm: Arm, monkeypatch: pytest.MonkeyPatch, cycle: int,
                                                   is_seam: bool, joint: int) -> None:
    """Where a message arrives and where it takes effect, on the controller's clock; elsewhere there is no seam."""
    speed_rad_s = np.zeros(7)
    speed_rad_s[joint] = 0.1
    result = judged(arm, monkeypatch, speed_rad_s, cycle)
    assert result.max_seam_step_share == pytest.approx(0.1 / (2.175, 2.61)[joint == 6] if is_seam else 0.0)
    assert result.violations == 1


@pytest.mark.parametrize("cycle", [900, 4299])
def test_the_first_and_the_last_cycle_are_judged(arm: Arm, monkeypatch: pytest.MonkeyPatch, cycle: int) -> None:
    """A step there is a violation as anywhere else."""
    assert judged(arm, monkeypatch, np.zeros(7), cycle).violations == 0
    result = judged(arm, monkeypatch, np.full(7, 1.0), cycle)
    assert result.violations == 1
    assert f"at {cycle * CYCLE_S - 0.02:.3f} s" in result.reasons[0]


def test_results_add_up_to_the_worst_of_all() -> None:
    """Counts are sums, the seam's step is the largest, the first ten reasons stay."""
    total = RouteResult()
    for number, share in enumerate((0.2, 0.5, 0.1)):
        total.add(RouteResult(1, 1, share, 1, 4, 2, [f"{number}.{n}" for n in range(4)]))
    assert (total.sequences, total.violations, total.not_at_rest, total.chunks, total.refused) == (3, 3, 3, 12, 6)
    assert total.max_seam_step_share == 0.5
    assert total.reasons == [f"{number}.{n}" for number in range(3) for n in range(4)][:10]
