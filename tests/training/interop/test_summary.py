"""What is said about a data set without converting it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ladle.errors import ReplayBufferError
from training.interop.convert import convert
from training.interop.summary import StreamSummary, summarise


@pytest.mark.parametrize(("name", "kind", "camera"), [
    ("c.zarr", "zarr", "camera_1"), ("c.zarr.zip", "zarr.zip", "camera_1"), ("c.hdf5", "robomimic", "camera_1"),
    ("c", "lerobot", "observation.images.camera_1"),
])
def test_all_formats_tell_the_same(tmp_path: Path, scoop_store: Path, name: str, kind: str, camera: str) -> None:
    """Counts, rate, size; the stored type of the images."""
    found = summarise(convert(scoop_store, tmp_path / name))
    assert (found.kind, found.episodes, found.steps, found.fps_hz) == (kind, 3, 15, 10.0)
    assert found.streams[camera] == StreamSummary((6, 8, 3), "image" if kind == "lerobot" else "uint8")
    assert len(found.streams) == 6
    assert found.size_bytes > 1000
    assert not [fault for fault in found.faults if "gap" not in fault]


def test_faults_of_a_robomimic_file_are_named(robomimic_file: Callable[..., Path]) -> None:
    """Gaps and a wrong total do no harm, but are said."""
    faults = " ".join(summarise(robomimic_file(total=7)).faults)
    assert "total is 7, the demonstrations have 20 steps" in faults
    assert "demo_1, demo_2, demo_4, demo_5, demo_6 and 3 more missing" in faults


def test_faults_of_a_lerobot_set_are_named(tmp_path: Path, scoop_store: Path) -> None:
    """Wrong totals and files that are gone."""
    root = convert(scoop_store, tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps({**info, "total_frames": 99}))
    (root / "data/chunk-000/file-000.parquet").unlink()
    faults = " ".join(summarise(root).faults)
    assert "total_frames is 99, the episodes table has 15" in faults
    assert "file-000.parquet cannot be read" in faults


def test_what_is_no_data_set_is_one_clear_line(tmp_path: Path) -> None:
    """Nothing there, and something else there."""
    with pytest.raises(ReplayBufferError, match="nothing at"):
        summarise(tmp_path / "x.zarr")
    with pytest.raises(ReplayBufferError, match="none of the known kinds"):
        summarise(tmp_path)
