"""What counts as a key that is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.held_key import REPEAT_S, STROKES, HeldKey


def struck(*at_s: float) -> HeldKey:
    key = HeldKey()
    for stroke_s in at_s:
        key.strike(stroke_s)
    return key


@pytest.mark.parametrize(("strokes_s", "now_s", "held"), [
    ((), 0.0, False),
    ((0.0,), 0.0, False),
    ((0.0, 0.05), 0.06, False),
    ((0.0, 0.05, 0.1), 0.11, True),
    ((0.0, 0.5, 0.53), 0.54, False),
    ((0.0, 0.5, 0.53, 0.56), 0.57, True),
    ((0.0, 0.05, 0.1), 0.1 + REPEAT_S + 0.01, False),
    ((0.0, 0.05, 0.1), 0.09, False),
])
def test_a_key_is_held_from_its_third_quick_stroke_on(strokes_s: tuple[float, ...], now_s: float, held: bool) -> None:
    """The first repetition comes half a second late; a clock that goes back holds nothing."""
    assert struck(*strokes_s).is_held(now_s) is held


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=40), st.floats(0.0, 2.0))
def test_it_is_never_held_longer_than_a_repetition_after_its_last_stroke(gaps_s: list[float], later_s: float) -> None:
    """Whatever was struck before."""
    at_s = [sum(gaps_s[: count + 1]) for count in range(len(gaps_s))]
    held = struck(*at_s).is_held(at_s[-1] + later_s)
    assert not held or (later_s <= REPEAT_S + 1e-9 and len(at_s) >= STROKES)
