"""When was what the policy sees? The same rule for a bag and for the robot.

At a decision time d nothing counts but what was received by d. The observation time t is the oldest of the newest
captures over the cameras; without cameras it is d minus the slowest stream's period. A capture time is the
header stamp minus the sensor's known latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StreamStamps:
    """When the samples of one stream were taken and when they were there, on one clock, in order of receipt.

    Attributes:
        header_s, receive_s: (N,) seconds; receive_s never decreases.
        latency_s: known delay from the event to the header stamp.
        rate_hz: nominal rate.
    """

    header_s: Floats
    receive_s: Floats
    latency_s: float
    rate_hz: float

    @property
    def capture_s(self) -> Floats:
        """(N,) when the light or the joints were measured."""
        return self.header_s - self.latency_s


def newest_received(stamps: StreamStamps, decision_s: float) -> int:
    """Index of the newest capture received by the decision time, -1 if none was.

    A message that overtook an older one wins: newest means captured last, not received last.
    """
    received = int(np.searchsorted(stamps.receive_s, decision_s, side="right"))
    if received == 0:
        return -1
    return int(np.argmax(stamps.header_s[:received]))


def observation_time_s(
    decision_s: float, cameras: Mapping[str, StreamStamps], others: Mapping[str, StreamStamps]
) -> float | None:
    """The observation time t <= d, or None while a stream has nothing received."""
    newest_captures: list[float] = []
    for stamps in cameras.values():
        index = newest_received(stamps, decision_s)
        if index < 0:
            return None
        newest_captures.append(float(stamps.capture_s[index]))
    if any(newest_received(stamps, decision_s) < 0 for stamps in others.values()):
        return None
    if newest_captures:
        return min(*newest_captures, decision_s)
    if not others:
        return None
    return decision_s - max(1.0 / stamps.rate_hz for stamps in others.values())
