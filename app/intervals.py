"""Confidence intervals of what an evaluation finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
N_BOOTSTRAP = 10_000


def wilson(successes: int, n: int) -> list[float]:
    """Interval of a share (Wilson 1927) -> [lower, upper]; unlike resampling, it is none of zero width at 0 or 1."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return [round(float(interval.low), 4), round(float(interval.high), 4)]


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> list[float]:
    """Percentile interval of the mean over resampled episodes (Efron 1979): values (n,) -> [lower, upper]."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (N_BOOTSTRAP, len(values))).mean(axis=1)
    tail = 50 * (1 - CONFIDENCE)
    return [round(float(bound), 4) for bound in np.percentile(means, [tail, 100 - tail])]
