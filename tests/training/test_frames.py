"""Frames in memory, in a memory map and compressed are the same frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer
from training import frames
from training.dataset import WindowBatches, load_steps
from training.frames import ZarrFrames, choose_storage, grouped_order, load_frames
from training.model_schema import ImageInput, LowDimInput, ObservationSection
from training.schema import DataSection
from training.windows import index_windows

SPEC = ImageInput(key="img", width_px=6, height_px=4)
OBSERVATIONS = ObservationSection(images=(SPEC,), low_dim=(LowDimInput(key="state", kind="vector", shape=(2,)),))
ROW = 4 * 6 * 3


@pytest.fixture(scope="module")
def buffer(tmp_path_factory: pytest.TempPathFactory) -> ReplayBuffer:
    """Three episodes, frames as float32 of whole numbers, in chunks of 7 rows."""
    import zarr

    path = tmp_path_factory.mktemp("frames") / "b.zarr"
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 4, 6, 3)).astype(np.float32)
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("data/img", data=pictures, chunks=(7, 4, 6, 3))
    group.create_array("data/state", data=pictures[:, 0, 0, :2])
    group.create_array("meta/episode_ends", data=np.array([20, 45, 60]))
    return ReplayBuffer.open(path)


def recorded(buffer: ReplayBuffer) -> NDArray[np.uint8]:
    """What is in the store."""
    return np.asarray(buffer["img"][:]).astype(np.uint8)


@pytest.mark.parametrize("storage", ["ram", "memmap", "zarr"])
def test_every_storage_gives_the_recorded_frames(storage: str, buffer: ReplayBuffer, tmp_path: Path):
    """Rows in any order and repeated, uint8; nothing is left in the cache folder."""
    data = DataSection(storage=storage, cache_dir=str(tmp_path))  # type: ignore[arg-type]
    source = load_frames(buffer, (SPEC,), data)["img"]
    rows = np.array([59, 0, 0, 6, 7, 13, 41])
    taken = source.take(rows, axis=0)
    assert taken.dtype == np.uint8
    assert np.array_equal(taken, recorded(buffer)[rows])
    assert source.shape == (60, 4, 6, 3)
    assert list(tmp_path.iterdir()) == []


def test_the_storage_follows_from_sizes(monkeypatch: pytest.MonkeyPatch):
    """Memory, then disk, then compressed; what is asked for and does not fit is refused with its remedy."""
    monkeypatch.setattr(frames.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 50_000_000})())
    data = DataSection(ram_limit_mb=10)
    sizes = (10_000_000, 40_000_000, 50_000_000)
    assert [choose_storage(size, data) for size in sizes] == ["ram", "memmap", "zarr"]
    with pytest.raises(ConfigError, match=r"take 40 MB, data\.ram_limit_mb is 10"):
        choose_storage(40_000_000, replace(data, storage="ram"))
    with pytest.raises(ConfigError, match=r"take 50 MB, .* has 50 MB left; set data\.cache_dir"):
        choose_storage(50_000_000, replace(data, storage="memmap"))
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        choose_storage(1, replace(data, cache_dir="/nowhere"))


def test_compressed_frames_stay_within_their_memory(buffer: ReplayBuffer):
    """No more chunks are kept than the limit allows, whatever is asked for."""
    source = ZarrFrames(buffer, SPEC, 3 * 7 * ROW)
    assert source.capacity == 3
    for row in np.random.default_rng(0).integers(0, 60, 40):
        source.take(np.array([row]), axis=0)
        assert len(source._kept) <= 3


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(1, 20), st.integers(2, 40), st.integers(0, 1000))
def test_a_grouped_order_is_a_permutation(n_rows: int, rows_per_chunk: int, capacity: int, seed: int):
    """Each window once, for any sizes."""
    order = grouped_order(np.arange(n_rows), rows_per_chunk, capacity, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(n_rows))


def test_an_epoch_of_compressed_frames_decompresses_each_chunk_about_once(buffer: ReplayBuffer):
    """Nine chunks with room for four; an order that ignored the chunks would decompress far more."""
    whole = load_steps(buffer, OBSERVATIONS, None)
    source = ZarrFrames(buffer, SPEC, 4 * 7 * ROW)
    steps = replace(whole, images={"img": source})
    index = index_windows(buffer.episode_ends, 4, 1, 2)
    batches = WindowBatches(steps, index, 2, 4, 5, seed=3)
    seen = [batches(step) for step in range(len(index) // 5)]
    assert source.n_decoded <= 2 * 9
    straight = WindowBatches(whole, index, 2, 4, 5, seed=3)
    source.n_decoded = 0
    WindowBatches(steps, index, 2, 4, 5, seed=3).chunks(straight._order(0))
    assert source.n_decoded > 2 * 9
    order = batches._order(0)
    for number, batch in enumerate(seen):
        expected = whole.images["img"].take(index.steps(order[5 * number:5 * number + 5], 0, 2).reshape(-1), axis=0)
        assert np.array_equal(batch.images["img"].numpy().reshape(expected.shape), expected)
    assert steps.visiting_order
    assert not whole.visiting_order


def test_only_observed_frames_are_touched(buffer: ReplayBuffer):
    """Two of the sixteen steps of a window."""
    asked: list[int] = []

    class Watched:
        shape = (60, 4, 6, 3)

        def take(self, indices: NDArray[np.int64], axis: int) -> NDArray[np.uint8]:
            asked.append(len(indices))
            return np.zeros((len(indices), *self.shape[1:]), np.uint8)

    steps = replace(load_steps(buffer, OBSERVATIONS, None), images={"img": Watched()})
    batch = WindowBatches(steps, index_windows(buffer.episode_ends, 16, 1, 7), 2, 16, 8, seed=0)(0)
    assert asked == [16]
    assert batch.images["img"].shape == (8, 2, 4, 6, 3)
