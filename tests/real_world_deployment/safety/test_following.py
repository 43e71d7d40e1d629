"""An arm that stands while its plan moves is seen at every speed, and one that follows is left alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.following import LEAST_ERROR_RAD, Following, allowed_error_rad
from real_world_deployment.trajectory import JointTrajectory, at_rest

Array = NDArray[np.float64]
NOISE_RAD = 1e-4  # of a Franka's encoders
JOINTS_S, TICK_S = 0.005, 0.01
DIRECTION = np.array([1.0, -0.6, 0.3, 0.0, -0.8, 0.1, 0.5])


def _plan(home_rad: Array, rad_s: float) -> JointTrajectory:
    """From rest to rest in 6 s; the fastest joint reaches rad_s in the middle."""
    times_s = 0.025 * np.arange(241, dtype=np.float64)
    angle = 2.0 * np.pi * times_s / 6.0
    way = 0.5 * rad_s * np.stack([times_s - np.sin(angle) * 6.0 / (2.0 * np.pi), 1.0 - np.cos(angle),
                                  np.sin(angle) * 2.0 * np.pi / 6.0])
    way[1:, -1] = 0.0
    q, dq, ddq = way[:, :, None] * DIRECTION
    return JointTrajectory(times_s, home_rad + q, dq, ddq)


def _watched(task: TaskConfig, chain: KinematicChain, plan: JointTrajectory, speed: float,
             measured: Callable[[float], Array]) -> tuple[float, Trouble] | None:
    """When something is seen, and what."""
    observations, noise = ObservationBuffer(task, chain, ()), np.random.default_rng(0)
    following = Following(observations, DeploymentConfig(speed=speed))
    assert task.joints is not None
    for step in range(1, round(plan.end_s / JOINTS_S)):
        now_s = round(step * JOINTS_S, 3)
        q = measured(now_s) + noise.normal(0.0, NOISE_RAD, 7)
        observations.add_joints(now_s, now_s, task.joints.names, q.tolist())
        if step % round(TICK_S / JOINTS_S) == 0 and (trouble := following.trouble(now_s, plan)) is not None:
            return now_s, trouble
    return None


@pytest.mark.parametrize(("rad_s", "lag_s"), [(0.01, 0.0), (0.01, 0.06), (0.05, 0.06), (0.2, 0.06)])
def test_a_slow_arm_with_noise_that_follows_late_is_left_alone(task: TaskConfig, chain: KinematicChain,
                                                              home_rad: Array, rad_s: float, lag_s: float) -> None:
    """At a tenth of the speed, from rest to rest."""
    plan = _plan(home_rad, rad_s)
    assert _watched(task, chain, plan, 0.1, lambda now_s: plan.sample(now_s - lag_s).q_rad[0]) is None


@pytest.mark.parametrize(("rad_s", "ahead_rad"), [(0.01, 0.004), (0.02, 0.005), (0.05, 0.006), (0.1, 0.009),
                                                  (0.2, 0.018)])
def test_a_slow_arm_that_stops_is_seen_before_its_plan_is_far_ahead(task: TaskConfig, chain: KinematicChain,
                                                                   home_rad: Array, rad_s: float, ahead_rad: float
                                                                   ) -> None:
    """A controller that comes back then cannot step farther than that; all joints repeat their last position."""
    plan = _plan(home_rad, rad_s)
    seen = _watched(task, chain, plan, 0.1, lambda now_s: plan.sample(min(now_s, 2.5)).q_rad[0])
    assert seen is not None
    at_s, trouble = seen
    assert at_s > 2.5
    assert trouble.alarm is Alarm.CONTROLLER_DEAD
    assert np.abs(plan.sample(at_s).q_rad[0] - plan.sample(2.5).q_rad[0]).max() < ahead_rad


def test_a_controller_that_never_moves_is_seen_near_the_start(task: TaskConfig, chain: KinematicChain, home_rad: Array
                                                              ) -> None:
    """As one that was deactivated between two runs."""
    plan = _plan(home_rad, 0.05)
    seen = _watched(task, chain, plan, 0.1, lambda now_s: home_rad)
    assert seen is not None
    assert np.abs(plan.sample(seen[0]).q_rad[0] - home_rad).max() < 0.01


def test_the_allowed_distance_is_that_of_the_speed(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Down to what an arm under load may be off; an arm that creeps away in a plan at rest is judged by it."""
    assert [allowed_error_rad(DeploymentConfig(speed=speed)) for speed in (1.0, 0.5, 0.1, 0.01)] == [
        pytest.approx(rad) for rad in (0.2, 0.1, LEAST_ERROR_RAD, LEAST_ERROR_RAD)]
    plan = _plan(home_rad, 0.0)
    seen = _watched(task, chain, plan, 0.1, lambda now_s: home_rad + 0.01 * now_s)
    assert seen is not None
    assert seen[1].alarm is Alarm.TRACKING_ERROR
    assert seen[0] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_each_joint_is_watched_to_both_sides(joint: int, sign: float, task: TaskConfig, chain: KinematicChain,
                                             home_rad: Array) -> None:
    """One joint alone creeps away from a plan at rest."""
    assert task.joints is not None
    observations = ObservationBuffer(task, chain, ())
    following = Following(observations, DeploymentConfig(speed=0.1))
    for off_rad, alarm in ((0.019, None), (0.021, Alarm.TRACKING_ERROR)):
        at_s = 1.0 + off_rad
        q = home_rad + sign * off_rad * np.eye(7)[joint]
        observations.add_joints(at_s, at_s, task.joints.names, q.tolist())
        trouble = following.trouble(at_s, at_rest(home_rad, 0.0))
        assert (None if trouble is None else trouble.alarm) is alarm
