"""The stage filter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import ConfigError
from ladle.hysteresis import StageFilter, filter_stages


def test_a_stage_changes_after_equal_decisions_in_a_row():
    """With three ticks, two are not enough and an interruption begins anew."""
    decisions = np.array([0, 1, 1, 0, 1, 1, 1, 1])
    assert filter_stages(decisions, 3).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


def test_one_tick_passes_every_decision():
    """The filter is off at 1."""
    decisions = np.array([2, 0, 1, 1, 0])
    assert np.array_equal(filter_stages(decisions, 1), decisions)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 4))
def test_every_new_stage_was_decided_so_often_in_a_row(decisions: list[int], ticks: int):
    """Whenever the held stage changes, the last `ticks` decisions were all the new one."""
    held = filter_stages(np.array(decisions), ticks)
    for i in range(1, len(held)):
        if held[i] != held[i - 1]:
            assert decisions[i - ticks + 1:i + 1] == [held[i]] * ticks


def test_reset_forgets_the_episode_and_zero_ticks_are_refused():
    """After a reset the first decision is taken as it is."""
    stage_filter = StageFilter(2)
    stage_filter.update(0)
    stage_filter.reset()
    assert stage_filter.stage is None
    assert stage_filter.update(2) == 2
    with pytest.raises(ConfigError, match="at least 1"):
        StageFilter(0)
