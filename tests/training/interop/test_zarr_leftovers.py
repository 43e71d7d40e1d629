"""What of a zarr store is no stream is named, and a torn or foreign store is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import Choices, convert
from training.interop.zarr_format import read_zarr


def foreign(path: Path, **arrays: Any) -> zarr.Group:
    """A store of two episodes with two steps each, as another program writes it; name -> further arrays."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in {"data/action": np.ones((4, 2), np.float32), "meta/episode_ends": np.array([2, 4]),
                         **arrays}.items():
        root.create_array(name, data=values)
    return root


def test_what_is_no_stream_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nested groups, other arrays of meta, attributes, texts; nothing for a store of our own."""
    root = foreign(tmp_path / "a.zarr", **{"data/obs/state": np.ones((4, 3)), "meta/episode_id": np.arange(2),
                                           "calibration/front": np.eye(3), "data/text": np.array(["a", "b", "c", "d"])})
    root.attrs["license"] = "MIT"
    back = convert(tmp_path / "a.zarr", tmp_path / "back.zarr")
    for words in ("the group data/obs", "the array meta/episode_id", "the group calibration",
                  "the attribute license of the store", "the array data/text"):
        assert f"not carried over: {words}" in caplog.text
    assert ReplayBuffer.open(back).keys() == ["action"]
    assert read_zarr(back).not_carried == ()


@pytest.mark.parametrize(("name", "tear"), [
    ("data/action/.zarray", lambda text: text[:30]), (".zgroup", lambda _: ""), ("data/.zgroup", lambda _: "[]"),
    ("data/action/.zarray", lambda text: text.replace('"<f4"', '"<q9"')), ("data/action/.zarray", lambda _: "\x00"),
])
def test_a_torn_description_is_one_line(tmp_path: Path, name: str, tear: Callable[[str], str]) -> None:
    """With the remedy, whichever file it is."""
    foreign(tmp_path / "a.zarr")
    file = tmp_path / "a.zarr" / name
    file.write_text(tear(file.read_text()))
    with pytest.raises(ReplayBufferError, match=r"a\.zarr is (damaged.*again|not a replay buffer)"):
        read_zarr(tmp_path / "a.zarr")


def test_torn_consolidated_metadata_are_one_line(tmp_path: Path) -> None:
    """An empty .zmetadata."""
    foreign(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/.zmetadata").write_text("")
    with pytest.raises(ReplayBufferError, match="is damaged"):
        read_zarr(tmp_path / "a.zarr")


@pytest.mark.parametrize("codec", ["codec_of_tomorrow", "imagecodecs_of_tomorrow"])
def test_a_codec_that_is_not_there_is_named(tmp_path: Path, codec: str) -> None:
    """With what to install."""
    pytest.importorskip("imagecodecs")
    foreign(tmp_path / "a.zarr")
    file = tmp_path / "a.zarr/data/action/.zarray"
    file.write_text(file.read_text().replace('"blosc"', f'"{codec}"'))
    assert codec in file.read_text()
    with pytest.raises(ReplayBufferError, match=f"{codec}.*install"):
        read_zarr(tmp_path / "a.zarr")


def test_jpeg_xl_stores_are_read(tmp_path: Path) -> None:
    """As UMI's data sets are."""
    codecs = pytest.importorskip("imagecodecs.numcodecs")
    images = np.random.default_rng(3).integers(0, 256, (4, 16, 24, 3), np.uint8)
    codec = codecs.Jpegxl(lossless=True)
    codecs.register_codecs()
    root = foreign(tmp_path / "a.zarr")
    root.create_array("data/camera0_rgb", data=images, chunks=(1, 16, 24, 3), compressors=codec)
    back = convert(tmp_path / "a.zarr", tmp_path / "back.zarr")
    assert np.array_equal(ReplayBuffer.open(back)["camera0_rgb"][:], images)


@pytest.mark.parametrize("name", ["lerobot", "b.hdf5", "b.zarr"])
def test_bytes_of_the_other_order_are_the_same_numbers(tmp_path: Path, name: str) -> None:
    """Big-endian floats, as old machines and network code write them."""
    state = np.arange(8, dtype=">f4").reshape(4, 2)
    foreign(tmp_path / "a.zarr", **{"data/state": state})
    there = convert(tmp_path / "a.zarr", tmp_path / name, Choices(fps_hz=10))
    back = ReplayBuffer.open(convert(there, tmp_path / "back.zarr"))
    assert np.array_equal(back["state"][:], state)
