"""Random chunk sequences through every controller model, judged by the simulator's independent reflex model.

Nothing of the planning side takes part in the judgement: set-points at 1 kHz go to `simulation.reflex_model`, which has
its own tables. A seam is a cycle in which a message comes into force, or in which the plan that it carries changes; its
velocity step is the whole change of the set-points' velocity within a cycle, the motion's own acceleration included.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from app.benchmarks.motion_sequences import START_S, Arm, Sequence, random_sequence
from app.quieter import quieter
from ladle.parent_death import end_with_parent
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.safety import MotionLimits
from simulation.jtc_model import Distribution, JtcModel, JtcParameters, TrajectoryMessage
from simulation.reflex_model import CYCLE_S, DQ_MAX_RAD_S, ReflexModel

Array = NDArray[np.float64]
Route = Literal["humble", "jazzy", "master", "ruckig"]
ROUTES: tuple[Route, ...] = get_args(Route)

log = logging.getLogger(__name__)

# As real_world_deployment.jtc_parameters asks for it; the default of all but master.
JTC = JtcParameters(allow_trajectory_replacement=False)
BEFORE_S, AFTER_S = 0.1, 0.3   # cycles before the first decision, and after the last plan's end
REST_CYCLES = 100
REST_RAD_S = 1e-6
SEAM_CYCLES = 2                # before and after a seam; two controllers count the cycle differently
SEAM_SHARE = 0.01              # of a joint's velocity limit: a larger step is one
BATCH = 10


@dataclass
class RouteResult:
    """What one controller model did with all sequences.

    Attributes:
        violations: sequences in which a limit was broken or a message was refused.
        max_seam_step_share: largest velocity step at a seam, as a share of the joint's velocity limit.
        not_at_rest: sequences that still move when the last plan has ended.
        chunks, refused: how many there were, and how many of them gave no safe motion, so that the arm went to rest.
        reasons: of the first violations, with the sequence's seed.
    """

    sequences: int = 0
    violations: int = 0
    max_seam_step_share: float = 0.0
    not_at_rest: int = 0
    chunks: int = 0
    refused: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether no sequence broke a limit, stepped at a seam or moved on."""
        return not self.violations and not self.not_at_rest and self.max_seam_step_share < SEAM_SHARE

    def add(self, other: RouteResult) -> None:
        """Count other sequences in."""
        self.sequences += other.sequences
        self.violations += other.violations
        self.max_seam_step_share = max(self.max_seam_step_share, other.max_seam_step_share)
        self.not_at_rest += other.not_at_rest
        self.chunks += other.chunks
        self.refused += other.refused
        self.reasons.extend(other.reasons[:max(10 - len(self.reasons), 0)])

    def figures(self) -> dict[str, int | float]:
        """For --json."""
        return {"sequences": self.sequences, "violations": self.violations,
                "max_seam_step_share": self.max_seam_step_share, "not_at_rest": self.not_at_rest}


def measure_motion(sequences: int, seed: int = 0, processes: int | None = None) -> dict[Route, RouteResult]:
    """Sequences seed, seed + 1, ... on all cores."""
    batches = [range(first, min(first + BATCH, seed + sequences)) for first in range(seed, seed + sequences, BATCH)]
    total: dict[Route, RouteResult] = {route: RouteResult() for route in ROUTES}
    count = min(processes or os.cpu_count() or 1, len(batches))
    if count <= 1:
        found: Iterable[dict[Route, RouteResult]] = map(measure_batch, batches)
        return _sum(total, found)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=end_with_parent) as pool:
        return _sum(total, pool.map(measure_batch, batches))


def _sum(total: dict[Route, RouteResult], found: Iterable[dict[Route, RouteResult]]) -> dict[Route, RouteResult]:
    for results in found:
        for route, result in results.items():
            total[route].add(result)
    return total


def measure_batch(seeds: Iterable[int]) -> dict[Route, RouteResult]:
    """Some sequences through all models, one after the other."""
    arm = _arm()
    total: dict[Route, RouteResult] = {route: RouteResult() for route in ROUTES}
    with quieter(["real_world_deployment"], logging.ERROR):  # what is refused is counted
        for seed in seeds:
            sequence = random_sequence(arm, seed)
            for route, result in total.items():
                result.add(judge(arm, sequence, route, seed))
    return total


