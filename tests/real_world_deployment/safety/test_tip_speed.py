"""The tip's own speed limit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import TooFastError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.sampled import SampledMotion
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import JointTrajectory


def turn(home_rad: NDArray[np.float64], by_rad: float, duration_s: float) -> JointTrajectory:
    """The whole arm turns about its base: the tip, 0.45 m out, runs on a circle."""
    q = np.stack([home_rad, home_rad])
    q[1, 0] += by_rad
    return JointTrajectory(np.array([0.0, duration_s]), q, np.zeros((2, 7)), np.zeros((2, 7)))


def test_the_tip_is_refused_at_a_speed_that_every_joint_may_have(all_limits: MotionLimits, limits: MotionLimits,
                                                                 home_rad: NDArray[np.float64]) -> None:
    """1.3 rad/s at 0.45 m is 0.6 m/s, above the default of 0.51 m/s; the joint may turn at 1.9 rad/s."""
    motion = turn(home_rad, 0.7, 1.0)
    limits.check(motion)
    with pytest.raises(TooFastError, match=r"tip velocity.*panda_hand.*0\.510"):
        all_limits.check(motion)
    all_limits.check(turn(home_rad, 0.7, 1.5))


def test_the_speed_is_that_of_the_circle(all_limits: MotionLimits, chain: KinematicChain,
                                         home_rad: NDArray[np.float64]) -> None:
    """Radius times angular velocity, at every sample."""
    assert all_limits.tip_speed is not None
    motion = SampledMotion.of(turn(home_rad, 0.5, 1.0), 0.0)
    radius_m = np.linalg.norm(chain.forward(home_rad)[:2])
    np.testing.assert_allclose(all_limits.tip_speed.use(motion).values[:, 0],
                               radius_m * motion.states.dq_rad_s[:, 0], atol=1e-4)


def test_the_speed_override_scales_velocities_only(task: TaskConfig, chain: KinematicChain) -> None:
    """A tenth of both velocities; the brakes stay as strong."""
    full, slow = (limits_of(task, LimitShares(), chain, speed) for speed in (1.0, 0.1))
    assert full.tip_speed is not None
    assert slow.tip_speed is not None
    assert slow.tip_speed.velocity_m_s == pytest.approx(0.1 * full.tip_speed.velocity_m_s)
    np.testing.assert_allclose(slow.velocity_rad_s, 0.1 * full.velocity_rad_s)
    np.testing.assert_array_equal(slow.acceleration_rad_s2, full.acceleration_rad_s2)
