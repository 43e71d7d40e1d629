"""The tip's poses at given joints."""

from __future__ import annotations

import numpy as np

from ladle.kinematics import KinematicChain
from ladle.poses_at import poses_of
from ladle.robot_description import panda_urdf

CHAIN = KinematicChain.from_urdf(panda_urdf(), "panda_link0", "panda_hand")
HOME_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])


def test_joints_are_found_by_name_whatever_their_order() -> None:
    """A task may name them in another order than the chain's, and others, as a gripper's, among them."""
    joints_rad = HOME_RAD + 0.1 * np.random.default_rng(0).normal(size=(5, 7))
    names = ["gripper", *reversed(CHAIN.joint_names)]
    mixed_rad = np.concatenate([np.full((5, 1), 9.0), joints_rad[:, ::-1]], axis=1)
    np.testing.assert_array_equal(poses_of(CHAIN, mixed_rad, names), poses_of(CHAIN, joints_rad, CHAIN.joint_names))


def test_a_turn_through_half_a_turn_changes_no_sign() -> None:
    """A network must not see the quaternion jump where the hand's w passes through 0."""
    joints_rad = np.tile(HOME_RAD, (60, 1))
    joints_rad[:, 0] = np.linspace(-2.8, 2.8, 60)
    q = poses_of(CHAIN, joints_rad, CHAIN.joint_names)[:, 3:]
    alone = CHAIN.forward(joints_rad)[:, 3:]
    assert np.any(np.sum(alone[1:] * alone[:-1], axis=1) < 0)
    assert np.all(np.sum(q[1:] * q[:-1], axis=1) > 0.9)
