"""Faults done to a moving arm through real processes: what is detected, when the arm rests, whether it moves again.

Every fault meets a run that circles at full speed. It is undone when the arm rests; then services, or a new process
where one was killed, bring the arm back to motion, and the next fault follows in the same run. A fault that fails ends
its processes, and the next one begins with new ones. All times are of the simulator's clock, which runs slower than the
wall's (`pace`), so that a busy machine is none of the faults.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from app.benchmarks.fault_cases import Fault, faults
from app.benchmarks.fault_observer import RunStatus
from app.benchmarks.fault_scene import FaultScene
from ladle.errors import ConfigError, DeploymentError

log = logging.getLogger(__name__)

PACE = 0.25
DETECTION_S = 0.150  # at the most; but an answer is not late before twice its usual latency has passed
BEFORE_S, AFTER_S, LOOK_EVERY_S = 0.2, 1.6, 0.1
CRUISE_S = 0.8  # of motion before a fault


@dataclass(frozen=True)
class FaultResult:
    """What came of a fault.

    Attributes:
        speed_rad_s: of the fastest joint when it struck.
        state, alarm: what the run said of it; empty if nothing.
        detected_s, detection_bound_s: from the fault to that, and what the run promises; None without an alarm.
        rest_s, allowed_s: from the fault until the arm is at rest; None if it moves on.
        restart: how it was brought to move again.
        problems: what is wrong; none means passed.
        unseen_s: how long there is nothing to be seen of it, on top of the bound.
    """

    name: str
    what: str
    speed_rad_s: float
    state: str
    alarm: str
    detected_s: float | None
    detection_bound_s: float | None
    rest_s: float | None
    allowed_s: float
    restart: str
    problems: tuple[str, ...]
    unseen_s: float = 0.0


def run_faults(only: Sequence[str] = (), pace: float = PACE) -> list[FaultResult]:
    """All faults, or the named ones.

    Raises:
        ConfigError: an unknown name.
        DeploymentError: a run cannot even be started.
    """
    wanted = chosen(only)
    results: list[FaultResult] = []
    while len(results) < len(wanted):
        _, left = next(groupby(wanted[len(results) :], key=lambda fault: fault.route))
        same_route = list(left)
        with FaultScene(pace, same_route[0].route) as scene:
            scene.wait_until_moving()
            for fault in same_route:
                results.append(run_fault(scene, fault))
                log.info("%s", json.dumps(asdict(results[-1])))
                if results[-1].problems:
                    break
    return results


def chosen(only: Sequence[str]) -> list[Fault]:
    """Raises ConfigError for a name that is none."""
    known = {fault.name: fault for fault in faults()}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigError(f"no fault is called {unknown[0]!r}; known: {', '.join(known)}")
    return [known[name] for name in only] if only else list(known.values())


def run_fault(scene: FaultScene, fault: Fault) -> FaultResult:
    """Wait until the arm moves, do the fault, look, undo it, and see the arm move again."""
    scene.wait_until_moving()
    scene.wait_simulated(CRUISE_S)
    scene.wait_until_moving()
    problems = [f"before it: {violation}" for violation in scene.new_violations()]
    heard = scene.observer.heard
    statuses, conditions = len(heard.statuses), len(heard.conditions)
    fault_s = scene.next_tick_s()  # not up to a tick before it
    fault.inject(scene)
    while heard.now_s < fault_s + AFTER_S and not _is_over(scene, fault, fault_s, heard.statuses[statuses:]):
        scene.wait_simulated(LOOK_EVERY_S)
    found = _figures(scene, fault, fault_s, heard.statuses[statuses:])
    restart = _restarted(scene, fault, problems)
    problems += [*found.problems, *scene.new_violations()]
    problems += [f"the arm reports {errors}" for _, _, errors in heard.conditions[conditions:]
                 if errors and not set(errors.split(",")) <= set(fault.errors)]
    return FaultResult(**{**asdict(found), "restart": restart, "problems": tuple(problems)})


def _is_over(scene: FaultScene, fault: Fault, fault_s: float, statuses: Sequence[RunStatus]) -> bool:
    """Whether nothing more is to come: the arm rests, and what must be said of it has been said."""
    said = not fault.alarms or _said(fault, statuses) is not None
    return said and scene.motion(fault_s - BEFORE_S).rest_s(fault_s) is not None


def _said(fault: Fault, statuses: Sequence[RunStatus]) -> RunStatus | None:
    """The first status with an alarm of the fault's, or with any where it has none."""
    return next((status for status in statuses if status.alarm and (status.alarm in fault.alarms or not fault.alarms)),
                None)


