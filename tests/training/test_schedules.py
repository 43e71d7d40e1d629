"""Learning rates against their closed forms."""

from __future__ import annotations

import math

import pytest

from training.schedules import learning_rate
from training.schema import TrainingSection


def settings(schedule: str, warmup: int = 10, steps: int = 110) -> TrainingSection:
    """A budget of `steps` with the highest rate of 2."""
    return TrainingSection(max_steps=steps, learning_rate=2.0, warmup_steps=warmup, schedule=schedule)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_linearly_to_its_highest_value(schedule: str):
    """A tenth of it at the first of ten steps, all of it at the tenth and right after."""
    rates = [learning_rate(step, settings(schedule)) for step in range(11)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(2.0)


@pytest.mark.parametrize(("schedule", "form"), [
    ("cosine", lambda done: 1 + math.cos(math.pi * done)),
    ("linear", lambda done: 2 * (1 - done)),
    ("constant", lambda _: 2.0),
])
def test_after_the_warm_up_it_follows_the_closed_form(schedule: str, form):
    """`done` is the share of the hundred steps after the warm-up."""
    rates = [learning_rate(10 + step, settings(schedule)) for step in range(100)]
    assert rates == pytest.approx([form(step / 100) for step in range(100)])


def test_a_warm_up_longer_than_the_run_leaves_one_step():
    """No division by zero, and the rate still reaches its highest value."""
    assert learning_rate(4, settings("cosine", warmup=500, steps=5)) == pytest.approx(2.0)
    assert learning_rate(0, settings("linear", warmup=0, steps=1)) == 2.0
