"""The joints at an observation time: the same rule for a bag and for the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.observation_time import StreamStamps
from ladle.resample import interpolate_vectors

Floats = NDArray[np.float64]


def joints_seen(stamps: StreamStamps, joints_rad: Floats, decision_s: Floats, observation_s: Floats) -> Floats:
    """Joints at the observation times from what was received by the decision times: (N, n), (T,), (T,) -> (T, n)."""
    usable = _overtaking_removed(stamps)
    receive_s, capture_s, values = stamps.receive_s[usable], stamps.capture_s[usable], joints_rad[usable]
    received = np.searchsorted(receive_s, decision_s, side="right")
    if np.any(received == 0):
        raise ValueError("a decision before the first joints were received")
    # The newest sample received is held past its own time, so nothing later has a part in the interpolation.
    return interpolate_vectors(capture_s, values, np.minimum(observation_s, capture_s[received - 1]))


def joints_measured(stamps: StreamStamps, joints_rad: Floats, at_s: Floats) -> Floats:
    """Joints at any instants from all samples, the newest held past the end: (N, n), (T,) -> (T, n)."""
    usable = _overtaking_removed(stamps)
    return interpolate_vectors(stamps.capture_s[usable], joints_rad[usable], at_s)


def _overtaking_removed(stamps: StreamStamps) -> NDArray[np.bool_]:
    """(N,) true for samples captured after everything that was received before them; the rest came too late."""
    newest_before = np.maximum.accumulate(np.concatenate([[-np.inf], stamps.header_s[:-1]]))
    return stamps.header_s > newest_before
