"""A path solved at once is the path solved point by point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.inverse_path import inverse_path
from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf

CHAIN = KinematicChain.from_urdf(panda_urdf(), "panda_link0", "panda_hand")
HOME_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 10), reach_rad=st.floats(0.0, 0.4))
def test_a_path_at_once_reaches_every_pose_with_the_joints_of_point_by_point(seed: int, count: int,
                                                                             reach_rad: float) -> None:
    """Poses of a smooth joint motion of so far: each is reached, the null space as it was, to second order."""
    rng = np.random.default_rng(seed)
    way = rng.uniform(-reach_rad, reach_rad, 7)
    shares = np.arange(1, count + 1)[:, None] / 10.0
    poses = CHAIN.forward(HOME_RAD + way * shares**2 * (3.0 - 2.0 * shares))
    found = inverse_path(CHAIN, poses, HOME_RAD, HOME_RAD)
    assert found is not None
    reached = CHAIN.forward(found)
    np.testing.assert_allclose(reached[:, :3], poses[:, :3], atol=2e-7)
    np.testing.assert_allclose(np.abs(np.sum(reached[:, 3:] * poses[:, 3:], axis=1)), 1.0, atol=1e-12)
    seed_rad = HOME_RAD
    for pose, joints in zip(poses, found, strict=True):
        seed_rad = CHAIN.inverse(pose, seed_rad, HOME_RAD, restarts=0)
        np.testing.assert_allclose(joints, seed_rad, atol=0.2 * reach_rad**2 + 1e-6)


def test_what_needs_care_is_left_to_point_by_point() -> None:
    """A joint at its limit, a leap, a pose out of reach and NaN."""
    pose = CHAIN.forward(HOME_RAD)
    far, leap, nan = pose.copy(), pose.copy(), pose.copy()
    far[0], leap[1], nan[2] = 2.0, 0.6, np.nan
    for odd in (far, leap, nan):
        assert inverse_path(CHAIN, np.stack([pose, odd]), HOME_RAD, HOME_RAD) is None
    at_limit = np.where(np.arange(7) == 5, CHAIN.upper_rad - 0.01, HOME_RAD)
    beyond = CHAIN.forward(at_limit + np.where(np.arange(7) == 5, 0.1, 0.0))
    assert inverse_path(CHAIN, beyond[None], at_limit, at_limit) is None


@pytest.mark.parametrize("joint", range(7))
def test_neither_limit_of_any_joint_is_crossed(joint: int) -> None:
    """A path that leads over one is left to point by point, which stops there."""
    this = np.arange(7) == joint
    for at_limit, over_rad in ((CHAIN.lower_rad + 0.01, -0.1), (CHAIN.upper_rad - 0.01, 0.1)):
        start_rad = np.where(this, at_limit, HOME_RAD)
        beyond = CHAIN.forward(start_rad + np.where(this, over_rad, 0.0))
        assert inverse_path(CHAIN, beyond[None], start_rad, start_rad) is None
