"""There and back: what comes back is the store that went out, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import Choices, convert

from .conftest import Streams, assert_same_store, write_store

FORMATS = ["copy.zarr", "copy.zarr.zip", "copy.hdf5", "copy_lerobot"]
# Ranks that each kind of number takes in practice, and some that nobody uses.
ROWS = st.sampled_from([(), (1,), (2,), (7,), (9, 2), (4, 6), (4, 6, 1), (4, 6, 3), (1, 1, 3), (2, 3, 4), (3, 2, 2, 2)])
DTYPES = st.sampled_from(["uint8", "uint16", "float32", "float64", "int64", "bool"])


@st.composite
def stores(draw: st.DrawFn) -> list[Streams]:
    """Episodes that share keys, row shapes and types; floats hold any bit pattern that is a number, and infinities."""
    columns = {f"key{i}": (draw(ROWS), np.dtype(draw(DTYPES))) for i in range(draw(st.integers(1, 3)))}
    columns["action"] = ((2,), np.dtype(np.float32))
    episodes: list[Streams] = []
    for _ in range(draw(st.integers(1, 3))):
        steps = draw(st.integers(1, 5))
        episodes.append({key: draw(hnp.arrays(dtype, (steps, *row), elements=_elements(row, dtype)))
                         for key, (row, dtype) in columns.items()})
    return episodes


def _elements(row: tuple[int, ...], dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    """Float pictures hold whole numbers of a byte: others are refused by LeRobot, which is another test."""
    if dtype == np.float32 and len(row) == 3 and row[2] in (1, 3):
        return st.integers(0, 255).map(float)
    return hnp.from_dtype(dtype, allow_nan=False)


@pytest.mark.parametrize("name", FORMATS)
def test_ladles_own_store_comes_back_whole(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """Images, depth in ticks, poses, labels, the task's text and the episodes' numbers survive every format."""
    convert(scoop_store, tmp_path / name)
    convert(tmp_path / name, tmp_path / "back.zarr")
    assert_same_store(scoop_store, tmp_path / "back.zarr")


def test_a_chain_through_all_formats_loses_nothing(tmp_path: Path, scoop_store: Path) -> None:
    """What one format cannot say travels along for the next."""
    here = scoop_store
    for name in [*FORMATS, "other.hdf5", "back.zarr"]:
        here = convert(here, tmp_path / name)
    assert_same_store(scoop_store, here)


@pytest.mark.parametrize("name", ["copy.hdf5", "copy_lerobot"])
@given(episodes=stores())
@settings(max_examples=15, deadline=None)
def test_any_store_comes_back_bit_for_bit(name: str, episodes: list[Streams]) -> None:
    """Whatever the lengths, shapes and types."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = write_store(root / "store.zarr", episodes, {"fps_hz": 12.5})
        convert(store, root / name)
        convert(root / name, root / "back.zarr")
        assert_same_store(store, root / "back.zarr")


@pytest.mark.parametrize("name", ["copy.hdf5", "copy_lerobot"])
def test_the_stores_of_others_come_back_whole(tmp_path: Path, shared_data: Path, name: str) -> None:
    """Push-T as it was published: images are float32, and nothing says how fast the steps are."""
    published = ReplayBuffer.open(shared_data / "pusht_cchi_v7_replay.zarr")
    rows = [published.episode_slice(index) for index in range(2)]
    small = write_store(tmp_path / "small.zarr", [{key: np.asarray(published[key][row]) for key in published.keys()}  # noqa: SIM118
                                                  for row in rows], {"fps_hz": 10.0})
    convert(small, tmp_path / name)
    convert(tmp_path / name, tmp_path / "back.zarr")
    assert_same_store(small, tmp_path / "back.zarr")


def test_a_nan_survives(tmp_path: Path) -> None:
    """A sensor that was silent is told from one that said 0."""
    values = np.array([[np.nan, 1.0], [np.inf, -0.0]], np.float32)
    store = write_store(tmp_path / "store.zarr", [{"action": values, "wrench": values}], {"fps_hz": 10.0})
    convert(store, tmp_path / "copy_lerobot", Choices())
    convert(tmp_path / "copy_lerobot", tmp_path / "copy.hdf5")
    convert(tmp_path / "copy.hdf5", tmp_path / "back.zarr")
    assert_same_store(store, tmp_path / "back.zarr")
