"""Window index against a sampler that walks every window by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import ConfigError
from training.windows import at_most, fold_of_episode, index_windows, validation_mask


def naive_windows(lengths: list[int], horizon: int, before: int, after: int, mask: list[bool]) -> list[list[int]]:
    """The rules of the Diffusion Policy paper, one window and one step at a time."""
    windows, begin = [], 0
    for length, wanted in zip(lengths, mask, strict=True):
        starts = range(-before, length - horizon + after + 1) if wanted else ()
        windows += [[begin + min(max(start + i, 0), length - 1) for i in range(horizon)] for start in starts]
        begin += length
    return windows


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_windows_are_those_of_a_naive_sampler(data: st.DataObject):
    """Every window and every padded step agree for any lengths, horizon, pads and mask."""
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    horizon = data.draw(st.integers(1, 8))
    before, after = data.draw(st.integers(0, horizon - 1)), data.draw(st.integers(0, horizon - 1))
    mask = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    index = index_windows(np.cumsum(lengths), horizon, before, after, np.array(mask))
    steps = index.steps(np.arange(len(index)), 0, horizon)
    assert steps.tolist() == naive_windows(lengths, horizon, before, after, mask)


def test_a_part_of_a_window_is_that_part_of_the_whole():
    """The observed steps are the first columns of the window's steps."""
    index = index_windows(np.array([7, 12]), 6, 2, 3)
    windows = np.arange(len(index))
    assert np.array_equal(index.steps(windows, 1, 2), index.steps(windows, 0, 6)[:, 1:3])


def test_full_padding_makes_every_tick_the_newest_observation_once():
    """With pad_before To - 1 and pad_after T - To each step is observed last exactly once."""
    index = index_windows(np.array([20, 25]), 16, 1, 14)
    newest = index.steps(np.arange(len(index)), 1, 1)[:, 0]
    assert newest.tolist() == list(range(25))


def test_pads_as_long_as_the_horizon_are_refused():
    """A window must hold at least one step of its episode."""
    with pytest.raises(ConfigError, match="pad_before 4"):
        index_windows(np.array([10]), 4, 4, 0)


def test_validation_takes_whole_episodes_and_depends_on_the_seed_alone():
    """The same seed gives the same episodes, at least one on each side."""
    mask = validation_mask(10, 0.2, 3)
    assert mask.sum() == 2
    assert np.array_equal(mask, validation_mask(10, 0.2, 3))
    assert validation_mask(2, 0.9, 0).sum() == 1
    assert not validation_mask(10, 0.0, 0).any()


def test_folds_are_even_and_more_folds_than_episodes_are_refused():
    """Fold sizes differ by at most one."""
    counts = np.bincount(fold_of_episode(10, 3, 0))
    assert sorted(counts.tolist()) == [3, 3, 4]
    with pytest.raises(ConfigError, match="4 folds over 3 episodes"):
        fold_of_episode(3, 4, 0)


@pytest.mark.parametrize(("count", "left"), [(1, 1), (3, 3), (4, 4), (9, 4), (None, 4)])
def test_at_most_so_many_episodes_are_kept(count: int | None, left: int):
    """Some of those in the mask, the same for a seed, others for another one."""
    mask = np.array([True, False, True, True, False, True])
    kept = at_most(mask, count, 1)
    assert kept.sum() == left
    assert not (kept & ~mask).any()
    assert np.array_equal(kept, at_most(mask, count, 1))
    if count == 1:
        assert len({int(np.argmax(at_most(mask, count, seed))) for seed in range(30)}) == 4
