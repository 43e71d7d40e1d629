"""A motion as it is checked: joints at every millisecond, points in space at every fourth.

At a Panda's largest Cartesian acceleration and jerk (13 m/s², 6500 m/s³) a point strays at most 26 µm from the line
between places 4 ms apart, and its speed at most 0.013 m/s.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.chain_motion import ChainFrames
from ladle.errors import MotionError, TooFastError
from ladle.kinematics import KinematicChain
from real_world_deployment.trajectory import CYCLE_S, JointStates, JointTrajectory

Array = NDArray[np.float64]


SPACE_STRIDE = 4


class SampledMotion:
    """States at m instants; the links' frames are computed once, when something asks for them.

    Attributes:
        at_s: (m,) instants.
        states: (m, J) each.
        sparse: (k,) indices of the samples at which points in space are looked at; the last one is among them.
    """

    def __init__(self, at_s: Array, states: JointStates) -> None:
        self.at_s, self.states = at_s, states
        self.sparse: NDArray[np.intp] = np.append(np.arange(0, len(at_s) - 1, SPACE_STRIDE), len(at_s) - 1)
        self._chain: KinematicChain | None = None

    @classmethod
    def of(cls, trajectory: JointTrajectory, from_s: float) -> SampledMotion:
        """Every millisecond from from_s to the end, both included."""
        n_cycles = max(round((trajectory.end_s - from_s) / CYCLE_S), 0)
        at_s = from_s + CYCLE_S * np.arange(n_cycles + 1, dtype=np.float64)
        is_whole = from_s == trajectory.start_s
        return cls(at_s, trajectory.every_cycle() if is_whole else trajectory.sample(at_s))

    def frames(self, chain: KinematicChain) -> ChainFrames:
        """The frames of a chain at the sparse samples; one chain per motion."""
        if self._chain is not chain:
            self._chain = chain
            self.__dict__.pop("_frames", None)
        return self._frames

    @cached_property
    def _frames(self) -> ChainFrames:
        assert self._chain is not None
        return ChainFrames(self._chain, self.states.q_rad[self.sparse])


class Use(NamedTuple):
    """How much of a limit a motion uses.

    Attributes:
        what: the quantity, with its unit.
        values: (m, K) not negative; allowed: (K,) or (m, K) positive.
        names: (K,) of what they belong to.
    """

    what: str
    values: Array
    allowed: Array
    names: tuple[str, ...]

    @property
    def shares(self) -> Array:
        """(m, K): above 1 the limit is broken."""
        return self.values / self.allowed

    def refuse_excess(self, at_s: Array, kind: type[MotionError] = TooFastError) -> None:
        """Raise an error of a kind with the largest excess at the instants at_s (m,), if there is any."""
        if self.allowed.ndim == 1 and np.all(self.values.max(axis=0) / self.allowed <= 1.0):
            return  # as nearly always; NaN is not at most 1
        shares = self.shares
        if not np.all(np.isfinite(shares)):
            raise MotionError(f"the planned {self.what} is not finite; the motion is refused")
        row, column = np.unravel_index(int(np.argmax(shares)), shares.shape)
        if shares[row, column] > 1.0:
            allowed = np.broadcast_to(self.allowed, shares.shape)[row, column]
            remedy = "move slower or smoother" if kind is TooFastError else "move within the range"
            raise kind(f"the planned {self.what} of {self.names[column]} reaches {self.values[row, column]:.3f} at "
                       f"{at_s[row]:.3f} s; allowed is {allowed:.3f}; the motion is refused, {remedy}")
