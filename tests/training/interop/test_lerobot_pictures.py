"""Pictures, videos and grids of LeRobot data sets are those of their step, or the data set is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.verification import verify
from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import Choices, convert
from training.interop.images import decoded
from training.interop.video_reader import VideoReader

from .conftest import write_store

DATA = "data/chunk-000/file-000.parquet"


def encoded(image: np.ndarray) -> bytes:
    """PNG of what OpenCV is given."""
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_picture_of_16_bits_is_not_cut_to_8() -> None:
    """1000 mm would be 232 otherwise."""
    depth = encoded(np.full((6, 8), 1000, np.uint16))
    with pytest.raises(ReplayBufferError, match=r"16 bits a channel, expected 8.*Array2D"):
        decoded(depth, (6, 8, 1), "x")


def test_channels_come_in_their_order() -> None:
    """Red is red, with and without transparency; grey needs no third axis."""
    rgba = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)
    for channels in (3, 4):
        sent = encoded(np.ascontiguousarray(rgba[..., [2, 1, 0, 3][:channels]]))
        assert np.array_equal(decoded(sent, (4, 5, channels), "x"), rgba[..., :channels])
    assert np.array_equal(decoded(encoded(rgba[..., 0]), (4, 5, 1), "x")[..., 0], rgba[..., 0])
    assert np.array_equal(decoded(encoded(rgba[..., 0]), (4, 5), "x"), rgba[..., 0])


@pytest.mark.parametrize("shape", [(64, 48, 3), (3, 48, 64), (48 * 64 * 3,), (48, 192)])
def test_a_picture_of_another_shape_is_not_bent_into_the_one_expected(shape: tuple[int, ...]) -> None:
    """Although the number of bytes is the same."""
    with pytest.raises(ReplayBufferError, match=r"has shape \(48, 64, 3\), expected"):
        decoded(encoded(np.zeros((48, 64, 3), np.uint8)), shape, "x")


def foreign_set(tmp_path: Path, edit: Callable[[dict], object] = lambda _: None, *, video: bool = False) -> Path:
    """A data set as others write it, without Ladle's own notes, of two episodes with 20 steps each at 10 Hz."""
    rng = np.random.default_rng(0)
    episodes = [{"front": np.repeat(rng.integers(0, 256, (20, 1, 1, 3), np.uint8), 64, 1).repeat(48, 2),
                 "depth": rng.integers(0, 65536, (20, 6, 8), np.uint16), "action": np.zeros((20, 2), np.float32)}
                for _ in range(2)]
    store = write_store(tmp_path / "s.zarr", episodes, {"fps_hz": 10.0})
    root = convert(store, tmp_path / "set", Choices(video=video))
    info = json.loads((root / "meta/info.json").read_text())
    del info["ladle"]
    edit(info["features"])
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


@pytest.mark.parametrize("names", [["channels", "height", "width"], None])
def test_a_shape_that_is_told_channels_first_is_understood(tmp_path: Path, names: list[str] | None) -> None:
    """By the names of the axes, or where only one axis can be the channels."""
    root = foreign_set(tmp_path, lambda f: f["observation.images.front"].update(shape=[3, 64, 48], names=names))
    back = ReplayBuffer.open(convert(root, tmp_path / "back.zarr"))
    assert np.array_equal(back["front"][:], ReplayBuffer.open(tmp_path / "s.zarr")["front"][:])


def test_a_grid_of_another_shape_is_not_bent(tmp_path: Path) -> None:
    """Depth of 6 rows that is told as 8 rows."""
    root = foreign_set(tmp_path, lambda f: f["depth"].update(shape=[8, 6]))
    with pytest.raises(ReplayBufferError, match=r"depth: rows of 6x8 at each of 20 steps, expected shape \(8, 6\)"):
        convert(root, tmp_path / "back.zarr")


def test_a_value_that_is_missing_is_not_made_up(tmp_path: Path) -> None:
    """An empty cell would become a number."""
    root = foreign_set(tmp_path)
    table = pq.read_table(root / DATA)
    rows = table.column("action").to_pylist()
    rows[7] = None
    column = table.schema.get_field_index("action")
    pq.write_table(table.set_column(column, "action", pa.array(rows, table.schema.types[column])), root / DATA)
    with pytest.raises(ReplayBufferError, match="action lacks values at some steps"):
        convert(root, tmp_path / "back.zarr")


def film(path: Path, shown: list[int], rate_hz: int) -> Path:
    """A video whose frame at n / rate_hz is as bright as 6 n, with the frames in `shown` alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate_hz)
        stream.height, stream.width, stream.pix_fmt, stream.options = 32, 32, "yuv420p", {"crf": "4", "g": "2"}
        stream.codec_context.time_base = Fraction(1, rate_hz)
        for number in shown:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 6 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(images: np.ndarray, factor: int) -> list[int]:
    """Which frames they are."""
    return [round(float(image.mean()) / 6 / factor) for image in images]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_each_step_gets_the_frame_of_its_time(tmp_path: Path, factor: int) -> None:
    """Also from a file that has two or four frames a step; two episodes share it."""
    video = VideoReader(film(tmp_path / "a.mp4", list(range(10 * factor)), 10 * factor))
    assert shown(video.between(0.0, 4, 10.0), factor) == [0, 1, 2, 3]
    assert shown(video.between(0.4, 6, 10.0), factor) == [4, 5, 6, 7, 8, 9]
    video.close()


def test_a_step_without_a_frame_is_named(tmp_path: Path) -> None:
    """Frame 5 is missing: no other is taken in its place, and the second episode still gets its own."""
    path = film(tmp_path / "a.mp4", [n for n in range(20) if n != 5], 10)
    video = VideoReader(path)
    with pytest.raises(ReplayBufferError, match=r"no frame for step 5 of 10 at 0\.5000 s, the nearest at 0\.6"):
        video.between(0.0, 10, 10.0)
    video.close()
    video = VideoReader(path)
    assert shown(video.between(1.0, 10, 10.0), 1) == list(range(10, 20))
    video.close()
    video = VideoReader(path)
    with pytest.raises(ReplayBufferError, match=r"of another rate than 15 Hz"):
        video.between(0.0, 10, 15.0)
    video.close()


def test_verify_finds_what_convert_refuses(tmp_path: Path) -> None:
    """Frames of another size, a file that goes on, a frame that is gone."""
    root = foreign_set(tmp_path, video=True)
    path = next(root.rglob("*file-000.mp4"))
    assert verify(root).faults == []
    film(path, list(range(20)), 10)
    assert [fault.what.partition(" shows ")[2] for fault in verify(root).faults] == ["32 x 32 pixels, expected 48 x 64"]
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["shape"] = [32, 32, 3]
    (root / "meta/info.json").write_text(json.dumps(info))
    for path in root.rglob("*.mp4"):
        film(path, list(range(22)), 10)
    assert ["goes on behind its last episode" in fault.what for fault in verify(root).faults] == [True, True]
    for path in root.rglob("*.mp4"):
        film(path, [n for n in range(20) if n != 5], 10)
    assert ["no frame for step 5 of 20" in fault.what for fault in verify(root).faults] == [True, True]
