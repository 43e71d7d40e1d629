"""The users' older folders, without episode.json, are read in the order of quaternions that is said, and left as they
are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ladle.episode_files import EEF_FILE, LABELS_FILE, MASS_FILE, TARGET_FILE, TICK_LABELS_FILE
from ladle.errors import EpisodeError, LabelError, ReplayBufferError
from ladle.pose import to_xyz_wxyz
from ladle.replay_buffer import ReplayBuffer
from ladle.task import load_task
from training.interop.convert import Choices, convert, convert_as_asked
from training.interop.older_folder import read_older_folder

STEPS, FRAMES = 8, 15
CHOICES = Choices(quaternion_order="wxyz")


def poses(number: int) -> np.ndarray:
    """(T, 7) xyzw: a turn about x of 0.1 rad a tick from half a turn on, at x = number + tick / 100."""
    ticks = np.arange(STEPS + 1)
    turned = np.stack([np.sin((np.pi + 0.1 * ticks) / 2), 0 * ticks, 0 * ticks, np.cos((np.pi + 0.1 * ticks) / 2)], 1)
    return np.concatenate([np.stack([number + ticks / 100, 0 * ticks, 0 * ticks], 1), turned], 1)


def write_video(path: Path, first: int) -> None:
    """Frames of one grey each: first, first + 10, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 15.0, (480, 240))
    for frame in range(FRAMES):
        writer.write(np.full((240, 480, 3), first + 10 * frame, np.uint8))
    writer.release()


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Episodes 0 and 3: poses in wxyz, one of them with its sign turned, labels of the ticks or of the frames."""
    root = tmp_path / "older"
    for number in (0, 3):
        actions = root / "actions" / str(number)
        actions.mkdir(parents=True)
        written = to_xyz_wxyz(poses(number))
        written[4, 3:] *= -1
        np.save(actions / EEF_FILE, written[:-1])
        np.save(actions / TARGET_FILE, written[1:])
        rows = np.stack([np.arange(STEPS), np.linspace(0, 4.5 + number, STEPS)], 1)
        np.savetxt(actions / MASS_FILE, rows, delimiter="," if number else " ")
        np.save(actions / LABELS_FILE, np.repeat([0, 1, 2], 5))
        write_video(root / "videos" / str(number) / "0.mp4", 40)
        write_video(root / "videos" / str(number) / "1.mp4", 60)
    np.save(root / "actions/0" / TICK_LABELS_FILE, np.array([0, 0, 0, 1, 1, 1, 2, 2]))
    return root


def snapshot(root: Path) -> dict[Path, bytes]:
    """Every file."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_what_they_hold_is_in_the_replay_buffer(older: Path, tmp_path: Path) -> None:
    """Poses in xyzw without jumps of sign, the final mass, the labels, and the frames spread over the ticks."""
    before = snapshot(older)
    buffer = ReplayBuffer.open(convert(older, tmp_path / "a.zarr", CHOICES))
    assert buffer.keys() == ["action", "camera_0", "camera_1", "eef", "label", "mass"]
    assert buffer.meta["episodes"] == [0, 3]
    expected = np.concatenate([poses(0)[:-1], poses(3)[:-1]])
    np.testing.assert_allclose(buffer["eef"][:], expected, atol=1e-6)
    np.testing.assert_allclose(buffer["action"][:], np.concatenate([poses(0)[1:], poses(3)[1:]]), atol=1e-6)
    np.testing.assert_allclose(buffer["mass"][:][:, 0], [4.5] * STEPS + [7.5] * STEPS)
    assert buffer["label"][:][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 1, 1, 2, 2, 2]
    for key, first in (("camera_1", 60), ("camera_0", 40)):
        assert buffer[key].shape == (2 * STEPS, 120, 240, 3)
        shown = np.asarray(buffer[key][:STEPS, 60, 120, 0]).astype(int)
        assert np.max(np.abs(shown - (first + 20 * np.arange(STEPS)))) <= 4  # the video is lossy
    assert snapshot(older) == before


def test_the_same_numbers_in_the_other_order_are_another_rotation(older: Path, tmp_path: Path) -> None:
    """Nothing but what was said tells them apart."""
    buffer = ReplayBuffer.open(convert(older, tmp_path / "a.zarr", Choices(quaternion_order="xyzw")))
    read = np.abs(np.asarray(buffer["eef"][0]))
    np.testing.assert_allclose(read, np.abs(to_xyz_wxyz(poses(0)[0])), atol=1e-6)


def test_a_buffer_that_lies_there_is_not_replaced(older: Path) -> None:
    """The program that made the episodes made one too, under the name that is the default."""
    theirs = older / "replay_buffer.zarr"
    theirs.mkdir()
    (theirs / ".zgroup").write_text("{}")

    def ask(output: Path | None) -> Path:
        return convert_as_asked(None, None, dataset_path=older, output=output, make_zip=False, choices=CHOICES)

    with pytest.raises(ReplayBufferError, match="not made by Ladle"):
        ask(None)
    assert ReplayBuffer.open(ask(older / "ours.zarr")).n_episodes == 2
    assert [path.name for path in theirs.iterdir()] == [".zgroup"]


def test_without_an_order_it_is_asked_for(older: Path, tmp_path: Path) -> None:
    """In one line, and nothing is written."""
    done = subprocess.run([sys.executable, "-m", "app.cli", "convert", str(older), str(tmp_path / "a.zarr")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "episodes of another program (0, 3)" in done.stderr
    assert "--quaternion-order wxyz or xyzw" in done.stderr
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize(("name", "content", "said"), [
    (EEF_FILE, np.zeros((STEPS, 7)), "length is off by 1"), (EEF_FILE, np.ones((STEPS, 6)), r"shape \(8, 6\)"),
    (TARGET_FILE, poses(0)[:3], "has 8 ticks and .* 3"), (TICK_LABELS_FILE, np.zeros(3), "3 labels for 8 ticks"),
    (TICK_LABELS_FILE, np.full(STEPS, 3), "label 3, expected 0 to 2"), (EEF_FILE, None, "cannot be read"),
    (MASS_FILE, None, "expected rows of index and mass"), ("../../videos/0/1.mp4", None, "1.mp4 is missing"),
])
def test_what_cannot_be_used_is_named_or_left_out(older: Path, tmp_path: Path, name: str, content: np.ndarray | None,
                                                  said: str) -> None:
    """By the episode's number; on request the others are converted without it."""
    path = older / "actions/0" / name
    path.unlink()
    if content is not None:
        np.save(path, content)
    with pytest.raises((EpisodeError, LabelError), match=f"episode 0: .*{said}"):
        convert(older, tmp_path / "a.zarr", CHOICES)
    left: list[str] = []
    rest = read_older_folder(older, "wxyz", load_task("scoop"), skip_incomplete=True, warn=left.append)
    assert rest.numbers == (3,)
    assert len(left) == 1


def test_episodes_that_tell_their_order_need_none(older: Path, tmp_path: Path) -> None:
    """Two kinds in one folder are not mixed, and an order is not for data of other kinds."""
    (older / "actions/3/episode.json").write_text("{}")
    with pytest.raises(EpisodeError, match=r"episode 3 .* tells the order"):
        convert(older, tmp_path / "a.zarr", CHOICES)
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ReplayBufferError, match="leave it out"):
        convert(tmp_path / "b.zarr", tmp_path / "c.zarr", CHOICES)
