"""Asked for a mass the expert brings it, and the wishes of a recording cover their range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import SimulationError
from simulation import expert
from simulation import puree as p
from simulation.scene_sampling import sample_scene
from simulation.wished_load import MOST_G, check_range, dip_for, draw_wish
from simulation.world import ScoopWorld

UP, AHEAD = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])


def test_the_expert_brings_the_mass_that_it_is_asked_for():
    """In random scenes within a tenth of a gram, through all three stages, and without a reflex."""
    random = np.random.default_rng(0)
    for seed, wished_g in enumerate([0.8, *random.uniform(0.8, MOST_G, 5), MOST_G]):
        scene = sample_scene(seed, "train" if seed % 2 else "eval")
        world, stages = ScoopWorld(scene), []
        for batch in np.array_split(expert.plan(scene, dip=dip_for(scene, float(wished_g))), 300):
            world.step(batch)
            stages.append(world.stage)
        assert world.mass_g == pytest.approx(wished_g, abs=0.1)
        assert world.reflex is None
        assert stages == sorted(stages)
        assert set(stages) == {p.BEFORE, p.IN_PUREE, p.LIFTED}


@given(st.integers(0, 10**6), st.floats(0.5, 5.2))
@settings(deadline=None, max_examples=30)
def test_a_greater_mass_is_a_deeper_and_longer_dip(seed: int, wished_g: float):
    """So what is learnt is one movement, more or less of it; and never deeper than where the spoon fits."""
    scene = sample_scene(seed)
    less, more = dip_for(scene, wished_g), dip_for(scene, wished_g + 0.1)
    assert less.depth_m < more.depth_m <= expert.DIP_M[0]
    assert less.sweep_m < more.sweep_m


@pytest.mark.parametrize("wished_g", [1.5, 3.5])
def test_a_millimetre_of_height_does_not_decide(wished_g: float):
    """A dip that is a millimetre too deep or too high is off by less than half a gram."""
    scene = sample_scene(7)
    dip = dip_for(scene, wished_g)
    for error_m in (-0.001, 0.001):
        world = ScoopWorld(scene)
        world.step(expert.plan(scene, np.array([0.0, 0.0, error_m]), dip))
        assert 0.05 < abs(world.mass_g - wished_g) < 0.5


@given(st.lists(st.floats(-0.02, 0.02), min_size=2, max_size=40))
@settings(deadline=None, max_examples=30)
def test_the_closed_form_is_what_the_puree_adds_up(depths_m: list[float]):
    """For any path, piece by piece."""
    puree = p.Puree((0.5, 0.1), 0.6)
    cups_m = np.array([[0.5 + 0.001 * i, 0.1, puree.level_m - depth_m] for i, depth_m in enumerate(depths_m)])
    for cup_m in cups_m:
        puree.step(cup_m, AHEAD, UP, 0.005)
    paths_m = np.linalg.norm(np.diff(cups_m, axis=0), axis=1)
    assert p.load_after_g(np.array(depths_m[1:]), paths_m) == pytest.approx(puree.mass_g, abs=1e-9)


def test_the_wishes_cover_their_range():
    """Uniform over a few hundred scenes, and a scene has the same wish every time."""
    wishes = [draw_wish(sample_scene(seed), (1.0, 4.5)) for seed in range(400)]
    counts, _ = np.histogram(wishes, bins=7, range=(1.0, 4.5))
    assert counts.sum() == 400
    assert counts.min() > 35
    assert wishes[3] == draw_wish(sample_scene(3), (1.0, 4.5))


@pytest.mark.parametrize("wrong", [(0.3, 2.0), (2.0, 1.0), (1.0, 1.0), (1.0, 5.9), (float("nan"), 2.0)])
def test_ranges_that_the_expert_cannot_bring_are_refused(wrong: tuple[float, float]):
    """With the range that it can."""
    with pytest.raises(SimulationError, match=r"from 0\.5 to 5\.4 g"):
        check_range(wrong)


def test_a_mass_that_no_dip_brings_is_refused():
    """The capacity of the spoon is 6 g, and a dip ends."""
    with pytest.raises(SimulationError, match=r"cannot scoop 5.9 g in scene 1; .* less than 5.4"):
        dip_for(sample_scene(1), 5.9)
