"""`ladle verify` on what `ladle convert` writes as LeRobot: sound as written, and every kind of damage by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.verification import verify
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import load_task, task_text
from training.interop.convert import Choices, convert
from training.interop.images import png

DATA = "data/chunk-000/file-000.parquet"
PICTURES = "observation.images.camera_1"


@pytest.fixture(params=[False, True], ids=["png", "mp4"])
def video(request: pytest.FixtureRequest) -> bool:
    """Both ways in which pictures are written."""
    return request.param


@pytest.fixture
def convert_store(tmp_path: Path) -> Callable[..., Path]:
    """Write two episodes of 40 and 3 steps, with the camera's pictures of a type, and convert them."""

    def make(dtype: type = np.uint8, *, video: bool = False) -> Path:
        rng = np.random.default_rng(0)
        with ReplayBufferWriter(tmp_path / "a.zarr", {"task": task_text(load_task("scoop"))}) as writer:
            for steps in (40, 3):
                writer.append_episode({
                    "camera_1": rng.integers(0, 256, (steps, 32, 48, 3)).astype(dtype),
                    "depth_0": rng.integers(0, 65536, (steps, 6, 8), np.uint16),
                    "eef": rng.standard_normal((steps, 7)).astype(np.float32),
                    "label": np.ones((steps, 1), np.float32)})
        return convert(tmp_path / "a.zarr", tmp_path / "set", Choices(video=video))

    return make


def faults(path: Path) -> list[str]:
    """What is wrong, in words."""
    return [fault.what for fault in verify(path).faults]


def edit(path: Path, column: str, change: Callable[[list], None]) -> None:
    """Write a column of the parquet file anew."""
    table = pq.read_table(path / DATA)
    values = table.column(column).to_pylist()
    change(values)
    number = table.schema.get_field_index(column)
    pq.write_table(table.set_column(number, table.schema.field(column), pa.array(values, table.schema.types[number])),
                   path / DATA)


def test_what_convert_writes_is_sound(convert_store, video: bool) -> None:
    """Vectors, grids and pictures, which are structs, or videos beside the rows."""
    verdict = verify(convert_store(video=video))
    assert (verdict.episodes, verdict.faults) == (2, [])


def test_float_pictures_are_sound(convert_store) -> None:
    """As Push-T's are, which are stored as bytes."""
    assert faults(convert_store(np.float32)) == []


@pytest.mark.parametrize("damage", [
    lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    lambda content: content[:-40],
    lambda _: b"",
])
def test_a_damaged_picture_is_named(convert_store, damage) -> None:
    """File, column, frame and episode; of several the first, and what else is wrong beside it."""
    path = convert_store()

    def change(rows: list) -> None:
        for row in (35, 36, 41):
            rows[row] = {"bytes": damage(rows[row]["bytes"]), "path": None}

    edit(path, PICTURES, change)
    edit(path, "observation.state", lambda rows: rows[0].__setitem__(0, np.nan))
    assert faults(path) == [f"{DATA}: observation.state is not finite",
                            f"{DATA}: {PICTURES} in frame 35 of episode 0: an image cannot be decoded"]


def test_pictures_in_other_files_or_of_another_size_are_named(convert_store) -> None:
    """They decode, or are not there, but are not what info.json says."""
    path = convert_store()
    edit(path, PICTURES, lambda rows: rows.__setitem__(41, {"bytes": None, "path": "images/41.png"}))
    assert faults(path) == [f"{DATA}: {PICTURES} in frame 1 of episode 1: the images lie in other files"]
    edit(path, PICTURES, lambda rows: rows.__setitem__(41, {"bytes": png(np.zeros((9, 9, 3), np.uint8)), "path": None}))
    assert faults(path) == [f"{DATA}: {PICTURES} in frame 1 of episode 1: an image has shape (9, 9, 3), expected "
                            "(32, 48, 3)"]


def test_damaged_files_are_named(convert_store, video: bool) -> None:
    """Rows that are missing, a file that is none, a video that is none."""
    path = convert_store(video=video)
    if video:
        next(path.rglob("*.mp4")).write_bytes(b"no video")
        assert "is not a readable video" in faults(path)[0]
        return
    whole = pq.read_table(path / DATA)
    pq.write_table(whole.slice(0, 42), path / DATA)
    assert any("42 rows" in fault or "rows" in fault for fault in faults(path))
    (path / DATA).write_bytes(b"no parquet")
    assert DATA in faults(path)[0]