def _restarted(scene: FaultScene, fault: Fault, problems: list[str]) -> str:
    starts = scene.starts
    try:
        fault.heal(scene)
        how = scene.wait_until_moving()
        return how if scene.starts == starts else "new process"
    except DeploymentError as error:
        problems.append(str(error))
        return "no"


def _figures(scene: FaultScene, fault: Fault, fault_s: float, statuses: Sequence[RunStatus]) -> FaultResult:
    """What the run said of the fault, and what the arm did."""
    said = _said(fault, statuses)
    problems: list[str] = []
    detected_s = bound_s = None
    if said is not None and (fault.needs_detection or fault.alarms):
        detected_s, bound_s = said.since_s - fault.clock_step_s - fault_s, said.bound_s
    if fault.alarms:
        problems += _detection_problems(fault, said, detected_s, bound_s, statuses)
    motion = scene.motion(fault_s - BEFORE_S)
    rest_s = motion.rest_s(fault_s)
    waits_s = (bound_s or 0.0) + fault.unseen_s if fault.needs_detection else 0.0
    allowed_s = motion.allowed_s(fault_s, waits_s)
    if fault.comes_to_rest and rest_s is None:
        problems.append("the arm does not come to rest")
    if fault.comes_to_rest is False and (rest_s is not None or said is not None):
        problems.append("the arm was stopped for nothing")
    if rest_s is not None:
        if rest_s - fault_s > allowed_s:
            problems.append(f"at rest after {rest_s - fault_s:.3f} s; {allowed_s:.3f} s are allowed")
        if not motion.settles_after(rest_s):
            problems.append("the measured joints do not settle")
    speed = motion.speed_at(fault_s)
    return FaultResult(fault.name, fault.what, round(speed, 3), said.state if said else "", said.alarm if said else "",
                       _rounded(detected_s), _rounded(bound_s), _rounded(None if rest_s is None else rest_s - fault_s),
                       round(allowed_s, 3), "", tuple(problems), fault.unseen_s)


def _detection_problems(fault: Fault, said: RunStatus | None, detected_s: float | None, bound_s: float | None,
                        statuses: Sequence[RunStatus]) -> list[str]:
    if said is None or detected_s is None or bound_s is None:
        heard = ", ".join(f"{status.state} {status.alarm}" for status in statuses) or "nothing"
        return [f"none of {', '.join(fault.alarms)} was raised, but {heard}"]
    problems: list[str] = []
    if bound_s > DETECTION_S and not fault.unseen_s:
        problems.append(f"the stated bound of {said.alarm} is {bound_s:.3f} s; at most {DETECTION_S} s are allowed")
    if detected_s > bound_s + fault.unseen_s:
        problems.append(f"{said.alarm} after {detected_s:.3f} s; {bound_s + fault.unseen_s:.3f} s are stated")
    return problems


def _rounded(value_s: float | None) -> float | None:
    return None if value_s is None else round(max(value_s, 0.0), 3)


def table(results: Sequence[FaultResult]) -> str:
    """Markdown, one row a fault."""
    lines = ["| fault | what is done | speed | alarm | detected / stated | at rest / allowed | moves again | passed |",
             "|---|---|---|---|---|---|---|---|"]
    for r in results:
        unseen = f"{r.unseen_s:g} + " if r.unseen_s else ""
        detected = "" if r.detected_s is None else f"{r.detected_s:.3f} / {unseen}{r.detection_bound_s:.3f} s"
        rest = f"{r.rest_s:.3f} / {r.allowed_s:.3f} s" if r.rest_s is not None else "goes on"
        alarm = f"{r.alarm} ({r.state})" if r.alarm else ""
        passed = "yes" if not r.problems else "no: " + "; ".join(r.problems)
        lines.append(f"| {r.name} | {r.what} | {r.speed_rad_s:.2f} rad/s | {alarm} | {detected} | {rest} | {r.restart} "
                     f"| {passed} |")
    return "\n".join(lines)


BEGIN, END = "<!-- made by `ladle bench faults --table` -->", "<!-- end of the table of faults -->"


def write_table(path: Path, results: Sequence[FaultResult]) -> None:
    """Put the rows into the table between the two marks of a file; rows of other faults stay.

    Raises:
        ConfigError: it has no such marks.
    """
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ConfigError(f"{path} has no place for the table: put the lines {BEGIN} and {END} into it")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {_name_of(row): row for row in (*old.strip().splitlines()[2:], *table(results).splitlines()[2:])}
    ordered = [rows[fault.name] for fault in faults() if fault.name in rows]
    path.write_text("\n".join([f"{before}{BEGIN}", table([]), *ordered, f"{END}{after}"]))


def _name_of(row: str) -> str:
    return row.strip("| ").partition(" ")[0]
