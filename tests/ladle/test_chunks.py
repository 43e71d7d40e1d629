"""Chunks that overlap in time: alignment, the soft mask, and averages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.chunks import covered, ensemble_weights, ensembled, kept_weights, parts_at
from ladle.policy import ActionChunk
from ladle.pose import quaternion_from_rotation_vector, rotation_angle_rad

PERIOD_S = 0.1


def chunk(start_s: float, n: int = 15, value: float = 0.0) -> ActionChunk:
    """Element j, due at start + (j + 1) dt, is start / dt + j + 1 + value: the number of its tick."""
    times = start_s + PERIOD_S * np.arange(1, n + 1)
    return ActionChunk(start_s, times, {"xy": np.tile((times / PERIOD_S + value)[:, None], (1, 2))})


@settings(max_examples=100, deadline=None)
@given(start=st.integers(0, 5000), shift=st.integers(1, 14), delay=st.integers(0, 14), n=st.integers(2, 15))
def test_ticks_delay_and_elements_are_aligned(start: int, shift: int, delay: int, n: int):
    """Of a chunk asked for `shift` ticks later, element j continues element j + shift; the first `delay` are frozen."""
    old, new = chunk(start * PERIOD_S, n), chunk((start + shift) * PERIOD_S, n)
    weights = kept_weights(new.times_s, old, (start + shift + delay) * PERIOD_S)
    both = max(n - shift, 0)
    frozen = min(delay, both)
    assert (weights[:frozen] == 1.0).all()
    assert (weights[both:] == 0.0).all()
    soft = weights[frozen:both]
    assert ((soft > 0) & (soft < 1)).all()
    assert (np.diff(soft) < 0).all()
    assert covered(old, new.times_s).sum() == both
    values = parts_at(old, new.times_s, ())["xy"]
    assert np.array_equal(values[:both], old.parts["xy"][shift:shift + both]), "bit for bit, whatever rounding does"


def test_the_soft_mask_is_that_of_the_paper():
    """H = 15, s = 4, d = 3: equation 5 of arXiv:2506.07339, written out."""
    weights = kept_weights(chunk(0.4).times_s, chunk(0.0), 0.7)
    c = (15 - 4 - np.arange(3, 11)) / (15 - 4 - 3 + 1)
    expected = [1.0] * 3 + (c * (np.exp(c) - 1) / (np.e - 1)).tolist() + [0.0] * 4
    np.testing.assert_allclose(weights, expected)


@given(n=st.integers(1, 20), decay=st.floats(0, 3))
def test_ensemble_weights_sum_to_one(n: int, decay: float):
    """And the oldest counts most."""
    weights = ensemble_weights(n, decay)
    assert weights.sum() == pytest.approx(1.0)
    assert (np.diff(weights) <= 0).all()


@settings(max_examples=50, deadline=None)
@given(shifts=st.lists(st.integers(0, 20), min_size=1, max_size=5), decay=st.floats(0, 2))
def test_chunks_that_agree_average_to_themselves(shifts: list[int], decay: float):
    """Each instant's weights sum to one, however many chunks cover it."""
    chunks = [chunk(shift * PERIOD_S) for shift in sorted(shifts)]
    average = ensembled(chunks, (), decay)
    np.testing.assert_allclose(average.parts["xy"], chunks[-1].parts["xy"], rtol=1e-12)
    assert np.array_equal(average.times_s, chunks[-1].times_s)


def test_an_average_weighs_by_age_and_only_what_covers():
    """Two chunks, the older one 0 and the newer one 1 above the truth."""
    average = ensembled([chunk(0.0), chunk(0.4, value=1.0)], (), 0.5).parts["xy"][:, 0] - np.arange(5, 20)
    newest = np.exp(-0.5) / (1 + np.exp(-0.5))
    np.testing.assert_allclose(average, [newest] * 11 + [1.0] * 4)


def test_rotations_are_averaged_as_rotations():
    """Halfway between two turns about one axis, whatever the signs of their quaternions."""
    times = np.array([0.1])
    turns = quaternion_from_rotation_vector(np.array([[0.0, 0.0, 0.2], [0.0, 0.0, 0.6]]))
    turns[0] *= -1
    chunks = [ActionChunk(0.0, times, {"pose": np.concatenate([[[i, 0.0, 0.0]], turns[i:i + 1]], axis=1)})
              for i in range(2)]
    average = ensembled(chunks, ("pose",), 0.0).parts["pose"]
    assert average[0, 0] == pytest.approx(0.5)
    expected = quaternion_from_rotation_vector(np.array([[0.0, 0.0, 0.4]]))
    assert rotation_angle_rad(average[:, 3:], expected)[0] < 1e-9


def test_an_averaged_rotation_has_the_sign_of_the_newest_chunk():
    """An eigenvector has either; the commands that go on from the newest chunk must not jump to the other side."""
    turn = quaternion_from_rotation_vector(np.array([0.0, 0.0, 0.4]))
    for signs in ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)):
        chunks = [ActionChunk(0.0, np.array([0.1]), {"pose": np.array([[0.0, 0.0, 0.0, *(sign * turn)]])})
                  for sign in signs]
        average = ensembled(chunks, ("pose",)).parts["pose"][0, 3:]
        np.testing.assert_allclose(average, signs[-1] * turn, atol=1e-12)
