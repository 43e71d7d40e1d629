"""LeRobot v3.0: the layout of a genuine data set, pictures with and without loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import Choices, convert
from training.interop.lerobot_read import read_lerobot

from .conftest import Streams, write_store

SAMPLE = "lerobot/v30_so101_real_6ep"


def info_of(root: Path) -> dict[str, Any]:
    """meta/info.json."""
    return json.loads((root / "meta/info.json").read_text())


def smooth_video(steps: int) -> Streams:
    """A picture that moves a little, as cameras see it, and an action."""
    ramp = np.linspace(0, 200, 64)[None, None, :, None] + np.linspace(0, 40, 48)[None, :, None, None]
    images = (ramp + np.arange(steps)[:, None, None, None] + np.array([0, 5, 10])).astype(np.uint8)
    return {"wrist": images, "state": np.ones((steps, 2), np.float32), "action": np.ones((steps, 2), np.float32)}


def test_the_tables_are_those_of_a_genuine_data_set(tmp_path: Path, shared_data: Path) -> None:
    """Read and written again as video, every file has the columns and types that LeRobot itself gave it."""
    sample = shared_data / SAMPLE
    steps = [30, 31]
    meta = {"fps_hz": 30.0, "robot_type": "so101_follower"}
    store = write_store(tmp_path / "store.zarr", [smooth_video(n) for n in steps], meta)
    ours = convert(store, tmp_path / "ours", Choices(video=True))
    for name in ("meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet", "meta/tasks.parquet"):
        genuine, found = pq.read_schema(sample / name), pq.read_schema(ours / name)
        missing = set(genuine.names) - set(found.names)
        assert missing <= {"meta/episodes/chunk_index", "meta/episodes/file_index"}, name
        for column in set(genuine.names) & set(found.names):
            if column not in ("observation.state", "action"):
                assert found.field(column).type == genuine.field(column).type, column
    assert str(pq.read_schema(ours / "data/chunk-000/file-000.parquet").field("action").type).startswith("fixed_size")
    genuine_info, info = info_of(sample), info_of(ours)
    assert set(genuine_info) <= set(info)
    assert {key: type(value) for key, value in genuine_info.items()} == {key: type(info[key]) for key in genuine_info}
    assert info["features"]["observation.images.wrist"]["dtype"] == "video"
    with av.open(str(ours / "videos/observation.images.wrist/chunk-000/file-001.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 31
    stats = json.loads((ours / "meta/stats.json").read_text())
    genuine_stats = json.loads((sample / "meta/stats.json").read_text())
    assert set(genuine_stats) <= set(stats)
    assert set(genuine_stats["action"]) <= set(stats["action"])
    assert np.shape(stats["observation.images.wrist"]["mean"]) == (3, 1, 1)


def test_statistics_are_those_of_the_whole_data_set(tmp_path: Path) -> None:
    """Pooled over episodes of different lengths."""
    rng = np.random.default_rng(1)
    episodes = [{"action": rng.normal(i, 2, (20 + 10 * i, 3)).astype(np.float32)} for i in range(3)]
    root = convert(write_store(tmp_path / "s.zarr", episodes, {"fps_hz": 10.0}), tmp_path / "lerobot")
    whole = np.concatenate([episode["action"] for episode in episodes]).astype(np.float64)
    stats = json.loads((root / "meta/stats.json").read_text())["action"]
    np.testing.assert_allclose(stats["mean"], whole.mean(axis=0))
    np.testing.assert_allclose(stats["std"], whole.std(axis=0))
    np.testing.assert_allclose(stats["max"], whole.max(axis=0))
    assert stats["count"] == [90]


def test_image_statistics_agree_with_a_direct_count(tmp_path: Path) -> None:
    """In 0..1 and per channel."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 200, (7, 8, 8, 3), np.uint8)
    store = write_store(tmp_path / "s.zarr", [{"cam": images, "action": np.zeros((7, 1))}], {"fps_hz": 10.0})
    stats = json.loads((convert(store, tmp_path / "l") / "meta/stats.json").read_text())["observation.images.cam"]
    np.testing.assert_allclose(np.ravel(stats["mean"]), images.mean(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(np.ravel(stats["std"]), images.std(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(np.ravel(stats["min"]), images.min(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(np.ravel(stats["max"]), images.max(axis=(0, 1, 2)) / 255)


def test_pictures_are_png_in_the_table_by_default(tmp_path: Path, scoop_store: Path) -> None:
    """dtype "image", RGB; depth is a grid of uint16, and what would give the result away is no observation."""
    root = convert(scoop_store, tmp_path / "scoop")
    features = info_of(root)["features"]
    assert features["observation.images.camera_1"]["dtype"] == "image"
    assert (features["depth_0"]["dtype"], features["depth_0"]["shape"]) == ("uint16", [6, 8])
    assert {"observation.state", "action", "label", "mass"} < set(features)
    table = pq.read_table(root / "data/chunk-000/file-000.parquet")
    first = cv2.imdecode(np.frombuffer(table["observation.images.camera_1"][0].as_py()["bytes"], np.uint8), -1)
    assert np.array_equal(first[..., ::-1], ReplayBuffer.open(scoop_store)["camera_1"][0])
    assert table["index"].to_pylist() == list(range(15))
    assert table["frame_index"].to_pylist()[5:8] == [0, 0, 1]
    np.testing.assert_allclose(table["timestamp"].to_pylist()[:5], np.arange(5) / 10, rtol=1e-6)


def test_videos_lose_little_and_keep_their_place(tmp_path: Path) -> None:
    """Frame i of the video is frame i of the store, in every episode."""
    episodes = [smooth_video(n) for n in (4, 9)]
    store = write_store(tmp_path / "s.zarr", episodes, {"fps_hz": 30.0})
    back = convert(convert(store, tmp_path / "l", Choices(video=True)), tmp_path / "back.zarr")
    ours, theirs = ReplayBuffer.open(store)["wrist"][:], ReplayBuffer.open(back)["wrist"][:]
    assert np.abs(ours.astype(int) - theirs).mean() < 3
    means = theirs.mean(axis=(1, 2, 3))
    assert np.all(np.diff(means[:4]) > 0.5)
    assert np.all(np.diff(means[4:]) > 0.5)


def test_a_genuine_data_set_is_read_whole(tmp_path: Path, shared_data: Path) -> None:
    """Six episodes in one table and one video: every number, and the frames of each episode from its own place."""
    found = read_lerobot(shared_data / SAMPLE)
    table = pq.read_table(shared_data / SAMPLE / "data/chunk-000/file-000.parquet")
    assert found.lengths[0] == 383
    assert sum(found.lengths) == 1782
    assert found.fps_hz == 30.0
    assert set(found.instructions) == {"pick and place"}
    first = next(iter(found.episodes()))
    assert first["wrist"].shape == (383, 360, 640, 3)
    assert first["state"].tolist() == table["observation.state"].to_pylist()[:383]


def test_float_pictures_that_are_no_bytes_are_refused(tmp_path: Path) -> None:
    """Nothing is rounded behind the user's back, and nothing half-written is left."""
    store = write_store(tmp_path / "s.zarr", [{"img": np.full((2, 8, 8, 3), 0.5, np.float32),
                                               "action": np.zeros((2, 1))}], {"fps_hz": 10.0})
    with pytest.raises(ReplayBufferError, match=r"'img' are floats.*\.hdf5"):
        convert(store, tmp_path / "lerobot")
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_the_rate_must_be_known(tmp_path: Path) -> None:
    """Ladle's task says it; a bare store does not."""
    store = write_store(tmp_path / "s.zarr", [{"action": np.zeros((2, 1))}], {})
    with pytest.raises(ReplayBufferError, match="--fps"):
        convert(store, tmp_path / "lerobot")
    assert info_of(convert(store, tmp_path / "lerobot", Choices(fps_hz=25)))["fps"] == 25


def test_other_versions_and_damage_are_named(tmp_path: Path, scoop_store: Path) -> None:
    """An older version with LeRobot's own remedy; rows that are missing with the file."""
    root = convert(scoop_store, tmp_path / "scoop")
    old = tmp_path / "old"
    shutil.copytree(root, old)
    (old / "meta/info.json").write_text(json.dumps({**info_of(root), "codebase_version": "v2.1"}))
    with pytest.raises(ReplayBufferError, match=r"v2\.1.*convert_dataset_v21_to_v30"):
        read_lerobot(old)
    data = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(data).slice(0, 9), data)
    with pytest.raises(ReplayBufferError, match="fewer rows"):
        convert(root, tmp_path / "back.zarr")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ReplayBufferError, match="cannot be read"):
        convert(root, tmp_path / "back.zarr")


def test_a_table_is_split_before_it_grows_too_big(tmp_path: Path, scoop_store: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file begins after the episode that passed the limit; the episodes table knows where each one is."""
    monkeypatch.setattr("training.interop.lerobot_write.DATA_FILE_MB", 0)
    root = convert(scoop_store, tmp_path / "scoop")
    assert len(list((root / "data").rglob("*.parquet"))) == 3
    back = ReplayBuffer.open(convert(root, tmp_path / "back.zarr"))
    assert back["eef"][:].tobytes() == ReplayBuffer.open(scoop_store)["eef"][:].tobytes()
