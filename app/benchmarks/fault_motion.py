"""From the simulated arm's own log to figures: how fast was it, when was it at rest, how long may that have taken.

At rest: no set-point moves faster than 1 mrad/s for 100 ms. The time that is allowed from the fault on is

    detection bound + motion held (150 ms) + braking,    braking = max over joints |v + a r / 2| / (0.9 a_max) + r,

and at least 2 r for the braking, where v and a are the arm's own, at their worst between the fault and the end of the
motion held, and r = 25 ms is the ramp of a deceleration (`real_world_deployment/braking.py`). Nothing is added for the
clocks' tolerance or the transport.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.reflex_model import CYCLE_S, DDQ_MAX_RAD_S2, ReflexModel

Floats = NDArray[np.float64]

SETPOINT, MEASURED_SPEED, STOPPED = slice(1, 8), slice(15, 22), 22
AT_REST_RAD_S, AT_REST_CYCLES = 1e-3, 100
# The servo follows its set-points with a time constant of 1/60 s.
SETTLED_RAD_S, SETTLING_CYCLES = 0.01, 100
HELD_S, RAMP_S, BRAKING_SHARE = 0.150, 0.025, 0.9


@dataclass(frozen=True)
class Motion:
    """Rows (n, 23) of a motion log with their derivatives: times (n,) in s, speeds and accelerations (n, 7)."""

    rows: Floats

    @property
    def times_s(self) -> Floats:
        """Of the cycles' ends."""
        return self.rows[:, 0]

    @property
    def speeds_rad_s(self) -> Floats:
        """Of the set-points; the first row repeats the second."""
        speeds = np.diff(self.rows[:, SETPOINT], axis=0) / CYCLE_S
        return np.vstack([speeds[:1], speeds])

    def fastest_rad_s(self) -> float:
        """The fastest joint at the end."""
        return float(np.abs(self.speeds_rad_s[-1]).max())

    def speed_at(self, time_s: float) -> float:
        """Of the fastest joint."""
        return float(np.abs(self.speeds_rad_s[np.searchsorted(self.times_s, time_s)]).max())

    def rest_s(self, from_s: float) -> float | None:
        """The first instant from `from_s` on at which the arm is at rest; None if it never is."""
        still = (np.abs(self.speeds_rad_s) <= AT_REST_RAD_S).all(axis=1) & (self.times_s >= from_s)
        counts = np.convolve(still, np.ones(AT_REST_CYCLES), "valid")
        found = np.flatnonzero(counts >= AT_REST_CYCLES)
        return float(self.times_s[found[0]]) if len(found) else None

    def settles_after(self, rest_s: float) -> bool:
        """Whether the measured joints stand soon after the set-points do."""
        after = self.rows[np.searchsorted(self.times_s, rest_s) + SETTLING_CYCLES :][:1]
        return len(after) == 0 or float(np.abs(after[0, MEASURED_SPEED]).max()) < SETTLED_RAD_S

    def braking_s(self, from_s: float, to_s: float) -> float:
        """The longest braking from any instant in between, as above."""
        speeds = self.speeds_rad_s
        between = (self.times_s >= from_s) & (self.times_s <= to_s)
        accelerations = np.vstack([np.zeros((1, 7)), np.diff(speeds, axis=0)]) / CYCLE_S
        to_lose = np.abs(speeds[between] + 0.5 * RAMP_S * accelerations[between])
        return max(float((to_lose / (BRAKING_SHARE * DDQ_MAX_RAD_S2)).max(initial=0.0)), RAMP_S) + RAMP_S

    def allowed_s(self, fault_s: float, bound_s: float) -> float:
        """From the fault to rest."""
        return bound_s + HELD_S + self.braking_s(fault_s, fault_s + bound_s + HELD_S)


class LogJudge:
    """The reflex model's word on what the arm's servo was given, in pieces as the log grows.

    An arm that is recovered stands where it was found: a motion of its own, which begins at rest.
    """

    def __init__(self) -> None:
        self._model: ReflexModel | None = None
        self._was_stopped = False

    def violations(self, rows: Floats) -> list[str]:
        """What the next rows (n, 23) violate."""
        found: list[str] = []
        if not len(rows):
            return found
        stopped = rows[:, STOPPED] > 0.5
        before = np.concatenate([[self._was_stopped], stopped[:-1]])
        for piece in np.split(np.arange(len(rows)), np.flatnonzero(before & ~stopped)):
            if not len(piece):
                continue
            setpoints = rows[piece, SETPOINT]
            if self._model is None or (before[piece[0]] and not stopped[piece[0]]):
                self._model = ReflexModel(setpoints[0])
            while len(setpoints):
                kept, why = self._model.check(setpoints)
                if why is not None:
                    found.append(f"{why} at {rows[piece[-len(setpoints) + kept], 0]:.3f} s")
                    # From here on as if the arm had stood, so that one step is not told four times.
                    self._model = ReflexModel(setpoints[min(kept + 3, len(setpoints) - 1)])
                setpoints = setpoints[kept + 4 :] if why is not None else setpoints[:0]
        self._was_stopped = bool(stopped[-1])
        return found