def judge(arm: Arm, sequence: Sequence, route: Route, seed: int) -> RouteResult:
    """One sequence through one model."""
    cycles, arrivals = _cycles(sequence)
    drive = _ruckig if route == "ruckig" else partial(_jtc, route)
    rows, reason = drive(arm, sequence, cycles, arrivals)
    kept, why = ReflexModel(arm.home_rad).check(rows)
    if why is not None:
        reason = f"{why} at {cycles[kept] * CYCLE_S - sequence.clock_offset_s:.3f} s"
    velocity = np.diff(rows, axis=0) / CYCLE_S
    steps = np.abs(np.diff(velocity, axis=0)) / DQ_MAX_RAD_S
    rest = bool(np.all(np.abs(velocity[-REST_CYCLES:]) < REST_RAD_S))
    if reason is not None:
        reason = f"sequence {seed}: {reason}"
    seam_step = float(steps[_seams(sequence, cycles, arrivals)].max(initial=0.0))
    return RouteResult(1, int(reason is not None), seam_step, int(not rest),
                       sequence.chunks, sequence.refused, [] if reason is None else [reason])


def table(found: dict[Route, RouteResult]) -> str:
    """For people."""
    lines = [f"{'':8} {'sequences':>9} {'violations':>10} {'seam step':>9} {'not at rest':>11} {'refused':>7} chunks"]
    for route, r in found.items():
        lines.append(f"{route:8} {r.sequences:9d} {r.violations:10d} {r.max_seam_step_share:9.2%} {r.not_at_rest:11d} "
                     f"{r.refused:7d} of {r.chunks}")
    lines.extend(f"{route}: {reason}" for route, r in found.items() for reason in r.reasons)
    return "\n".join(lines)


@lru_cache(maxsize=1)
def _arm() -> Arm:
    return Arm.scoop()


def _cycles(sequence: Sequence) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Milliseconds of the controller's cycles on its own clock, and the first cycle that sees each message."""
    offset_s = sequence.clock_offset_s
    arrivals = np.array([int(np.ceil((arrival.at_s + offset_s) / CYCLE_S)) for arrival in sequence.arrivals], np.int64)
    first = round((START_S - BEFORE_S) / CYCLE_S)
    # The last plan ends on the controller's clock, but its message may have come later.
    last = int(max([np.ceil(sequence.rest_s / CYCLE_S), *arrivals]) + round(AFTER_S / CYCLE_S))
    return np.arange(first, last, dtype=np.int64), arrivals


def _seams(sequence: Sequence, cycles: NDArray[np.int64], arrivals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the second differences about every seam."""
    switches = np.array([round(arrival.switch_s / CYCLE_S) for arrival in sequence.arrivals], np.int64)
    at = np.concatenate([arrivals, switches]) - cycles[0] - 1
    rows = at[:, None] + np.arange(-SEAM_CYCLES, SEAM_CYCLES + 1)
    return np.unique(np.clip(rows, 0, len(cycles) - 3))


def _jtc(distribution: Distribution, arm: Arm, sequence: Sequence, cycles: NDArray[np.int64],
         arrivals: NDArray[np.int64]) -> tuple[Array, str | None]:
    """Set-points (n, J) of a JTC."""
    model = JtcModel(distribution, arm.chain.joint_names, arm.home_rad, JTC)
    rows, reason, at = [], None, int(cycles[0])
    for arrival, until in zip((*sequence.arrivals, None), (*arrivals.tolist(), int(cycles[-1]) + 1), strict=True):
        times: Array = np.arange(at, until, dtype=np.float64) * CYCLE_S
        rows.append(model.setpoints(times))
        at = until
        if arrival is not None:
            refused = model.accept(_as_read(arrival.message), at * CYCLE_S)
            reason = reason or refused
    return np.concatenate(rows), reason


def _ruckig(arm: Arm, sequence: Sequence, cycles: NDArray[np.int64],
            arrivals: NDArray[np.int64]) -> tuple[Array, str | None]:
    """Set-points (n, J) of the Ruckig stream, which reads plans from a topic as a JTC does."""
    assert arm.task.limits is not None
    limits = MotionLimits(arm.task.limits, arm.config.stream_limits, arm.chain.joint_names)
    stream = RuckigController(limits, arm.config)
    stream.start(arm.home_rad, float(cycles[0] - 1) * CYCLE_S)
    rows: list[Array] = []
    for arrival, until in zip((*sequence.arrivals, None), (*arrivals.tolist(), int(cycles[-1]) + 1), strict=True):
        rows.append(stream.setpoints((until - 1) * CYCLE_S))
        if arrival is not None:
            stream.follow_plan(arrival.message.to_trajectory())
    return np.concatenate(rows), None


def _as_read(m: JtcMessage) -> TrajectoryMessage:
    return TrajectoryMessage(m.stamp_s, m.joint_names, m.times_from_start_s, m.positions, m.velocities,
                             m.accelerations)
