"""A second run sees that masses were corrected and recordings replaced, and reads no more of them than it must."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ladle.episode import DESCRIPTION_FILE, LABELS_FILE, EpisodeFolder
from ladle.episode_files import CHECKSUMS_FILE
from ladle.errors import BagError, EpisodeError
from read_sensors_utils import made_before
from read_sensors_utils.extract_all import extract_all, extract_and_tell
from read_sensors_utils.made_before import correct_masses
from read_sensors_utils.verification import verify_folder


@pytest.fixture(scope="module")
def made(synthetic, small_task, tmp_path_factory) -> Path:
    """Episodes 0, 1 and 2, the second labelled, and their recordings: 0 and 1 of one length, 2 of another."""
    folder = tmp_path_factory.mktemp("before")
    for number in (0, 1, 2):
        plan = synthetic.BagPlan(duration_s=1.2 if number == 2 else 1.0, camera_delay_s=0.03 - 0.001 * number)
        synthetic.write_bag(folder / "bags" / f"rosbag_{number}", plan)
    (folder / "bags/data.csv").write_text("index,mass\n0,1\n1,2\n2,3\n")
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    np.save(folder / "out/actions/1" / LABELS_FILE, np.repeat([0, 1, 2], 10))
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy to change, with the times of the files."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def replace(bags: Path, number: int, by: int) -> None:
    """Put the messages of another recording into the file of this one."""
    source, = (bags / f"rosbag_{by}").glob("*.mcap")
    target, = (bags / f"rosbag_{number}").glob("*.mcap")
    shutil.copyfile(source, target)


def test_a_corrected_mass_reaches_its_episode_alone(place: Path, small_task, caplog) -> None:
    """No new extraction: the mass is that of data.csv wherever it stands, checksums fit, labels and frames stay."""
    before = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")
              if path.is_file() and "actions/1" not in str(path) and path.name != "annotations_video_interpolated.npy"}
    (place / "bags/data.csv").write_text("index,mass\n0,1\n1,2.5\n2,3\n")
    summary = extract_and_tell(place / "bags", place / "out", small_task, override=False, workers=1, ray_address=None,
                               definitions=())
    assert (summary.extracted, summary.skipped, dict(summary.corrected_g)) == ((), (0, 1, 2), {1: (2.0, 2.5)})
    assert any("episode 1: its mass is 2.5 g now" in message for message in caplog.messages)
    folder = EpisodeFolder(place / "out")
    assert [folder.load(number).mass_g for number in folder.numbers()] == [1.0, 2.5, 3.0]
    assert folder.load(1).description["mass_g"] == 2.5
    assert verify_folder(place / "out").faults == []
    np.testing.assert_array_equal(folder.frame_labels(1), np.repeat([0, 1, 2], 10))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list((place / "out").glob(".*"))
    assert not extract_all(place / "bags", place / "out", small_task, workers=1).corrected_g


@pytest.mark.parametrize("by_whom", ["an older version", "nobody: they were lost"])
def test_a_corrected_mass_costs_nothing_where_there_are_no_checksums(place: Path, small_task, by_whom: str) -> None:
    """Videos, frames and stamps stay where they are, and what verify says about the checksums is the same as before."""
    folder = EpisodeFolder(place / "out")
    (folder.action_folder(1) / CHECKSUMS_FILE).unlink()
    if by_whom == "an older version":
        path = folder.action_folder(1) / DESCRIPTION_FILE
        path.write_text(path.read_text().replace('"checksums"', '"unknown"'))
    before = verify_folder(place / "out")
    files = {path for path in (place / "out").rglob("*") if path.is_file()}
    assert correct_masses(folder, {1: 9.5}) == {1: (2.0, 9.5)}
    assert {path for path in (place / "out").rglob("*") if path.is_file()} == files
    assert folder.load(1).mass_g == 9.5
    after = verify_folder(place / "out")
    assert (after.faults, after.notes) == (before.faults, before.notes)


def test_a_replaced_recording_is_refused_by_number(place: Path, small_task) -> None:
    """By its size, or its content where the size is the same; --override makes the episode of it."""
    replace(place / "bags", 2, by=0)
    replace(place / "bags", 0, by=1)
    with pytest.raises(EpisodeError, match=r"episode 0 was made of another .*, and episode 2 too; pass --override"):
        extract_all(place / "bags", place / "out", small_task, workers=1)
    extract_all(place / "bags", place / "out", small_task, override=True, workers=1)
    folder = EpisodeFolder(place / "out")
    np.testing.assert_array_equal(folder.load(2).frames["camera_1"][:], folder.load(0).frames["camera_1"][:])
    assert extract_all(place / "bags", place / "out", small_task, workers=1).skipped == (0, 1, 2)


def test_a_file_of_the_same_size_and_time_is_not_read(place: Path, small_task, monkeypatch) -> None:
    """One whose time alone differs, as after a copy, is read, and is the same recording."""
    read: list[Path] = []
    monkeypatch.setattr(made_before, "file_checksum", lambda path, sum_up=made_before.file_checksum: (
        read.append(path), sum_up(path))[1])
    assert extract_all(place / "bags", place / "out", small_task, workers=1).skipped == (0, 1, 2)
    assert read == []
    touched, = (place / "bags/rosbag_1").glob("*.mcap")
    os.utime(touched, (1, 1))
    assert extract_all(place / "bags", place / "out", small_task, workers=1).skipped == (0, 1, 2)
    assert read == [touched]


def test_labels_of_other_frames_are_not_taken_over(place: Path, small_task) -> None:
    """As many frames, but not the same: the episode stays as it was until its labels are moved away."""
    replace(place / "bags", 1, by=0)
    with pytest.raises(BagError, match=r"episode 1 has labels of another .* move actions/1/annotations_video.npy"):
        extract_all(place / "bags", place / "out", small_task, override=True, workers=1)
    assert verify_folder(place / "out").faults == []
    (place / "out/actions/1" / LABELS_FILE).unlink()
    extract_all(place / "bags", place / "out", small_task, override=True, workers=1)
    assert EpisodeFolder(place / "out").load(1).labels is None
