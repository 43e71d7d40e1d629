"""Header stamps and receive stamps on one clock.

Headers may be in the clock of a simulation, 1.7e9 s away from the recorder's, or of a computer that runs some
milliseconds ahead. A message cannot be received before it was stamped, so the smallest delay from header to receipt
is the offset between such clocks; the delay of the fastest message is lost with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]

FOREIGN_CLOCK_NS = 5_000_000_000  # more delay than this is no delay: the clocks have different origins
STRAY_NS = 1_000_000_000  # a stamp so far from the others is a fault of its own, not of the clock


def clock_offset_ns(header_ns: Stamps, receive_ns: Stamps) -> int:
    """What to add to the header stamps of one stream to bring them onto the receive clock; (N,), (N,), N > 0.

    0 where both are the same clock and no message is from the future.
    """
    delay_ns = np.sort(receive_ns - header_ns)
    typical_ns = int(delay_ns[len(delay_ns) // 2])  # np.median would round 1.7e18 ns to 256 ns
    smallest_ns = int(delay_ns[np.abs(delay_ns - typical_ns) <= STRAY_NS][0])
    return smallest_ns if typical_ns > FOREIGN_CLOCK_NS or smallest_ns < 0 else 0


def clock_offsets_ns(streams: Mapping[str, tuple[Stamps, Stamps]]) -> dict[str, int]:
    """Offset per stream, name -> (header_ns, receive_ns); streams that share a foreign clock get the same offset."""
    offsets = {name: clock_offset_ns(header, receive) for name, (header, receive) in streams.items()}
    foreign = {name: offset for name, offset in offsets.items() if abs(offset) > FOREIGN_CLOCK_NS}
    for name, offset in foreign.items():
        same_clock = [other for other in foreign.values() if abs(other - offset) <= STRAY_NS]
        offsets[name] = min(same_clock)
    return offsets
