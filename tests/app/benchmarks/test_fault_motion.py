"""What the fault injection measures on a motion log: rest, the time that is allowed, violations."""

from __future__ import annotations

import numpy as np
import pytest

from app.benchmarks.fault_motion import HELD_S, LogJudge, Motion
from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf
from ladle.task import load_task
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import LimitShares
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import JointState
from simulation.reflex_model import CYCLE_S, VELOCITY

START_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])
FAULT_S = 1000.0


def limits(acceleration_share: float) -> MotionLimits:
    """Of the scooping task, with another share of the acceleration."""
    task = load_task("scoop")
    assert task.frames is not None
    chain = KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)
    return limits_of(task, LimitShares(acceleration=acceleration_share), chain)


def braked(speed_rad_s: float, acceleration_share: float, held_s: float) -> Motion:
    """A joint at a speed that moves on for a while after the fault, then brakes and stands for half a second."""
    speed = np.array([0.0, speed_rad_s, 0.0, -0.5 * speed_rad_s, 0.0, 0.0, 0.0])
    tail = braking_tail(JointState(0.0, START_RAD, speed, np.zeros(7)), limits(acceleration_share))
    times_s = np.arange(round(-0.2 / CYCLE_S), round((held_s + tail.end_s + 0.5) / CYCLE_S)) * CYCLE_S
    after_s = times_s - held_s
    moving = START_RAD + np.minimum(after_s, 0.0)[:, None] * speed
    q_rad = np.where((after_s <= 0.0)[:, None], moving, tail.sample(np.maximum(after_s, 0.0)).q_rad)
    return Motion(rows_of(times_s + FAULT_S, q_rad))


def rows_of(times_s: np.ndarray, q_rad: np.ndarray, stopped: bool = False) -> np.ndarray:
    """A log of an arm that follows exactly."""
    speeds = np.gradient(q_rad, CYCLE_S, axis=0)
    return np.column_stack([times_s, q_rad, q_rad, speeds, np.full(len(times_s), float(stopped))])


@pytest.mark.parametrize("speed_rad_s", [0.05, 0.4, 1.2])
def test_braking_at_nine_tenths_after_the_motion_held_is_in_time_and_later_or_softer_is_not(speed_rad_s: float) -> None:
    """The allowed time is that of our own braking, to the millisecond; 20 ms more of motion are seen, and 70 % too."""
    in_time = braked(speed_rad_s, 0.9, HELD_S)
    rest_s, allowed_s = in_time.rest_s(FAULT_S), in_time.allowed_s(FAULT_S, 0.0)
    assert rest_s is not None
    assert allowed_s - 0.012 <= rest_s - FAULT_S <= allowed_s
    assert in_time.allowed_s(FAULT_S, 0.1) == pytest.approx(allowed_s + 0.1)
    for slower in (braked(speed_rad_s, 0.9, HELD_S + 0.02), braked(speed_rad_s, 0.5, HELD_S)):
        rest_s = slower.rest_s(FAULT_S)
        assert rest_s is not None
        assert rest_s - FAULT_S > slower.allowed_s(FAULT_S, 0.0) or speed_rad_s < 0.1


def test_an_arm_that_only_turns_round_is_not_at_rest() -> None:
    """A standstill of an instant does not count; a motion that goes on has no rest."""
    times_s = FAULT_S + np.arange(2000) * CYCLE_S
    swinging = START_RAD + 0.2 * np.sin(2.0 * times_s)[:, None]
    assert Motion(rows_of(times_s, swinging)).rest_s(FAULT_S) is None


def test_a_step_in_the_log_is_one_violation_wherever_the_log_is_cut() -> None:
    """What the servo was given is judged as one motion across pieces."""
    s = np.clip(np.arange(600) / 500.0, 0.0, 1.0)
    way = 0.2 * s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
    moving = rows_of(FAULT_S + np.arange(600) * CYCLE_S, START_RAD + way[:, None])
    stepped = moving.copy()
    stepped[300:, 1] += 0.01
    for cut in (100, 299, 300, 302):
        judge = LogJudge()
        assert judge.violations(moving[:1]) == []
        found = [*judge.violations(stepped[1:cut]), *judge.violations(stepped[cut:])]
        assert [words.split(" ")[0] for words in found if VELOCITY in words] == [VELOCITY]
        assert found[0].endswith(f"at {stepped[300, 0]:.3f} s")


def test_an_arm_that_was_recovered_may_stand_elsewhere() -> None:
    """After a reflex the servo's set-point becomes the measured place: no violation of anybody's."""
    times_s = FAULT_S + np.arange(300) * CYCLE_S
    rows = rows_of(times_s, np.tile(START_RAD, (300, 1)), stopped=True)
    rows[200:, 1:8] += 0.001
    assert LogJudge().violations(rows)
    rows[200:, 22] = 0.0
    assert LogJudge().violations(rows) == []


def test_rest_is_of_all_joints_and_counts_from_the_fault() -> None:
    """One joint that moves on is no rest; an arm that stood before the fault, and moved at it, rests afterwards."""
    times_s = FAULT_S + np.arange(-500, 1000) * CYCLE_S
    one = np.tile(START_RAD, (len(times_s), 1))
    one[:, 6] += 0.1 * (times_s - FAULT_S)
    assert Motion(rows_of(times_s, one)).rest_s(FAULT_S) is None
    later = np.tile(START_RAD, (len(times_s), 1))
    later[:, 2] += np.clip(times_s - FAULT_S - 0.05, 0.0, 0.2)
    assert Motion(rows_of(times_s, later)).rest_s(FAULT_S) == pytest.approx(FAULT_S + 0.251, abs=0.0015)
    paused = np.tile(START_RAD, (len(times_s), 1))
    paused[:, 2] += np.clip(times_s - FAULT_S, 0.0, 0.1) + np.clip(times_s - FAULT_S - 0.15, 0.0, 0.1)
    assert Motion(rows_of(times_s, paused)).rest_s(FAULT_S) == pytest.approx(FAULT_S + 0.251, abs=0.0015)


def test_measured_joints_that_swing_on_have_not_settled() -> None:
    """100 ms after the set-points rest, a joint that is measured to move at 0.02 rad/s is told, whichever it is."""
    times_s = FAULT_S + np.arange(500) * CYCLE_S
    rows = rows_of(times_s, np.tile(START_RAD, (500, 1)))
    assert Motion(rows).settles_after(FAULT_S)
    rows[:, 21] = -0.02
    assert not Motion(rows).settles_after(FAULT_S)


def test_every_step_in_the_log_is_told() -> None:
    """A second one as well as the first."""
    rows = rows_of(FAULT_S + np.arange(600) * CYCLE_S, np.tile(START_RAD, (600, 1)))
    rows[200:, 1] += 0.01
    rows[400:, 7] -= 0.01
    found = LogJudge().violations(rows)
    assert [words for words in found if words.endswith(f"at {rows[200, 0]:.3f} s")] == [found[0]]
    assert any("(joint 7)" in words and words.endswith(f"at {rows[400, 0]:.3f} s") for words in found)
