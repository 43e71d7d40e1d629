"""Kinematics against pin, and along paths."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle import pose as poses
from ladle.errors import KinematicsError
from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf

pinocchio = pytest.importorskip("pinocchio")
HOME = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])
URDF = panda_urdf()
CHAIN = KinematicChain.from_urdf(URDF, "panda_link0", "panda_hand")


def random_joints(seed: int, n: int, margin: float = 0.1) -> NDArray[np.float64]:
    """(n, 7) joints inside the limits."""
    return np.random.default_rng(seed).uniform(CHAIN.lower_rad + margin, CHAIN.upper_rad - margin, (n, 7))


def pin_model(urdf: str):
    """The oracle's model and data."""
    model = pinocchio.buildModelFromXML(urdf)
    return model, model.createData()


def is_reached(target: NDArray[np.float64], restarts: int) -> bool:
    """Whether the pose is solved from the home posture."""
    try:
        solution = CHAIN.inverse(target, HOME, HOME, restarts=restarts)
    except KinematicsError:
        return False
    assert_same_pose(CHAIN.forward(solution), target, 1e-6)
    return True


def assert_same_pose(ours: NDArray[np.float64], theirs: NDArray[np.float64], tolerance: float) -> None:
    """Positions in metres and rotation angles in radians agree."""
    np.testing.assert_allclose(ours[..., :3], theirs[..., :3], atol=tolerance)
    assert np.max(poses.rotation_angle_rad(ours[..., 3:], theirs[..., 3:])) < max(tolerance, 1e-7)


def test_forward_agrees_with_pin() -> None:
    """200 random configurations give pin's pose of the hand."""
    model, data = pin_model(URDF)
    frame = model.getFrameId("panda_hand")
    joints = random_joints(0, 200, margin=0.0)
    ours = CHAIN.forward(joints)
    for q, pose in zip(joints, ours, strict=True):
        full = np.zeros(model.nq)
        full[:7] = q
        pinocchio.framesForwardKinematics(model, data, full)
        placement = data.oMf[frame]
        np.testing.assert_allclose(pose[:3], placement.translation, atol=1e-12)
        np.testing.assert_allclose(poses.quaternion_to_matrix(pose[3:]), placement.rotation, atol=1e-12)


def test_jacobian_agrees_with_pin() -> None:
    """The geometric Jacobian is pin's LOCAL_WORLD_ALIGNED one."""
    model, data = pin_model(URDF)
    frame = model.getFrameId("panda_hand")
    for q in random_joints(1, 50):
        full = np.zeros(model.nq)
        full[:7] = q
        theirs = pinocchio.computeFrameJacobian(model, data, full, frame, pinocchio.LOCAL_WORLD_ALIGNED)[:, :7]
        np.testing.assert_allclose(CHAIN.jacobian(q), theirs, atol=1e-12)


@pytest.mark.parametrize("name", ["fer_franka_hand_rendered.urdf", "fr3_franka_hand_rendered.urdf"])
def test_manufacturers_urdfs_agree_with_pin(shared_data: Path, name: str) -> None:
    """Franka's own descriptions give pin's pose of the hand too."""
    text = (shared_data / "urdf" / name).read_text()
    prefix = name.split("_")[0]
    chain = KinematicChain.from_urdf(text, f"{prefix}_link0", f"{prefix}_hand")
    model, data = pin_model(text)
    frame, base = model.getFrameId(f"{prefix}_hand"), model.getFrameId(f"{prefix}_link0")
    q = np.random.default_rng(2).uniform(chain.lower_rad, chain.upper_rad)
    full = pinocchio.neutral(model)
    for joint, value in zip(chain.joint_names, q, strict=True):
        full[model.joints[model.getJointId(joint)].idx_q] = value
    pinocchio.framesForwardKinematics(model, data, full)
    placement = data.oMf[base].actInv(data.oMf[frame])
    np.testing.assert_allclose(chain.forward(q)[:3], placement.translation, atol=1e-12)


def test_forward_keeps_leading_axes() -> None:
    """(2, 3, 7) joints give (2, 3, 7) poses, equal to the single ones."""
    joints = random_joints(3, 6).reshape(2, 3, 7)
    stacked = CHAIN.forward(joints)
    assert stacked.shape == (2, 3, 7)
    np.testing.assert_allclose(stacked[1, 2], CHAIN.forward(joints[1, 2]), atol=1e-14)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_inverse_reaches_what_forward_gives(seed: int) -> None:
    """FK(IK(FK(q))) = FK(q) from a seed near by, and the limits hold."""
    q = random_joints(seed, 1)[0]
    start = q + np.random.default_rng(seed + 1).normal(0, 0.15, 7)
    target = CHAIN.forward(q)
    solution = CHAIN.inverse(target, start)
    assert_same_pose(CHAIN.forward(solution), target, 1e-6)
    assert np.all(solution >= CHAIN.lower_rad)
    assert np.all(solution <= CHAIN.upper_rad)


def test_inverse_from_afar_needs_its_restarts() -> None:
    """From the home posture nearly every reachable pose is found."""
    targets = CHAIN.forward(random_joints(5, 40, margin=0.2))
    assert sum(is_reached(target, restarts=8) for target in targets) >= 36
    assert sum(is_reached(target, restarts=0) for target in targets) < 36


def test_inverse_stays_on_its_branch_along_a_path() -> None:
    """A circle in steps of a few mm gives joint steps of the same order, with no jump, and drifts to the posture."""
    centre = CHAIN.forward(HOME)
    q = CHAIN.inverse(centre, HOME + 0.2, HOME)
    first, path = np.abs(q - HOME).max(), []
    for angle in np.linspace(0, 4 * np.pi, 400):
        target = centre.copy()
        target[:3] += [0.1 * np.cos(angle) - 0.1, 0.1 * np.sin(angle), 0.05 * np.sin(2 * angle)]
        q = CHAIN.inverse(target, q, HOME, restarts=0)
        path.append(q)
    steps = np.abs(np.diff(path, axis=0))
    assert steps[5:].max() < 0.03
    assert np.abs(np.diff(path, n=2, axis=0))[20:].max() < 2e-3
    assert np.abs(path[-1] - HOME).max() < 0.5 * first


def test_inverse_without_restarts_does_not_change_branch() -> None:
    """With restarts=0 an unreachable pose is refused; it names the frame and the remedy."""
    target = CHAIN.forward(HOME)
    target[0] += 2.0
    with pytest.raises(KinematicsError, match="panda_hand cannot reach"):
        CHAIN.inverse(target, HOME, restarts=0)


def test_a_missing_frame_is_named_with_those_there() -> None:
    """The error names the frame and lists what the URDF has."""
    with pytest.raises(KinematicsError, match=r"'spoon'.*panda_link0.*panda_hand"):
        KinematicChain.from_urdf(URDF, "panda_link0", "spoon")


@pytest.mark.parametrize(("text", "base", "says"), [
    ("<robot", "panda_link0", "not XML"),
    (URDF, "panda_rightfinger", "no chain"),
    (URDF, "panda_hand", "no joint moves"),
])
def test_urdfs_without_a_chain_are_refused(text: str, base: str, says: str) -> None:
    """Broken text, a base that is not above the tip and a chain without joints each say so."""
    with pytest.raises(KinematicsError, match=says):
        KinematicChain.from_urdf(text, base, "panda_hand")
