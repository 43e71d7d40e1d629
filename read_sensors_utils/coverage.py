"""Whether every stream lasts as long as its recording: what lies before its first and after its last sample is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ladle.errors import BagError
from ladle.task import TaskConfig

log = logging.getLogger("ladle.extract")

MIN_TICKS = 2  # a single tick shows no motion


def check_coverage(name: str, task: TaskConfig, received_ns: Mapping[str, Sequence[int]], span_ns: tuple[int, int],
                   n_ticks: int) -> None:
    """Hold what is missing at the ends of each stream against the limits for gaps; log what is only worth a warning.

    Args:
        name: the recording, for messages.
        received_ns: stream -> receive stamps of its samples, at least one.
        span_ns: receive stamps of the recording's first and last message.
        n_ticks: what is left to the episode.

    Raises:
        BagError: more is missing than the task file allows, or too few ticks are left.
    """
    limits = task.recording
    for stream, missing_s, text in _missing(task, received_ns, span_ns):
        if missing_s <= limits.gap_warn_s:
            continue
        told = (f"{stream} coverage: {text} (refused above {limits.gap_refuse_s:g} s); record all streams together, "
                f"raise recording.gap_refuse_s, or name the complaint in the task file's recording.accept.{stream}")
        if "coverage" in limits.accept.get(stream, ()):
            log.info("%s: accepted by the task file: %s coverage: %s", name, stream, text)
        elif missing_s > limits.gap_refuse_s:
            raise BagError(f"{name}: refused: {told}")
        else:
            log.warning("%s: %s coverage: %s; the episode lacks it", name, stream, text)
    if n_ticks < MIN_TICKS:
        raise BagError(f"{name}: gives {n_ticks} tick at {task.rate_hz:g} Hz, expected {MIN_TICKS} or more; the "
                       f"recording lasts {_seconds(*span_ns):.2f} s: record for longer, or leave it out")


def _missing(task: TaskConfig, received_ns: Mapping[str, Sequence[int]],
             span_ns: tuple[int, int]) -> Iterator[tuple[str, float, str]]:
    """(stream, seconds missing beyond its period, text) for both ends of each stream, the worst first."""
    found: list[tuple[str, float, str]] = []
    for stream, stamps in received_ns.items():
        in_order = np.sort(np.asarray(stamps, np.int64))
        config = task.cameras.get(stream) or task.joints
        assert config is not None
        period_s = max(1.0 / config.rate_hz, float(np.median(np.diff(in_order))) * 1e-9 if len(in_order) > 1 else 0.0)
        head_s, tail_s = _seconds(span_ns[0], int(in_order[0])), _seconds(int(in_order[-1]), span_ns[1])
        found += [(stream, head_s - period_s, f"its first sample is {head_s:.2f} s after the recording begins"),
                  (stream, tail_s - period_s, f"its last sample is {tail_s:.2f} s before the recording ends")]
    yield from sorted(found, key=lambda missing: -missing[1])


def _seconds(begin_ns: int, end_ns: int) -> float:
    return (end_ns - begin_ns) * 1e-9
