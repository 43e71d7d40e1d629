"""What the arm's process tells the simulator.

A module of its own: what is defined in the module that a process runs as its main cannot be unpickled elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.world import RenderState

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ArmState:
    """The arm at one instant, and what the judge says; (7,) each.

    Attributes:
        taken_by: guiding or user_stopped, while a person has the arm.
    """

    time_s: float
    q_rad: Floats
    dq_rad_s: Floats
    tau_nm: Floats
    mass_g: float
    stage: int
    reflex: str | None
    delivered: bool
    succeeded: bool
    taken_by: str | None = None

    @property
    def is_stopped(self) -> bool:
        """Whether the arm follows no set-points."""
        return self.reflex is not None or self.taken_by is not None


@dataclass(frozen=True)
class ArmReport:
    """What happened in an advance.

    Attributes:
        states: one per asked cycle, in order.
        render_states: one per asked cycle, None where no camera looked.
        now: the state at the end.
        motion: (n, 22) the servo's set-point, measured positions and velocities, and whether the arm was stopped, in
            every cycle; None unless they are kept.
    """

    states: list[ArmState]
    render_states: list[RenderState | None]
    now: ArmState
    motion: Floats | None = None
