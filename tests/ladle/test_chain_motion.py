"""Points on links: against the chain's own forward kinematics and Jacobian, and against differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.chain_motion import ChainFrames, link_point
from ladle.errors import KinematicsError
from ladle.kinematics import KinematicChain
from ladle.pose import quaternion_to_matrix
from ladle.robot_description import panda_urdf

OFFSET_M = (0.05, -0.02, 0.21)


@pytest.fixture(scope="module")
def chain() -> KinematicChain:
    """The Panda to its hand."""
    return KinematicChain.from_urdf(panda_urdf(), "panda_link0", "panda_hand")


@pytest.fixture(scope="module")
def samples(chain: KinematicChain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(50, 7) joints within the limits and (50, 7) velocities."""
    rng = np.random.default_rng(0)
    return rng.uniform(chain.lower_rad, chain.upper_rad, (50, 7)), rng.normal(size=(50, 7))


def test_the_tip_is_where_forward_kinematics_has_it(chain: KinematicChain,
                                                    samples: tuple[NDArray[np.float64], ...]) -> None:
    """Also with an offset in the tip's frame; elbow and wrist lie where chains to those links end."""
    q, _ = samples
    poses = chain.forward(q)
    frames = ChainFrames(chain, q)
    tip = frames.positions([link_point(chain, "panda_hand", OFFSET_M)])[0].T
    expected = poses[:, :3] + quaternion_to_matrix(poses[:, 3:]) @ np.array(OFFSET_M)
    np.testing.assert_allclose(tip, expected, atol=1e-12)
    for link in ("panda_link4", "panda_link8"):
        to_link = KinematicChain.from_urdf(panda_urdf(), "panda_link0", link)
        np.testing.assert_allclose(frames.positions([link_point(chain, link)])[0].T,
                                   to_link.forward(q[:, :to_link.n_joints])[:, :3], atol=1e-12)


def test_the_tips_velocity_is_the_jacobians(chain: KinematicChain, samples: tuple[NDArray[np.float64], ...]) -> None:
    """The linear rows of the Jacobian times the joints' velocities; the base does not move."""
    q, dq = samples
    points = [link_point(chain, "panda_hand"), link_point(chain, "panda_link0", (0.1, 0.2, 0.3))]
    tip, base = ChainFrames(chain, q).velocities(points, dq)
    np.testing.assert_allclose(tip.T, [chain.jacobian(a)[:3] @ b for a, b in zip(q, dq, strict=True)], atol=1e-12)
    assert not base.any()


def test_a_points_velocity_is_how_it_moves(chain: KinematicChain, samples: tuple[NDArray[np.float64], ...]) -> None:
    """Central differences of positions, for points away from their links' origins."""
    q, dq = samples
    points = [link_point(chain, "panda_hand", OFFSET_M), link_point(chain, "panda_link5", OFFSET_M)]
    step = 1e-6
    ahead, behind = (ChainFrames(chain, q + sign * step * dq).positions(points) for sign in (1, -1))
    np.testing.assert_allclose(ChainFrames(chain, q).velocities(points, dq), (ahead - behind) / (2 * step), atol=1e-7)


def test_a_prismatic_joint_shifts() -> None:
    """A slide that follows a hinge: its point moves along the turned axis."""
    urdf = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/>
      <joint name="hinge" type="continuous"><parent link="a"/><child link="b"/><axis xyz="0 0 1"/></joint>
      <joint name="slide" type="prismatic"><parent link="b"/><child link="c"/><axis xyz="1 0 0"/>
        <limit lower="0" upper="1"/></joint></robot>"""
    chain = KinematicChain.from_urdf(urdf, "a", "c")
    frames = ChainFrames(chain, np.array([[np.pi / 2, 0.5]]))
    tip = [link_point(chain, "c")]
    np.testing.assert_allclose(frames.positions(tip)[0, :, 0], [0, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(frames.velocities(tip, np.array([[2.0, 0.3]]))[0, :, 0], [-1.0, 0.3, 0], atol=1e-12)


def test_a_link_off_the_chain_is_named(chain: KinematicChain) -> None:
    """A finger is not on the way to the hand; the links that are, are listed."""
    with pytest.raises(KinematicsError, match=r"panda_leftfinger.*panda_link7"):
        link_point(chain, "panda_leftfinger")
