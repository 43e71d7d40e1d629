"""Replay buffers as the Diffusion Policy code reads and writes them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from ladle import image_codecs
from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import convert
from training.interop.zarr_format import read_zarr

READ_WITH_ZARR_2 = """
import json, sys, zarr
assert zarr.__version__.startswith("2."), zarr.__version__
store = zarr.ZipStore(sys.argv[1], mode="r") if sys.argv[1].endswith(".zip") else zarr.DirectoryStore(sys.argv[1])
root = zarr.group(store)
print(json.dumps({"ends": root["meta/episode_ends"][:].tolist(), "eef": root["data/eef"][:].tolist(),
                  "depth": root["data/depth_0"][:].tolist(), "meta": root.attrs["ladle"]["episodes"]}))
"""


@pytest.mark.parametrize("name", ["copy.zarr", "copy.zarr.zip"])
def test_zarr_2_reads_what_we_write(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """With the release that the original code uses; LADLE_ZARR2_PYTHON names an interpreter that has it."""
    python = os.environ.get("LADLE_ZARR2_PYTHON")
    if not python:
        pytest.skip("needs LADLE_ZARR2_PYTHON, an interpreter with zarr 2.18")
    path = convert(scoop_store, tmp_path / name)
    done = subprocess.run([python, "-c", READ_WITH_ZARR_2, str(path)], capture_output=True, text=True, check=True)
    found, ours = json.loads(done.stdout), ReplayBuffer.open(scoop_store)
    assert found["ends"] == [5, 6, 15]
    assert found["meta"] == [0, 3, 10]
    assert found["eef"] == ours["eef"][:].tolist()
    assert found["depth"] == ours["depth_0"][:].tolist()


@pytest.mark.parametrize("name", ["copy.zarr", "copy.zarr.zip"])
def test_every_array_is_format_2_with_blosc(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """What zarr 2 cannot read would show here: another format number, another codec."""
    path = convert(scoop_store, tmp_path / name)
    if path.is_dir():
        texts = [file.read_text() for file in path.rglob(".zarray")]
    else:
        with zipfile.ZipFile(path) as archive:
            texts = [archive.read(member).decode() for member in archive.namelist() if member.endswith(".zarray")]
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert len(texts) == 7
    for text in texts:
        described = json.loads(text)
        assert (described["zarr_format"], described["compressor"]["id"], described["filters"]) == (2, "blosc", None)


def jpeg_store(path: Path, images: np.ndarray) -> Path:
    """A store as the original code writes it for a real robot: one lossless JPEG 2000 an image."""
    codecs = pytest.importorskip("imagecodecs.numcodecs")
    codecs.register_codecs()
    root = zarr.open_group(path, mode="w", zarr_format=2)
    codec = codecs.Jpeg2k(level=0, reversible=True)
    camera = root.create_array("data/camera_0", shape=images.shape, chunks=(1, *images.shape[1:]), dtype="uint8",
                               compressors=codec)
    camera[:] = images
    root.create_array("data/action", data=np.zeros((len(images), 2), np.float32))
    root.create_array("meta/episode_ends", data=np.array([2, len(images)]))
    return path


def test_jpeg_2000_stores_are_read(tmp_path: Path) -> None:
    """Also when the store's settings hold one that this version of imagecodecs does not know."""
    images = np.random.default_rng(3).integers(0, 256, (3, 16, 24, 3), np.uint8)
    path = jpeg_store(tmp_path / "real.zarr", images)
    described = path / "data/camera_0/.zarray"
    changed = json.loads(described.read_text())
    changed["compressor"]["codec_of_tomorrow"] = True
    described.write_text(json.dumps(changed))
    back = convert(path, tmp_path / "back.zarr")
    assert np.array_equal(ReplayBuffer.open(back)["camera_0"][:], images)


def test_without_imagecodecs_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional."""
    path = jpeg_store(tmp_path / "real.zarr", np.zeros((3, 16, 24, 3), np.uint8))
    real = importlib.util.find_spec
    monkeypatch.setattr(image_codecs.importlib.util, "find_spec",
                        lambda name, *more: None if name == "imagecodecs" else real(name, *more))
    with pytest.raises(ReplayBufferError, match="pip install imagecodecs"):
        read_zarr(path)


def test_a_zarr_3_store_is_read(tmp_path: Path, scoop_store: Path) -> None:
    """Format 3 comes out as format 2."""
    ours = ReplayBuffer.open(scoop_store)
    root = zarr.open_group(tmp_path / "three.zarr", mode="w", zarr_format=3)
    root.create_array("data/eef", data=np.asarray(ours["eef"][:]))
    root.create_array("meta/episode_ends", data=ours.episode_ends)
    back = convert(tmp_path / "three.zarr", tmp_path / "two.zarr")
    assert (back / ".zgroup").is_file()
    assert ReplayBuffer.open(back)["eef"][:].tobytes() == ours["eef"][:].tobytes()


@pytest.mark.parametrize("name", ["copy.zarr", "copy.hdf5"])
def test_damaged_arrays_are_one_clear_line(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """Compressed bytes that no longer decode are named, and nothing half-written is left."""
    path = convert(scoop_store, tmp_path / name)
    if path.is_dir():
        (path / "data/camera_1/0.0.0.0").write_bytes(b"\x02\x01" * 30)
    else:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ReplayBufferError, match=r"cannot be read|not a readable HDF5"):
        convert(path, tmp_path / "back.zarr")
    assert not list(tmp_path.glob("*back.zarr"))
