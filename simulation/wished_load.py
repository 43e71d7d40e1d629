"""The dip with which the expert brings a wished mass, from the model of the puree.

A family of dips from a touch to a full sweep. Depth grows first and the sweep only for greater loads: sweeping just
under the surface, where only a share is caught, a millimetre of height would decide over 0.8 g. So it decides over
0.2 to 0.4 g, and whoever learns it from pictures can hit a mass.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import root_scalar

from ladle.errors import SimulationError
from simulation import geometry as g
from simulation.expert import DURATION_S, Dip, cup_path
from simulation.puree import CATCH_NONE_M, LOAD_G, load_after_g
from simulation.scene_sampling import SceneConfig

# The same for every filling: deep enough to sweep below the surface, and clear of the floor of the emptiest bowl.
DEEPEST_M, LONGEST_SWEEP_M = 0.010, 0.042
# What the greatest dip brings in every scene; its load hardly depends on the scene.
MOST_G = 5.4
_WISH_STREAM = 43  # stream of a scene's randomness that the wishes take
_STEP_S = 0.005
_TOLERANCE = 1e-6


def check_range(range_g: tuple[float, float]) -> None:
    """Raise SimulationError unless every mass of the range counts as a load and can be brought."""
    least_g, most_g = range_g
    if not LOAD_G <= least_g < most_g <= MOST_G:
        raise SimulationError(f"--mass-range {least_g:g} {most_g:g}: expected two masses in grams, the smaller first, "
                              f"from {LOAD_G:g} to {MOST_G:g} g")


def draw_wish(scene: SceneConfig, range_g: tuple[float, float]) -> float:
    """A mass that the expert is asked for in this scene, uniform over the range; the same every time."""
    return float(scene.generator(_WISH_STREAM).uniform(*range_g))


def dip_for(scene: SceneConfig, wished_g: float) -> Dip:
    """The dip after which the expert's cup carries the wished mass.

    Raises:
        SimulationError: more than the longest and deepest dip brings, or nothing.
    """
    most_g = _load_g(scene, _dip(1.0))
    if not 0.0 < wished_g < most_g:
        raise SimulationError(f"the expert cannot scoop {wished_g:g} g in scene {scene.seed}; ask for more than 0 and "
                              f"less than {most_g:.2f} g")
    found = root_scalar(lambda extent: _load_g(scene, _dip(extent)) - wished_g, bracket=(0.0, 1.0), xtol=_TOLERANCE)
    return _dip(float(found.root))


def _dip(extent: float) -> Dip:
    """0 touches the surface, 1 is the greatest."""
    return Dip(CATCH_NONE_M + extent * (DEEPEST_M - CATCH_NONE_M), extent**3 * LONGEST_SWEEP_M)


def _load_g(scene: SceneConfig, dip: Dip) -> float:
    """By the planned path; the arm follows it within a fraction of a millimetre."""
    cups_m = cup_path(scene, dip, np.arange(0.0, DURATION_S, _STEP_S))
    inside = np.hypot(*(cups_m[:, :2] - scene.bowl_xy_m).T) <= g.BOWL_RADIUS_M
    depths_m = np.where(inside, g.puree_level_m(scene.fill) - cups_m[:, 2], -np.inf)
    return load_after_g(depths_m[1:], np.linalg.norm(np.diff(cups_m, axis=0), axis=1))
