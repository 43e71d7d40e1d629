"""The benchmark compares equals: the baseline's product is ours, number for number."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from app.benchmarks import extract
from app.benchmarks.baselines import extract_plainly
from app.benchmarks.recording import (
    CAMERA_HZ,
    FILE_KINDS,
    JOINTS_HZ,
    benchmark_task,
    color_frames,
    depth_frames,
    write_recording,
)
from app.cli import app
from ladle.episode import EpisodeFolder
from read_sensors_utils.bags import Bag
from read_sensors_utils.extract_all import extract_all
from read_sensors_utils.find_bags import find_bags

SIZE_PX = (64, 48)
KEPT_PX = (24, 12)
SECONDS = 2.0


def decoded(path: Path, pixel_format: str) -> np.ndarray:
    """(F, H, W[, 3]) frames of a video."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=pixel_format) for frame in container.decode(video=0)])


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_baseline_makes_the_same_product(tmp_path, kind):
    """Joints, poses, stamps, frames of the ticks and lossless depth are equal bit for bit; views have all frames."""
    recording = write_recording(tmp_path / "bag", kind, SECONDS, size_px=SIZE_PX, distinct_frames=7)
    task = benchmark_task(*KEPT_PX)
    extract_all(recording, tmp_path / "ours", task, workers=2)
    extract_plainly(recording, task, tmp_path / "plain")
    extract_plainly(recording, task, tmp_path / "same_codec", same_codec=True)
    ours, plain = (EpisodeFolder(tmp_path / name).load(0) for name in ("ours", "plain"))
    assert len(ours) == len(plain) > 15
    for name in ("decision_s", "observation_s", "joints", "target_joints", "eef", "target"):
        assert getattr(ours, name).tobytes() == getattr(plain, name).tobytes(), name
    assert set(ours.frames) == set(plain.frames) == {"camera_1", "camera_3", "depth_0", "depth_2"}
    for key, frames in ours.frames.items():
        np.testing.assert_array_equal(frames[:], plain.frames[key][:])
    stamps = [EpisodeFolder(tmp_path / name).stamps(0) for name in ("ours", "plain")]
    assert set(stamps[0]) == set(stamps[1])
    for name, values in stamps[0].items():
        np.testing.assert_array_equal(values, stamps[1][name])
    folders = [EpisodeFolder(tmp_path / name).video_folder(0) for name in ("ours", "plain", "same_codec")]
    for folder in folders[1:]:
        assert {path.stem for path in folders[0].iterdir()} == {path.stem for path in folder.iterdir()}
    for name in ("0_depth", "2_depth"):
        ours_depth, *others = [decoded(next(folder.glob(f"{name}.*")), "gray16le") for folder in folders]
        for other in others:
            np.testing.assert_array_equal(ours_depth, other)
    for name in ("0_depth.avi", "0.mp4"):
        assert (folders[0] / name).exists()
    assert (folders[2] / "0_depth.avi").read_bytes() == (folders[0] / "0_depth.avi").read_bytes()
    for name in ("0.mp4", "1.mp4", "2.mp4", "3.mp4"):
        views = [decoded(folder / name, "rgb24").astype(int) for folder in folders]
        assert views[0].shape == views[1].shape == (int(SECONDS * CAMERA_HZ), KEPT_PX[1], KEPT_PX[0], 3)


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_recording_is_what_it_says(tmp_path, kind):
    """Rates, topics and the order of receipt."""
    recording = write_recording(tmp_path / "bag", kind, 1.0, size_px=SIZE_PX, distinct_frames=3)
    with Bag(find_bags(recording)[0]) as bag:
        counts = {topic: info.count for topic, info in bag.topics.items()}
        stamps = [receive_ns for _, receive_ns, _ in bag.raw(bag.topics)]
    assert counts.pop("/joint_states") == JOINTS_HZ
    assert counts.pop("/robot_description") == 1
    assert len(counts) == 4
    assert all(count in (CAMERA_HZ, CAMERA_HZ - 1) for count in counts.values())
    assert stamps == sorted(stamps)


def test_frames_are_noisy_and_distinct():
    """No two frames are equal, neighbours differ by the noise, and depth has holes."""
    color, depth = color_frames(0, 8, *SIZE_PX), depth_frames(2, 8, *SIZE_PX)
    assert len({frame.tobytes() for frame in color}) == 8
    assert np.std(color[1].astype(float) - color_frames(1, 8, *SIZE_PX)[1]) > 2
    assert 0.01 < np.mean(depth == 0) < 0.1


@pytest.mark.slow
def test_the_command_prints_one_object(tmp_path, monkeypatch):
    """--json names every figure of every kind of file; each run is a process of its own."""
    monkeypatch.setattr(extract.measure_extract, "__kwdefaults__", {"full_resolution": False, "kinds": ("mcap",)})
    monkeypatch.setattr(extract, "ROUNDS", 1)
    result = CliRunner().invoke(app, ["bench", "extract", "--seconds", "2", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert set(found) == {"mcap"}
    assert set(found["mcap"]) == {"ratio_vs_plain", "ratio_vs_plain_same_codec", "realtime_factor", "mb_per_s",
                                  "peak_mb", "floor_share"}
    assert all(value > 0 for value in found["mcap"].values())
