"""Confidence that means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.policy import ActionChunk
from training.calibration import calibration_error, cross_fitted_probabilities, fit_temperature, log_loss, softmax


def drawn(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits (n, 3) and labels drawn from their own probabilities: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    return logits, (rng.random((n, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.3, 8.0), st.integers(0, 1000))
def test_a_planted_overconfidence_is_recovered(factor: float, seed: int):
    """Logits blown up, or down, by a factor are found to be so within a tenth."""
    logits, labels = drawn(5000, seed)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


def test_the_temperature_brings_confidence_to_accuracy():
    """Factor 3: off by more than a tenth before, by less than a fiftieth after, on frames of other folds."""
    logits, labels = drawn(20_000, 0)
    assert calibration_error(softmax(3 * logits), labels) > 0.1
    after = cross_fitted_probabilities(3 * logits, labels, np.arange(20_000) % 4)
    assert calibration_error(after, labels) < 0.02


def test_a_fold_is_judged_at_the_temperature_of_the_others():
    """Labels of the fold itself change nothing in it."""
    logits, labels = drawn(400, 1)
    folds = np.arange(400) % 2
    other = np.where(folds == 0, (labels + 1) % 3, labels)
    before, after = (cross_fitted_probabilities(logits, some, folds) for some in (labels, other))
    assert np.array_equal(before[folds == 0], after[folds == 0])
    assert not np.array_equal(before[folds == 1], after[folds == 1])


def test_no_error_among_few_frames_is_no_certainty():
    """Ten right answers out of ten do not make 1.0."""
    labels = np.arange(10) % 2
    logits = np.where(np.arange(2) == labels[:, None], 5.0, -5.0)
    confidence = softmax(logits, fit_temperature(logits, labels)).max(axis=1)
    assert confidence == pytest.approx(11 / 12, abs=1e-3)


def test_the_calibration_error_by_hand():
    """Two decisions made with 0.9 of which one is right, two with 0.6 that are both right: (0.8 + 0.8) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)


def test_the_log_loss_by_hand():
    """Of certainty in the wrong place it is large, not infinite."""
    assert log_loss(np.array([[0.5, 0.5], [0.75, 0.25]]), np.array([0, 1])) == pytest.approx(1.5 * np.log(2))
    assert 100 < log_loss(np.array([[1.0, 0.0]]), np.array([1])) < 1000


def test_the_temperature_lowers_the_log_loss():
    """On frames of other folds."""
    logits, labels = drawn(2000, 3)
    after = cross_fitted_probabilities(3 * logits, labels, np.arange(2000) % 4)
    assert log_loss(after, labels) < log_loss(softmax(3 * logits), labels) - 0.1


@settings(deadline=None, max_examples=25)
@given(st.floats(-700, 700), st.floats(0.05, 50))
def test_probabilities_do_not_overflow(shift: float, temperature: float):
    """And add up to one, wherever the logits lie."""
    probabilities = softmax(np.array([[0.0, 1.0, -2.0]]) + shift, temperature)
    assert np.allclose(probabilities.sum(axis=1), 1.0)


def test_confidence_is_that_of_the_stage_that_holds():
    """While the hysteresis waits for the newest decision it is low; without a classifier there is none."""
    parts, times_s = {"xy": np.zeros((1, 2))}, np.array([0.1])
    waiting = ActionChunk(0.0, times_s, parts, stage=0, stage_probabilities=np.array([0.1, 0.9]))
    assert waiting.stage_confidence == pytest.approx(0.1)
    assert ActionChunk(0.0, times_s, parts).stage_confidence is None
