"""A kinematic puree: a surface that the cup carves, and a load that grows while the cup moves below it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation import geometry as g

FloatArray = NDArray[np.float64]

CAPACITY_G = 6.0
# The load approaches the capacity over this length of path through the puree.
FILL_LENGTH_M = 0.025
# Depth of the cup's centre below the surface at which nothing and everything it sweeps is caught.
CATCH_NONE_M, CATCH_ALL_M = -0.003, 0.004
# Beyond this tilt of the cup the puree slides off.
SPILL_TILT_RAD = float(np.deg2rad(50.0))
SPILL_RATE_G_S = 6.0
# Stage changes: a cup that touches the surface is in it; one that hangs clear of it with a load is lifted.
TOUCH_M, CLEAR_M = 0.003, 0.008
LOAD_G = 0.5
BEFORE, IN_PUREE, LIFTED = 0, 1, 2
_TROUGH_M = 0.008
_RELAX_TIME_S = 12.0
_DENSITY_G_M3 = 1.05e6


class Puree:
    """The puree of one bowl and what of it lies on the spoon.

    Attributes:
        heights_m: (n, n) surface over the table, rows along y and columns along x; 0 outside the bowl.
        mass_g: load on the spoon.
        stage: 0 before, 1 in the puree, 2 lifted with a load. Sticky: 2 stays 2; 1 falls back to 0 only when
            the cup leaves the puree without a load.
    """

    def __init__(self, bowl_xy_m: tuple[float, float], fill: float) -> None:
        self._bowl_xy_m = np.asarray(bowl_xy_m)
        self.level_m = g.puree_level_m(fill)
        line = np.linspace(-g.PUREE_HALF_SIZE_M, g.PUREE_HALF_SIZE_M, g.PUREE_CELLS)
        self._x_m, self._y_m = np.meshgrid(line, line)
        # The last row of points lies inside the wall, so that no gap is seen between wall and puree.
        self._inside = np.hypot(self._x_m, self._y_m) <= g.BOWL_RADIUS_M + 0.0015
        self.heights_m: FloatArray = np.where(self._inside, self.level_m, 0.0)
        self.mass_g = 0.0
        self.stage = BEFORE
        self._last_cup_m: FloatArray | None = None

    def depth_m(self, cup_m: FloatArray) -> float:
        """How deep the cup's centre is under the flat level; minus infinity outside the bowl."""
        if np.hypot(*(cup_m[:2] - self._bowl_xy_m)) > g.BOWL_RADIUS_M:
            return -np.inf
        return float(self.level_m - cup_m[2])

    def step(self, cup_m: FloatArray, cup_axis: FloatArray, cup_normal: FloatArray, period_s: float) -> None:
        """Let the cup move on to a place (3,) with its axis and normal (3,), all in the base frame."""
        last, self._last_cup_m = self._last_cup_m, cup_m.copy()
        depth_m = self.depth_m(cup_m)
        if last is not None:
            self._catch(depth_m, float(np.linalg.norm(cup_m - last)))
        self._spill(cup_normal, depth_m, period_s)
        if depth_m > -TOUCH_M:
            self._carve(cup_m, cup_axis)
        self._relax(period_s)
        self._advance_stage(depth_m)

    def _catch(self, depth_m: float, path_m: float) -> None:
        share = _caught_share(depth_m)
        self.mass_g += (CAPACITY_G - self.mass_g) * -np.expm1(-share * path_m / FILL_LENGTH_M)

    def _spill(self, cup_normal: FloatArray, depth_m: float, period_s: float) -> None:
        tilt = np.arccos(np.clip(cup_normal[2], -1.0, 1.0))
        if depth_m < CATCH_NONE_M and tilt > SPILL_TILT_RAD:
            self.mass_g = max(0.0, self.mass_g - SPILL_RATE_G_S * period_s)

    def _carve(self, cup_m: FloatArray, cup_axis: FloatArray) -> None:
        """A shallow trough under the cup's outline."""
        along = cup_axis[:2] / max(float(np.linalg.norm(cup_axis[:2])), 1e-9)
        dx, dy = self._x_m - (cup_m[0] - self._bowl_xy_m[0]), self._y_m - (cup_m[1] - self._bowl_xy_m[1])
        u = (dx * along[0] + dy * along[1]) / (g.CUP_HALF_LENGTH_M * 1.1)
        v = (dy * along[0] - dx * along[1]) / (g.CUP_HALF_WIDTH_M * 1.1)
        bowl_shape = np.clip(1.0 - (u**2 + v**2), 0.0, None)
        trough = self.level_m - _TROUGH_M * np.sqrt(bowl_shape)
        under = (bowl_shape > 0) & self._inside
        self.heights_m[under] = np.minimum(self.heights_m, trough)[under]

    def _relax(self, period_s: float) -> None:
        """The trough closes slowly, up to the level that the missing load leaves."""
        volume_m3 = self.mass_g / _DENSITY_G_M3
        rest_m = self.level_m - volume_m3 / (np.pi * g.BOWL_RADIUS_M**2)
        self.heights_m[self._inside] += (rest_m - self.heights_m[self._inside]) * (period_s / _RELAX_TIME_S)

    def _advance_stage(self, depth_m: float) -> None:
        if self.stage == BEFORE and depth_m > -TOUCH_M:
            self.stage = IN_PUREE
        elif self.stage == IN_PUREE and depth_m < -CLEAR_M:
            self.stage = LIFTED if self.mass_g >= LOAD_G else BEFORE


def load_after_g(depths_m: FloatArray, paths_m: FloatArray) -> float:
    """What an empty cup carries after pieces of path (n,), each at its depth (n,), if nothing is spilt.

    The closed form of what `Puree.step` adds up.
    """
    return float(CAPACITY_G * -np.expm1(-np.sum(_caught_share(depths_m) * paths_m) / FILL_LENGTH_M))


def _caught_share(depth_m: Any) -> Any:
    """Of what the cup sweeps at a depth; number or array."""
    return np.clip((depth_m - CATCH_NONE_M) / (CATCH_ALL_M - CATCH_NONE_M), 0.0, 1.0)
