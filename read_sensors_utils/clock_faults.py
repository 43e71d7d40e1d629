"""Single stamps that are wrong, and steps of the header clock against the receive clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ladle.observation_time import FUTURE_S

Stamps = NDArray[np.int64]
Floats = NDArray[np.float64]

JUMP_S = 0.010  # a smaller step of the clock is not told from the scatter of the delays
JUMP_WINDOW_S = 1.0  # the clock before and after a step is judged by the fastest messages of this time
JUMP_SAMPLES = 10  # ... and by no fewer than these
STALL_S = 0.2  # a longer time without receipts near the ends of a recording hides whether the clock stepped
STRAY_NEIGHBOURS = 10  # a stamp is held against so many on each side
STRAY_COMPANIONS = 2  # ... of which so many may be wrong too
STRAY_BEHIND_S = 1.0  # an older stamp than this is no message held up on its way


def strays(header_ns: Stamps, receive_ns: Stamps) -> NDArray[np.bool_]:
    """(N,) true for single stamps ahead of, or far behind, nearly all of their neighbours; (N,), (N,) stamps.

    A clock that was set takes the stamps that follow with it; a wrong stamp stands alone.
    """
    n = len(header_ns)
    delay_ns = receive_ns - header_ns
    near, late, early = (np.zeros(n, np.intp) for _ in range(3))
    for step in range(1, min(STRAY_NEIGHBOURS, n - 1) + 1):
        rise_ns = delay_ns[step:] - delay_ns[:-step]
        for one, sign in ((slice(None, -step), -1), (slice(step, None), 1)):
            near[one] += 1
            late[one] += sign * rise_ns > STRAY_BEHIND_S * 1e9
            early[one] += -sign * rise_ns > FUTURE_S * 1e9
    enough = near > STRAY_NEIGHBOURS // 2
    return enough & (np.maximum(late, early) >= near - STRAY_COMPANIONS)


def clock_jumps(header_ns: Stamps, receive_ns: Stamps) -> list[tuple[int, float]]:
    """(index of the first sample after it, size in s) of every step of the header clock that stays; (N,), (N,), N > 0.

    The fastest messages of the two stretches before a step and of the two after it differ. A message that was held up
    delays only itself, and a recorder that stalled only what came meanwhile; a clock that was set moves all that come
    after.
    """
    n = len(header_ns)
    delay_ns = receive_ns - header_ns
    delay_s = (delay_ns - int(np.min(delay_ns))).astype(np.float64) * 1e-9
    span_s = float(receive_ns[-1] - receive_ns[0]) * 1e-9
    window = max(JUMP_SAMPLES, min(n // 6, round(JUMP_WINDOW_S * n / span_s))) if span_s > 0 else n
    if n < 6 * window:
        return []
    least = _sliding_least(delay_s, window)
    # least[k] belongs to samples k .. k + window - 1; a step before sample k + window lies between two such windows.
    drift_s = float(np.median(least[window:] - least[:-window]))
    steps_s = _lasting_steps(least - drift_s * np.arange(len(least)) / window, window)
    steps_s[_at_ends_beside_stalls(receive_ns, window, len(steps_s))] = 0.0
    jumps: list[tuple[int, float]] = []
    while float(np.max(np.abs(steps_s))) > JUMP_S:
        k = int(np.argmax(np.abs(steps_s)))
        jumps.append((k + window, float(steps_s[k])))
        steps_s[max(0, k - window): k + window] = 0.0
    return jumps


def without_jumps(header_ns: Stamps, jumps: list[tuple[int, float]]) -> Stamps:
    """Header stamps as if the clock had gone on as it began."""
    steps_ns = np.zeros(len(header_ns), np.int64)
    for index, size_s in jumps:
        steps_ns[index] += round(size_s * 1e9)
    return header_ns - np.cumsum(steps_ns)


def _lasting_steps(least_s: Floats, window: int) -> Floats:
    """By how much the clock went forward between windows k and k + window, as far as their neighbours bear it out."""
    n_steps = len(least_s) - window
    k = np.arange(n_steps)
    before = least_s[:n_steps], least_s[np.where(k >= window, k - window, k)]
    after = least_s[window:], least_s[np.where(k + window < n_steps, k + 2 * window, k + window)]
    forward = np.minimum(*before) - np.maximum(*after)
    backward = np.maximum(*before) - np.minimum(*after)
    return np.where(forward > 0, forward, np.minimum(backward, 0.0))


def _at_ends_beside_stalls(receive_ns: Stamps, window: int, n_steps: int) -> NDArray[np.bool_]:
    """(n_steps,) true where one of the four windows is missing and receipts paused within those that are there."""
    k = np.arange(n_steps)
    first, last = np.maximum(k - window, 0), np.minimum(k + 3 * window, len(receive_ns)) - 1
    pauses = np.concatenate([[0], np.cumsum(np.diff(receive_ns) > STALL_S * 1e9)])
    return (pauses[last] > pauses[first]) & ((k < window) | (k + window >= n_steps))


def _sliding_least(values: Floats, window: int) -> Floats:
    """(N,) -> (N - window + 1,) least of every `window` successive values; doubling keeps it O(N log window)."""
    least, width = values, 1
    while width < window:
        step = min(width, window - width)
        least = np.minimum(least[:-step], least[step:])
        width += step
    return least
