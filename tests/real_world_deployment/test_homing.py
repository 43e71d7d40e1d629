"""Homing: up first, then home, within the limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.homing import Homing
from real_world_deployment.safety import MotionLimits


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000))
def test_homing_lifts_first_and_keeps_the_limits(seed: int, homing: Homing, chain: KinematicChain,
                                                 limits: MotionLimits) -> None:
    """From anywhere near home the tip first rises straight, by 12 cm but not too high, and the arm ends at home.

    Where it is too high already it does not rise.
    """
    rng = np.random.default_rng(seed)
    q = homing.home_rad + rng.normal(0, 0.08, 7)
    plan = homing.plan(q, 3.0004)
    assert plan.start_s == 3.001
    np.testing.assert_array_equal(plan.q_rad[0], q)
    np.testing.assert_allclose(plan.q_rad[-1], homing.home_rad, atol=1e-12)
    limits.check(plan)
    tips = chain.forward(plan.sample(np.arange(plan.start_s, plan.end_s, 0.005)).q_rad)
    rise_m = min(0.12, 0.40 + 0.12 - tips[0, 2])
    if rise_m < 0.01:
        assert tips[:, 2].max() < tips[0, 2] + 0.03
        return
    lifted = int(np.argmax(tips[:, 2] > tips[0, 2] + 0.95 * rise_m))
    assert lifted > 10
    assert np.abs(tips[:lifted, :2] - tips[0, :2]).max() < 0.01
    assert np.diff(tips[:lifted, 2]).min() > -1e-4


def test_the_home_pose_is_solved_on_the_posture(homing: Homing, chain: KinematicChain) -> None:
    """The home joints reach the task's home pose."""
    pose = chain.forward(homing.home_rad)
    np.testing.assert_allclose(pose[:3], [0.45, 0.0, 0.40], atol=1e-6)


def test_from_high_up_the_lift_is_shorter(homing: Homing, chain: KinematicChain) -> None:
    """A tip that is already lifted above home does not rise by the full lift."""
    pose = chain.forward(homing.home_rad)
    pose[2] += 0.10
    high = chain.inverse(pose, homing.home_rad)
    plan = homing.plan(high, 0.0)
    tips = chain.forward(plan.sample(np.arange(0.0, plan.end_s, 0.005)).q_rad)
    assert tips[:, 2].max() < pose[2] + 0.03


def test_a_lift_out_of_reach_is_refused(homing: Homing) -> None:
    """Stretched out far below home, the tip cannot rise straight by the full lift: the reason says so."""
    stretched = np.array([0.0, 1.3, 0.0, -0.1, 0.0, 1.5, 0.785])
    with pytest.raises(MotionError, match="cannot lift"):
        homing.plan(stretched, 0.0)


def test_a_way_home_that_sinks_is_refused(homing: Homing) -> None:
    """The arm is folded to its other side: on the straight path of the joints the tip would dip below both ends."""
    with pytest.raises(MotionError, match="the tip would sink"):
        homing.plan(np.array([-2.52, 0.79, -2.37, -1.88, 2.15, 1.76, 2.37]), 0.0)


def test_the_way_home_is_slowed_until_it_keeps_all_limits(task: TaskConfig, chain: KinematicChain,
                                                          home_rad: NDArray[np.float64]) -> None:
    """Those of acceleration too, of which its first duration knows nothing."""
    assert task.limits is not None
    assert task.home is not None
    assert task.joints is not None
    gentle = MotionLimits(task.limits, LimitShares(acceleration=0.1), task.joints.names)
    gentle.check(Homing(chain, task.home, gentle, 0.9).plan(home_rad + 0.5 * np.eye(7)[0], 0.0))


def test_a_way_up_that_strays_is_refused(homing: Homing, home_rad: NDArray[np.float64],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a way that turns the arm about its base while it lifts."""
    vertical = homing._vertical

    def turning(q_rad: NDArray[np.float64], heights_m: NDArray[np.float64]) -> NDArray[np.float64]:
        return vertical(q_rad, heights_m) + np.linspace(0.0, 0.1, len(heights_m))[:, None] * np.eye(7)[0]

    monkeypatch.setattr(homing, "_vertical", turning)
    low = home_rad + np.array([0, 0.25, 0, 0, 0, 0, 0])
    with pytest.raises(MotionError, match="mm sideways"):
        homing.plan(low, 0.0)
