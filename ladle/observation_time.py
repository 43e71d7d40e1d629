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

FUTURE_S = 0.05  # a stamp may be ahead of its own receipt by this much, as clocks of two machines are


@dataclass(frozen=True)
class StreamStamps:
    """When the samples of one stream were taken and when they were there, on one clock, in order of receipt.

    Attributes:
        header_s, receive_s: (N,) seconds; receive_s never decreases.
        latency_s: known delay from the event to the header stamp.
        rate_hz: nominal rate.
        clock_offset_s: known amount by which the header clock is behind.
    """

    header_s: Floats
    receive_s: Floats
    latency_s: float
    rate_hz: float
    clock_offset_s: float = 0.0

    @property
    def capture_s(self) -> Floats:
        """(N,) when the light or the joints were measured."""
        return self.header_s + (self.clock_offset_s - self.latency_s)


def trusted_stamp_s(header_s: float | None, receive_s: float, clock_offset_s: float) -> float | None:
    """The header stamp to reckon with for one sample, decided at its receipt; None: the sample is not used.

    Without a stamp it counts as taken when it was received. One that was stamped more than FUTURE_S after its receipt
    is wrongly stamped; as the newest it would hide all that come after it.
    """
    if header_s is None:
        return receive_s - clock_offset_s
    return None if header_s + clock_offset_s > receive_s + FUTURE_S else header_s


def trusted_stamps(header_s: Floats, receive_s: Floats, clock_offset_s: float) -> NDArray[np.bool_]:
    """Which of (N,) stamps `trusted_stamp_s` reckons with."""
    return header_s + clock_offset_s <= receive_s + FUTURE_S


def newest_received(stamps: StreamStamps, decision_s: float) -> int:
    """Index of the newest capture received by the decision time, -1 if none was.

    A message that overtook an older one wins: newest means captured last, not received last.
    """
    return int(newest_received_at(stamps, np.array([decision_s]))[0])


def newest_received_at(stamps: StreamStamps, decision_s: Floats) -> NDArray[np.intp]:
    """`newest_received` for (T,) decision times -> (T,)."""
    received = np.searchsorted(stamps.receive_s, decision_s, side="right")
    if len(stamps.header_s) == 0:
        return received - 1
    newest_before = np.maximum.accumulate(np.concatenate([[-np.inf], stamps.header_s[:-1]]))
    newest = np.maximum.accumulate(np.where(stamps.header_s > newest_before, np.arange(len(newest_before)), 0))
    return np.where(received > 0, newest[received - 1], -1)


def observation_time_s(
    decision_s: float, cameras: Mapping[str, StreamStamps], others: Mapping[str, StreamStamps]
) -> float | None:
    """The observation time t <= d, or None while a stream has nothing received."""
    time_s = float(observation_times_s(np.array([decision_s]), cameras, others)[0])
    return None if np.isnan(time_s) else time_s


def observation_times_s(
    decision_s: Floats, cameras: Mapping[str, StreamStamps], others: Mapping[str, StreamStamps]
) -> Floats:
    """Observation times of (T,) decisions -> (T,); NaN while a stream has nothing received."""
    if cameras:
        time_s = np.array(decision_s, np.float64)
        for stamps in cameras.values():
            index = newest_received_at(stamps, decision_s)
            captured_s = np.append(stamps.capture_s, np.nan)  # -1, nothing received, takes the NaN
            time_s = np.minimum(time_s, captured_s[index])
    elif others:
        time_s = decision_s - max(1.0 / stamps.rate_hz for stamps in others.values())
    else:
        time_s = np.full(len(decision_s), np.nan)
    for stamps in others.values():
        time_s = np.where(newest_received_at(stamps, decision_s) < 0, np.nan, time_s)
    return time_s
