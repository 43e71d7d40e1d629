"""Samples at their own stamps -> values at other instants."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle import pose, resample

stamps = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=30, unique=True).map(lambda s: np.array(sorted(s)))
instants = st.lists(st.floats(-2.0, 12.0), min_size=1, max_size=30).map(np.array)
quick = settings(deadline=None, max_examples=60)


@quick
@given(stamps, instants)
def test_vectors_agree_with_numpy_and_are_held_outside(at: np.ndarray, wanted: np.ndarray) -> None:
    """Linear between two samples, the nearest sample's value outside."""
    values = np.stack([np.sin(at), at**2], axis=1)
    expected = np.stack([np.interp(wanted, at, values[:, i]) for i in range(2)], axis=1)
    np.testing.assert_allclose(resample.interpolate_vectors(at, values, wanted), expected, atol=1e-9)


@quick
@given(stamps, instants)
def test_the_newest_sample_is_never_from_the_future(at: np.ndarray, wanted: np.ndarray) -> None:
    """newest_at_or_before agrees with a plain loop."""
    expected = [max((i for i, s in enumerate(at) if s <= w), default=-1) for w in wanted]
    np.testing.assert_array_equal(resample.newest_at_or_before(at, wanted), expected)


@quick
@given(stamps, instants)
def test_nearest_agrees_with_a_plain_search(at: np.ndarray, wanted: np.ndarray) -> None:
    """The distance is the smallest there is."""
    chosen = resample.nearest(at, wanted)
    best = np.abs(at[None] - wanted[:, None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(at[chosen] - wanted), best)


def test_rotations_are_interpolated_along_the_arc() -> None:
    """Half-way between two rotations about z lies half the angle."""
    q = pose.quaternion_from_rotation_vector([[0, 0, 0.0], [0, 0, 1.0]])
    poses = np.concatenate([[[0, 0, 0], [1, 2, 3]], q], axis=1)
    middle = resample.interpolate_poses(np.array([0.0, 1.0]), poses, np.array([0.5]))[0]
    np.testing.assert_allclose(middle[:3], [0.5, 1.0, 1.5])
    np.testing.assert_allclose(pose.rotation_vector(middle[3:]), [0, 0, 0.5], atol=1e-12)
