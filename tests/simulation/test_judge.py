"""Who has delivered what, and whether it was wanted."""

from __future__ import annotations

import pytest

from simulation import expert
from simulation.judge import Judge
from simulation.scene_sampling import sample_scene
from simulation.wished_load import dip_for
from simulation.world import ScoopWorld


@pytest.mark.parametrize(("judge", "delivered", "succeeded"), [
    (Judge(), False, False),
    (Judge.of_any_load(), True, True),
    (Judge.of_wish(1.5), True, True),
    (Judge.of_wish(2.5), True, False),
])
def test_a_small_load_is_judged_by_what_was_wanted(judge: Judge, delivered: bool, succeeded: bool):
    """1.2 g are too little where 2 g are wanted, enough where any load is, a success where as much is asked."""
    scene = sample_scene(3)
    world = ScoopWorld(scene, judge)
    world.step(expert.plan(scene, dip=dip_for(scene, 1.2)))
    assert (world.delivered, world.succeeded) == (delivered, succeeded)


def test_close_to_a_wish_is_three_quarters_of_a_gram():
    """On both sides, the border counts, and an empty spoon pleases nobody."""
    judge = Judge.of_wish(2.0)
    assert [judge.pleased(mass_g) for mass_g in (1.24, 1.25, 2.75, 2.76)] == [False, True, True, False]
    assert not Judge.of_wish(0.6).pleased(0.0)
    assert [Judge().pleased(mass_g) for mass_g in (1.99, 2.0, 6.0)] == [False, True, True]
