"""Confidence that means what it says: one temperature for all logits, and how far confidence is from accuracy.

Guo et al. 2017 (arXiv:1706.04599) for both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A temperature outside of these would only say that the classifier guesses, or never errs on what it was shown.
LOWEST, HIGHEST = 0.05, 50.0
HALVINGS = 60
N_BINS = 15


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K) divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the highest likelihood of labels (N,) that the classifier was not trained with.

    Each label counts as (n + 1) / (n + K) certain (Laplace), so that a classifier without an error among n
    held-out frames is not taken for one that never errs.
    """
    n, n_classes = logits.shape
    certain = np.full((n, n_classes), 1.0 / (n + n_classes))
    certain[np.arange(n), labels] = (n + 1.0) / (n + n_classes)
    values = logits.astype(np.float64)
    wanted = float((certain * values).sum())

    def slope(inverse: float) -> float:
        """Derivative of the negative log-likelihood, which is convex in the inverse temperature."""
        return float((softmax(values, 1.0 / inverse) * values).sum()) - wanted

    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    for _ in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1.0 / float(np.sqrt(low * high))


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64], n_bins: int = N_BINS) -> float:
    """Expected calibration error: mean |confidence - accuracy| over equal bins of confidence, by their share.

    Args:
        probabilities: (N, K); labels: (N,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * n_bins).astype(np.int64), n_bins - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(labels))


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean of -log of what the label (N,) was given (N, K); unlike the calibration error it needs no bins."""
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean())


def cross_fitted_probabilities(logits: NDArray[np.floating], labels: NDArray[np.int64],
                               folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (N, K), each fold (N,) at the temperature of the other folds: what new episodes would get."""
    probabilities = np.empty(logits.shape, np.float64)
    for fold in np.unique(folds):
        inside = folds == fold
        probabilities[inside] = softmax(logits[inside], fit_temperature(logits[~inside], labels[~inside]))
    return probabilities
