"""How well one stream was recorded, and what the task file says about that.

Measured from the stamps alone: rate, gaps, missing, repeated and overtaken samples, and the header clock against the
receive clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ladle.recording_limits import Complaint, RecordingLimits
from read_sensors_utils.clock_faults import clock_jumps, strays, without_jumps
from read_sensors_utils.clocks import FOREIGN_CLOCK_NS, Stamps, is_foreign, lower_envelope

Domain = Literal["system", "simulation", "foreign", "none"]
Level = Literal["accept", "warn", "refuse"]

# A simulation counts from its start; no computer's clock has shown so early a date since 2001.
SIMULATION_BEFORE_NS = 1_000_000_000 * 1_000_000_000
NOMINAL_SHARE = 0.1  # a stream this near to its nominal rate runs at it
LATE_PERIODS = 1.5  # a longer gap between two header stamps has room for another sample


@dataclass(frozen=True)
class StreamHealth:
    """What the stamps of one stream tell.

    Attributes:
        count: samples.
        duration_s: from the first receipt to the last.
        nominal_rate_hz: as given, None where nothing is said about it.
        rate_hz: measured, by the median period; None with fewer than two samples.
        longest_gap_s, longest_header_gap_s: between successive receipts, successive header stamps.
        dropped: samples that are missing at the stream's rate.
        duplicates: samples with the header stamp of another.
        out_of_order: samples stamped before one that was received earlier.
        receive_backsteps: samples whose receive stamp is before that of the one before.
        unstamped: samples with a header stamp of 0.
        clock: what clock the header stamps are in: the recorder's ("system"), a simulation's (which may be the
            recorder's too), one with another origin ("foreign"), or none.
        clock_offset_s: least delay from header stamp to receipt, transport and offset of the clocks, before any jump.
        clock_drift: change of that delay a second; 1 - clock_drift is a simulation's real-time factor.
        drift_effect_s: what the drift adds up to over the recording, as far as it is certain.
        uneven_s: how far a clock of another origin is at worst from running evenly; 0 for others.
        clock_jumps, largest_jump_s: steps of the header clock against the receive clock; positive is forward.
        strays: single stamps far from those before and after; gaps, drops and the clock are measured without them.
    """

    count: int
    duration_s: float
    nominal_rate_hz: float | None
    rate_hz: float | None
    longest_gap_s: float
    longest_header_gap_s: float
    dropped: int
    duplicates: int
    out_of_order: int
    receive_backsteps: int
    unstamped: int
    clock: Domain
    clock_offset_s: float
    clock_drift: float
    drift_effect_s: float
    uneven_s: float
    clock_jumps: int
    largest_jump_s: float
    strays: int

    @property
    def on_receive_clock(self) -> bool:
        """Whether header and receive stamps are of clocks with the same origin."""
        return self.clock != "none" and abs(self.clock_offset_s) * 1e9 <= FOREIGN_CLOCK_NS

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and words, times to a microsecond, drift to 0.1 ppm."""
        return {key: round(value, 7 if key == "clock_drift" else 6) if isinstance(value, float) else value
                for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Finding:
    """One thing to say about a stream: `accept` is known and allowed by the task file."""

    level: Level
    complaint: Complaint
    text: str


def measure(header_ns: Stamps, receive_ns: Stamps, rate_hz: float | None = None, *,
            backsteps: int = 0, clock_offset_s: float = 0.0) -> StreamHealth:
    """Measure one stream: (N,), (N,) stamps in order of receipt, header stamps 0 where there are none.

    Args:
        rate_hz: nominal rate, where one is known.
        backsteps: receive stamps that ran backwards in the file, for a reader that sorts them.
        clock_offset_s: what is known to be missing from the header stamps; without it a clock may seem foreign.
    """
    header_ns, receive_ns = np.asarray(header_ns, np.int64), np.asarray(receive_ns, np.int64)
    if len(header_ns) == 0:
        return StreamHealth(0, 0.0, rate_hz, None, 0.0, 0.0, 0, 0, 0, backsteps, 0, "none", 0.0, 0.0, 0.0, 0.0, 0, 0.0,
                            0)
    stamped = header_ns != 0
    header, receive = (header_ns[stamped], receive_ns[stamped]) if np.any(stamped) else (receive_ns, receive_ns)
    wrong = strays(header, receive)
    header, receive = header[~wrong], receive[~wrong]
    in_order = np.sort(header)
    gaps_ns = np.diff(in_order)
    measured_hz = _rate_hz(gaps_ns)
    duration_s = float(np.max(receive_ns) - np.min(receive_ns)) * 1e-9
    domain = _domain(header_ns, receive_ns, clock_offset_s)
    jumps = clock_jumps(header, receive)
    envelope = lower_envelope(without_jumps(header, jumps), receive)
    other_origin = domain != "none" and is_foreign(header + round(clock_offset_s * 1e9), receive)
    certain_s = max(0.0, abs(envelope.drift) * duration_s - 2 * envelope.scatter_s)
    receive_steps_ns = np.diff(receive_ns)
    return StreamHealth(
        count=len(header_ns), duration_s=duration_s, nominal_rate_hz=rate_hz, rate_hz=measured_hz,
        longest_gap_s=float(np.max(receive_steps_ns, initial=0)) * 1e-9,
        longest_header_gap_s=float(np.max(gaps_ns, initial=0)) * 1e-9,
        dropped=_dropped(gaps_ns, rate_hz, measured_hz), duplicates=int(np.sum(gaps_ns == 0)),
        out_of_order=int(np.sum(header < np.maximum.accumulate(header))),
        receive_backsteps=max(backsteps, int(np.sum(receive_steps_ns < 0))),
        unstamped=int(np.sum(~stamped)), clock=domain,
        clock_offset_s=envelope.offset_ns * 1e-9, clock_drift=envelope.drift,
        drift_effect_s=math.copysign(certain_s, envelope.drift) if certain_s else 0.0,
        uneven_s=lower_envelope(header, receive).uneven_s if other_origin else 0.0,
        clock_jumps=len(jumps), largest_jump_s=max((size_s for _, size_s in jumps), key=abs, default=0.0),
        strays=int(np.sum(wrong)),
    )


def judge(health: StreamHealth, limits: RecordingLimits, name: str, *, transport_s: float = 0.0,
          clock_offset_s: float = 0.0) -> list[Finding]:
    """What is to be said about a stream under the limits, worst first; nothing about a healthy one.

    Args:
        name: the stream, as in the limits' `accept`, and in the text.
        transport_s: least time from stamp to receipt that the task file expects.
        clock_offset_s: what the task file adds to the stream's header stamps.
    """
    rank = {"refuse": 0, "warn": 1, "accept": 2}
    accepted = limits.accept.get(name, ())
    found = [
        Finding("accept" if complaint in accepted else "refuse" if amount > refuse else "warn", complaint,
                f"{name} {complaint}: {text}")
        for complaint, amount, warn, refuse, text in [
            *_clock_complaints(health, limits, name, transport_s, clock_offset_s),
            *_sample_complaints(health, limits, name),
        ] if amount > warn
    ]
    return sorted(found, key=lambda finding: rank[finding.level])


Complaints = Iterator[tuple[Complaint, float, float, float, str]]


def _clock_complaints(health: StreamHealth, limits: RecordingLimits, name: str, transport_s: float,
                      clock_offset_s: float) -> Complaints:
    """(complaint, amount, warn above, refuse above, text) about the header clock."""
    warn_s, refuse_s = limits.offset_warn_s, limits.offset_refuse_s
    accept = _accept(name)
    if health.on_receive_clock or health.clock in ("system", "foreign"):
        rest_s = health.clock_offset_s - clock_offset_s - transport_s
        yield ("clock_offset", abs(rest_s), warn_s, refuse_s,
               f"the least time from header stamp to receipt is {_ms(health.clock_offset_s)}, the task file expects "
               f"{_ms(clock_offset_s + transport_s)} ({_ms(warn_s)} apart pass, {_ms(refuse_s)} with a warning); if "
               f"data take so long, state its transport_s; if a clock is off, synchronise it or state its "
               f"clock_offset_s; or {accept}")
    if health.on_receive_clock or health.clock == "system":
        yield ("clock_drift", abs(health.drift_effect_s), warn_s, refuse_s,
               f"the header clock drifts by {health.clock_drift * 1e6:.0f} ppm, {_ms(health.drift_effect_s)} over the "
               f"recording ({_ms(warn_s)} pass, {_ms(refuse_s)} with a warning); synchronise the clocks, or {accept}")
    elif health.drift_effect_s:
        factor = 1.0 - health.clock_drift
        yield ("real_time_factor", abs(1.0 - factor), limits.real_time_factor_warn, limits.real_time_factor_refuse,
               f"the header clock runs at {factor:.4f} times the recorder's, so motions look that much slower in the "
               f"episode; record with the simulation's time (ros2 bag record --use-sim-time), or {accept}")
    yield ("real_time_factor", health.uneven_s, limits.jump_warn_s, limits.jump_refuse_s,
           f"the header clock does not run evenly, it is up to {_ms(health.uneven_s)} from the steady rate at which it "
           f"is laid onto the receive clock; record with the simulation's time (ros2 bag record --use-sim-time), "
           f"or {accept}")
    yield ("clock_jump", abs(health.largest_jump_s), limits.jump_warn_s, limits.jump_refuse_s,
           f"the header clock jumps {health.clock_jumps} times, by up to {_ms(health.largest_jump_s)} "
           f"(refused above {_ms(limits.jump_refuse_s)}); cut the recording there, or {accept}")


def _sample_complaints(health: StreamHealth, limits: RecordingLimits, name: str) -> Complaints:
    """(complaint, amount, warn above, refuse above, text) about samples that are missing, doubled or disordered."""
    accept = _accept(name)
    nominal_hz, measured_hz = health.nominal_rate_hz, health.rate_hz
    longest_s = max(health.longest_gap_s, health.longest_header_gap_s)
    period_s = 0.0 if measured_hz is None else 1.0 / measured_hz
    if measured_hz is not None:
        yield ("gap", longest_s - period_s, limits.gap_warn_s, limits.gap_refuse_s,
               f"a gap of {longest_s:.3f} s at {measured_hz:.1f} Hz (refused above {limits.gap_refuse_s:g} s); cut the "
               f"recording there, raise recording.gap_refuse_s, or {accept}")
    if nominal_hz is not None and measured_hz is not None:
        slower = 1.0 - measured_hz / nominal_hz
        # More samples than expected harm nothing.
        yield ("rate", abs(slower), limits.rate_warn_share, limits.rate_refuse_share if slower > 0 else math.inf,
               f"it runs at {measured_hz:.1f} Hz, the task file says {nominal_hz:.1f} Hz (refused when slower by more "
               f"than {limits.rate_refuse_share:.0%}); mend the one that is wrong, or {accept}")
    counted: tuple[tuple[Complaint, int, float, float, str], ...] = (
        ("drops", health.dropped, limits.drops_warn_share, limits.drops_refuse_share, "are missing"),
        ("duplicates", health.duplicates, limits.duplicates_warn_share, limits.duplicates_refuse_share,
         "repeat a header stamp"),
        ("order", health.out_of_order, limits.order_warn_share, limits.order_refuse_share,
         "were overtaken by a newer one"),
        ("receive_order", health.receive_backsteps, limits.receive_order_warn_share,
         limits.receive_order_refuse_share, "have a receive stamp before that of the one before"),
        ("strays", health.strays, limits.strays_warn_share, limits.strays_refuse_share,
         "bear a header stamp that does not go with those before and after"),
    )
    for complaint, count, warn, refuse, what in counted:
        total = health.count + (count if complaint == "drops" else 0)
        yield (complaint, count / max(total, 1), warn, refuse,
               f"{count} of {total} samples {what} (refused above {refuse:.1%}); look at the driver, the network and "
               f"the load of the recording computer, or {accept}")
    if health.unstamped:
        # All of them alike is the driver's way; some of them is a fault.
        refuse = limits.unstamped_refuse_share if health.unstamped < health.count else math.inf
        yield ("stamps", health.unstamped / health.count, limits.unstamped_warn_share, refuse,
               f"{health.unstamped} of {health.count} samples have no header stamp and count as taken when they were "
               f"received, later than they were; let the driver fill in header.stamp")


def _accept(name: str) -> str:
    return f"name the complaint in the task file's recording.accept.{name}"


def _domain(header_ns: Stamps, receive_ns: Stamps, clock_offset_s: float) -> Domain:
    stamped = header_ns[header_ns != 0]
    if len(stamped) == 0:
        return "none"
    if float(np.median(stamped)) < SIMULATION_BEFORE_NS:
        return "simulation"
    known_ns = round(clock_offset_s * 1e9)
    return "foreign" if is_foreign(stamped + known_ns, receive_ns[header_ns != 0]) else "system"


def _rate_hz(gaps_ns: NDArray[np.int64]) -> float | None:
    """By the median gap, as gaps and bursts do not move it; by the mean of the gaps near it, as that is finer."""
    positive = gaps_ns[gaps_ns > 0]
    if len(positive) == 0:
        return None
    typical_ns = float(np.median(positive))
    near = positive[positive < LATE_PERIODS * typical_ns]
    return 1e9 / float(np.mean(near))


def _dropped(gaps_ns: NDArray[np.int64], nominal_hz: float | None, measured_hz: float | None) -> int:
    """Samples that have room between the others; no more than are missing from the whole."""
    if measured_hz is None:
        return 0
    at_nominal = nominal_hz is not None and abs(1.0 - measured_hz / nominal_hz) <= NOMINAL_SHARE
    period_ns = 1e9 / (nominal_hz if at_nominal and nominal_hz is not None else measured_hz)
    late = gaps_ns[gaps_ns > LATE_PERIODS * period_ns]
    room = int(np.sum(np.rint(late / period_ns) - 1))
    missing = round(float(np.sum(gaps_ns)) / period_ns) - int(np.sum(gaps_ns > 0))
    return max(0, min(room, missing))


def _ms(duration_s: float) -> str:
    return f"{duration_s * 1e3:.1f} ms"
