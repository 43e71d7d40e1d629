"""The puree: what is caught, what is lost, and which stage it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation import geometry as g
from simulation import puree as p

BOWL = (0.5, 0.1)
UP, AHEAD = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])


def sweep(puree: p.Puree, depth_m: float, path_m: float, y_m: float = BOWL[1]) -> None:
    """The cup moves forward through the bowl's middle at one depth, in steps of 1 mm."""
    for x in np.arange(-path_m / 2, path_m / 2 + 1e-9, 0.001):
        puree.step(np.array([BOWL[0] + x, y_m, puree.level_m - depth_m]), AHEAD, UP, 0.005)


def lift(puree: p.Puree, x_m: float = 0.0) -> None:
    """Straight up to 10 cm over the surface."""
    for z in np.arange(-0.01, 0.1, 0.001):
        puree.step(np.array([BOWL[0] + x_m, BOWL[1], puree.level_m + z]), AHEAD, UP, 0.005)


@given(depth=st.floats(0.005, 0.02), path=st.floats(0.01, 0.08))
@settings(deadline=None, max_examples=30)
def test_the_load_grows_with_the_path_and_stays_below_the_capacity(depth: float, path: float) -> None:
    """A longer sweep never catches less, and no sweep more than the cup holds."""
    shorter, longer = p.Puree(BOWL, 0.6), p.Puree(BOWL, 0.6)
    sweep(shorter, depth, path)
    sweep(longer, depth, path + 0.01)
    assert 0.0 < shorter.mass_g < longer.mass_g < p.CAPACITY_G


def test_nothing_is_caught_above_the_surface_or_beside_the_bowl() -> None:
    """The cup must be in the puree."""
    above, beside = p.Puree(BOWL, 0.6), p.Puree(BOWL, 0.6)
    sweep(above, -0.005, 0.05)
    sweep(beside, 0.01, 0.03, y_m=BOWL[1] + g.BOWL_RADIUS_M + 0.05)
    assert above.mass_g == beside.mass_g == 0.0
    assert above.stage == beside.stage == p.BEFORE


def test_stages_go_before_in_lifted_and_stick() -> None:
    """A second dip does not take back the lifted stage."""
    puree = p.Puree(BOWL, 0.5)
    assert puree.stage == p.BEFORE
    sweep(puree, 0.01, 0.03)
    assert puree.stage == p.IN_PUREE
    lift(puree)
    assert puree.stage == p.LIFTED
    sweep(puree, 0.01, 0.03)
    assert puree.stage == p.LIFTED


def test_leaving_without_a_load_is_before_again() -> None:
    """A cup that only touched the surface has lifted nothing."""
    puree = p.Puree(BOWL, 0.5)
    sweep(puree, -0.002, 0.002)
    assert puree.stage == p.IN_PUREE
    puree.step(np.array([*BOWL, puree.level_m + 0.02]), AHEAD, UP, 0.005)
    assert puree.stage == p.BEFORE


@pytest.mark.parametrize(("tilt_deg", "keeps"), [(30.0, True), (80.0, False)])
def test_a_tilted_cup_spills(tilt_deg: float, keeps: bool) -> None:
    """Half a second beyond the spill angle costs grams; a moderate tilt costs nothing."""
    puree = p.Puree(BOWL, 0.5)
    sweep(puree, 0.01, 0.04)
    lift(puree)
    before_g = puree.mass_g
    tilt = np.deg2rad(tilt_deg)
    for _ in range(100):
        puree.step(np.array([*BOWL, puree.level_m + 0.1]), AHEAD, np.array([np.sin(tilt), 0.0, np.cos(tilt)]), 0.005)
    assert puree.mass_g == pytest.approx(before_g if keeps else before_g - 3.0, abs=0.05)


def test_the_surface_is_carved_where_the_cup_went_and_closes_slowly() -> None:
    """The trough is seen by the cameras; the rest of the surface and the bowl's outside stay."""
    puree = p.Puree(BOWL, 0.5)
    sweep(puree, 0.01, 0.03)
    middle = g.PUREE_CELLS // 2
    trough_m = puree.level_m - puree.heights_m[middle, middle]
    assert 0.005 < trough_m < 0.009
    assert puree.heights_m[0, 0] == 0.0
    assert puree.heights_m[middle, middle + 20] == pytest.approx(puree.level_m, abs=5e-4)
    for _ in range(4000):
        puree.step(np.array([*BOWL, 0.4]), AHEAD, UP, 0.005)
    assert puree.level_m - puree.heights_m[middle, middle] < 0.5 * trough_m
