"""Header stamps and receive stamps on one clock.

Headers may be in the clock of a simulation, 1.7e9 s away from the recorder's. A message cannot be received before it
was stamped, so the smallest delay from header to receipt is the offset between such clocks; the delay of the fastest
message is lost with it. The lower envelope of the delays over time is a line: its slope is the drift of one clock
against the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]
Floats = NDArray[np.float64]

FOREIGN_CLOCK_NS = 5_000_000_000  # more delay than this is no delay: the clocks have different origins
STRAY_NS = 1_000_000_000  # a stamp so far from the others is a fault of its own, not of the clock
STRAY_SHARE = 0.05  # more stamps than this that lie apart are not strays
STRAY_LEAST_S = 0.002
STRAY_SCATTERS = 6.0  # a delay so many scatters below the other blocks' least ones is a stray
MAD_TO_SIGMA = 1.4826  # median absolute deviation of a normal distribution to its standard deviation
DRIFT_BLOCKS = 20  # parts of a recording whose fastest messages tell the drift
DRIFT_SAMPLES = 40  # fewer samples, or a shorter time than this, tell no drift
DRIFT_SPAN_S = 1.0
HULL_POINTS = 400
WORTH_CORRECTING_S = 0.001  # a foreign clock's drift that adds up to more than this is removed


@dataclass(frozen=True)
class Envelope:
    """The lower envelope of receive minus header time.

    Attributes:
        offset_ns: the smallest delay, strays left out.
        start_ns: receive stamp of the first sample.
        at_start_s: the envelope's line there, relative to offset_ns.
        drift: change of the delay a second of the receive clock [s/s]; 0 where there is too little to tell.
        scatter_s: how far the fastest messages of the recording's parts are above the line.
        uneven_s: how far they are at worst; 0 where there is too little to tell.
        strays: samples that are too far from the others to say anything about the clock.
    """

    offset_ns: int
    start_ns: int
    at_start_s: float
    drift: float
    scatter_s: float
    uneven_s: float
    strays: int


@dataclass(frozen=True)
class ClockMap:
    """Brings header stamps onto the receive clock: shift by offset_ns; about pivot_ns, time runs `rate` times as fast.

    Attributes:
        offset_ns: what is added to a header stamp of pivot_ns.
        rate: seconds of the receive clock a second of the header clock; 1 except for foreign clocks.
        pivot_ns: header stamp at which the map is the offset alone.
    """

    offset_ns: int
    rate: float = 1.0
    pivot_ns: int = 0

    def apply(self, header_ns: Stamps) -> Stamps:
        """(N,) header stamps -> (N,) on the receive clock."""
        if self.rate == 1.0:
            return header_ns + self.offset_ns
        since = np.rint((header_ns - self.pivot_ns) * self.rate).astype(np.int64)
        return since + (self.pivot_ns + self.offset_ns)


def clock_offset_ns(header_ns: Stamps, receive_ns: Stamps) -> int:
    """What to add to the header stamps of one stream to bring them onto the receive clock; (N,), (N,), N > 0.

    0 where both have one origin, though one be ahead: the robot knows of no recording's envelope either.
    """
    return lower_envelope(header_ns, receive_ns).offset_ns if is_foreign(header_ns, receive_ns) else 0


def is_foreign(header_ns: Stamps, receive_ns: Stamps) -> bool:
    """Whether the header stamps are of a clock with another origin."""
    return abs(_typical_ns(receive_ns - header_ns)) > FOREIGN_CLOCK_NS


def clock_maps(streams: Mapping[str, tuple[Stamps, Stamps]]) -> dict[str, ClockMap]:
    """Map per stream, name -> (header_ns, receive_ns); streams that share a foreign clock get the same map.

    A foreign clock, as a simulation's, may run at another rate than the recorder's: then time is stretched so that it
    neither creeps away from the receive stamps nor into the future.
    """
    maps = {name: ClockMap(clock_offset_ns(*stamps)) for name, stamps in streams.items()}
    foreign = {name for name, stamps in streams.items() if is_foreign(*stamps)}
    while foreign:
        first = min(foreign)
        same = {name for name in foreign if _same_clock(streams[first], streams[name])}
        shared = _foreign_map([streams[name] for name in sorted(same)])
        maps |= dict.fromkeys(same, shared)
        foreign -= same
    return maps


def lower_envelope(header_ns: Stamps, receive_ns: Stamps) -> Envelope:
    """Fit the line under the delays of one stream: (N,), (N,), N > 0, in order of receipt.

    A straight line under all delays that is as close to them as possible on average is the edge of their lower convex
    hull above the mean time (S. Moon, P. Skelly, D. Towsley: Estimation and removal of clock skew from network delay
    measurements, INFOCOM 1999). Strays, which would hold such a line down, are found first by the least delays of
    the recording's parts.
    """
    order = np.argsort(receive_ns, kind="stable")
    receive_ns, delay_ns = receive_ns[order], (receive_ns - header_ns)[order]
    typical_ns = _typical_ns(delay_ns)
    time_s = (receive_ns - receive_ns[0]).astype(np.float64) * 1e-9
    delay_s = (delay_ns - typical_ns).astype(np.float64) * 1e-9
    if len(time_s) < DRIFT_SAMPLES or time_s[-1] < DRIFT_SPAN_S:
        kept = np.abs(delay_s) <= STRAY_NS * 1e-9
        least_s = float(np.min(delay_s[kept]))
        return Envelope(int(np.min(delay_ns[kept])), int(receive_ns[0]), 0.0, 0.0,
                        float(np.median(delay_s[kept])) - least_s, 0.0, int(np.sum(~kept)))
    slope, kept = _without_strays(time_s, delay_s)
    kept_s, rest_s = time_s[kept], (delay_s - slope * time_s)[kept]
    level_s, more_slope = _line_below(kept_s, rest_s)
    above_s = rest_s - more_slope * kept_s - level_s
    drift, offset_ns = slope + more_slope, int(np.min(delay_ns[kept]))
    at_start_s = level_s - (offset_ns - typical_ns) * 1e-9
    fastest_s = above_s[_least_of_blocks(above_s, DRIFT_BLOCKS)]
    return Envelope(offset_ns, int(receive_ns[0]), at_start_s, drift, float(np.median(fastest_s)),
                    float(np.max(fastest_s)), int(np.sum(~kept)))


def _typical_ns(delay_ns: Stamps) -> int:
    middle = len(delay_ns) // 2
    return int(np.partition(delay_ns, middle)[middle])  # np.median would round 1.7e18 ns to 256 ns


def _same_clock(one: tuple[Stamps, Stamps], other: tuple[Stamps, Stamps]) -> bool:
    """Two foreign clocks are one when they agree at the time at which the second stream begins."""
    mine, theirs = lower_envelope(*one), lower_envelope(*other)
    later_s = (theirs.start_ns - mine.start_ns) * 1e-9
    mine_s = mine.at_start_s + mine.drift * later_s
    return abs((theirs.offset_ns - mine.offset_ns) * 1e-9 + theirs.at_start_s - mine_s) <= STRAY_NS * 1e-9


def _foreign_map(streams: list[tuple[Stamps, Stamps]]) -> ClockMap:
    """One map for all streams of a clock, by their fastest messages together."""
    header_ns = np.concatenate([header for header, _ in streams])
    receive_ns = np.concatenate([receive for _, receive in streams])
    envelope = lower_envelope(header_ns, receive_ns)
    span_s = float(np.max(receive_ns) - np.min(receive_ns)) * 1e-9
    if abs(envelope.drift) * span_s < max(WORTH_CORRECTING_S, 2 * envelope.scatter_s):
        return ClockMap(min(lower_envelope(*stream).offset_ns for stream in streams))
    offset_ns = envelope.offset_ns + round(envelope.at_start_s * 1e9)
    # delay = offset + drift (receive - start), so a second of the header clock is 1 / (1 - drift) s of the receive's.
    return ClockMap(offset_ns, 1.0 / (1.0 - envelope.drift), envelope.start_ns - offset_ns)


def _least_of_blocks(values: Floats, n_blocks: int) -> NDArray[np.intp]:
    """Index of the least value in each of n consecutive parts of equal size."""
    edges = np.linspace(0, len(values), min(n_blocks, len(values)) + 1).astype(int)
    return np.array([low + int(np.argmin(values[low:high])) for low, high in pairwise(edges)])


def _without_strays(time_s: Floats, delay_s: Floats) -> tuple[float, NDArray[np.bool_]]:
    """Rough slope of the envelope and (N,) true for samples that belong to it.

    The slope is the median of the slopes between the blocks' least delays (Theil and Sen), which a few strays do
    not move.
    """
    least = _least_of_blocks(delay_s, DRIFT_BLOCKS)
    i, j = np.triu_indices(len(least), 1)
    span_s = time_s[least[j]] - time_s[least[i]]
    rises_s = (delay_s[least[j]] - delay_s[least[i]])[span_s > 0]
    slope = float(np.median(rises_s / span_s[span_s > 0])) if np.any(span_s > 0) else 0.0
    rest_s = delay_s - slope * time_s
    level_s = float(np.median(rest_s[least]))
    scatter_s = MAD_TO_SIGMA * float(np.median(np.abs(rest_s[least] - level_s)))
    below = rest_s < level_s - max(STRAY_LEAST_S, STRAY_SCATTERS * scatter_s)
    kept = ~below if np.mean(below) <= STRAY_SHARE else np.ones(len(rest_s), np.bool_)
    near = kept & (np.abs(rest_s - level_s) <= STRAY_NS * 1e-9)
    return (slope, near) if np.any(near) else (slope, kept)


def _line_below(time_s: Floats, value_s: Floats) -> tuple[float, float]:
    """(level at time 0, slope) of the lower hull's edge above the mean time; no value is below it."""
    corners: list[tuple[float, float]] = []
    least = _least_of_blocks(value_s, HULL_POINTS)
    for point in zip(time_s[least].tolist(), value_s[least].tolist(), strict=True):
        while len(corners) > 1 and _turns_down(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    middle_s = float(np.mean(time_s))
    right = next((k for k in range(1, len(corners)) if corners[k][0] >= middle_s), len(corners) - 1)
    (t0, v0), (t1, v1) = corners[right - 1], corners[right]
    slope = (v1 - v0) / (t1 - t0) if t1 > t0 else 0.0
    return float(np.min(value_s - slope * time_s)), slope


def _turns_down(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> bool:
    """Whether the second point is on or above the line from the first to the third."""
    (t0, v0), (t1, v1), (t2, v2) = first, second, third
    return (v1 - v0) * (t2 - t0) >= (v2 - v0) * (t1 - t0)
