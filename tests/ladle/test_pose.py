"""Poses and rotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from ladle import pose

vectors = arrays(np.float64, (5, 3), elements=st.floats(-3.0, 3.0))
quick = settings(deadline=None, max_examples=40)


@quick
@given(vectors)
def test_rotations_agree_with_scipy(v: np.ndarray) -> None:
    """Matrices, products and 6-D rotations are those of an independent implementation."""
    oracle = Rotation.from_rotvec(v)
    q = pose.quaternion_from_rotation_vector(v)
    np.testing.assert_allclose(pose.quaternion_to_matrix(q), oracle.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(pose.rotation_angle_rad(q, q), 0.0, atol=1e-6)
    back = pose.quaternion_from_rotation_6d(pose.rotation_6d_from_quaternion(q))
    np.testing.assert_allclose(pose.quaternion_to_matrix(back), oracle.as_matrix(), atol=1e-9)
    product = pose.quaternion_multiply(q, q[::-1])
    np.testing.assert_allclose(pose.quaternion_to_matrix(product), (oracle * oracle[::-1]).as_matrix(), atol=1e-9)


def test_a_quarter_turn_about_z_is_written_scalar_last() -> None:
    """The order is x, y, z, w, and the wxyz door turns the older order into it."""
    q = pose.quaternion_from_rotation_vector([0, 0, np.pi / 2])
    np.testing.assert_allclose(q, [0, 0, np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_array_equal(pose.from_xyz_wxyz([1, 2, 3, 4, 5, 6, 7]), [1, 2, 3, 5, 6, 7, 4])
    np.testing.assert_array_equal(pose.to_xyz_wxyz(pose.from_xyz_wxyz(np.arange(7.0))), np.arange(7.0))


@quick
@given(vectors)
def test_a_pose_times_its_inverse_is_the_identity(v: np.ndarray) -> None:
    """compose and inverse belong together."""
    poses = np.concatenate([v, pose.quaternion_from_rotation_vector(v[::-1])], axis=1)
    identity = pose.compose(poses, pose.inverse(poses))
    np.testing.assert_allclose(identity[:, :3], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.abs(identity[:, 6]), 1.0, atol=1e-9)


@quick
@given(vectors, st.floats(0.0, 1.0))
def test_slerp_turns_at_a_constant_rate(v: np.ndarray, u: float) -> None:
    """The angle covered is u times the whole, along the shorter arc, whatever the signs of the quaternions."""
    q0, q1 = pose.quaternion_from_rotation_vector(v[0]), -pose.quaternion_from_rotation_vector(v[1])
    whole = pose.rotation_angle_rad(q0, q1)
    part = pose.rotation_angle_rad(q0, pose.slerp(q0, q1, u))
    assert part == pytest.approx(u * whole, abs=1e-6)


def test_signs_become_continuous() -> None:
    """A flip of sign in a recording is undone; the first entry stays."""
    q = pose.quaternion_from_rotation_vector(np.linspace([0, 0, 0.1], [0, 0, 3.0], 20))
    flipped = q * np.where(np.arange(20) % 3 == 2, -1.0, 1.0)[:, None]
    np.testing.assert_allclose(pose.make_continuous(flipped), q)


@quick
@given(vectors)
def test_a_rotation_vector_survives_the_round_trip(v: np.ndarray) -> None:
    """Rotation vectors shorter than half a turn come back."""
    v = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True) / 3.0, 1.0)
    np.testing.assert_allclose(pose.rotation_vector(pose.quaternion_from_rotation_vector(v)), v, atol=1e-7)
