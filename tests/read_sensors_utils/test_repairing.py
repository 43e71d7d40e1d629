"""What is half-made is completed or dropped, what is lost comes back from the recordings, and labels stay."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ladle.episode import (
    EEF_FILE,
    LABELS_FILE,
    MASS_FILE,
    PARTIAL_LABELS_FILE,
    TARGET_FILE,
    TICK_LABELS_FILE,
    EpisodeFolder,
)
from ladle.errors import EpisodeError
from read_sensors_utils.extract_all import extract_all
from read_sensors_utils.repairing import repair_folder
from read_sensors_utils.verification import verify_folder

LABELS = np.repeat([0, 1, 2], 10)


@pytest.fixture(scope="module")
def made(synthetic, small_task, tmp_path_factory) -> Path:
    """Episodes 0, 1 and 3 with labels, and their recordings."""
    folder = tmp_path_factory.mktemp("repair")
    for number in (0, 1, 3):
        synthetic.write_bag(folder / "bags" / f"rosbag_{number}", synthetic.BagPlan(duration_s=1.0))
    (folder / "bags/data.csv").write_text("index,mass\n0,1\n1,2\n3,4\n")
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    for number in (0, 1, 3):
        np.save(folder / "out/actions" / str(number) / LABELS_FILE, LABELS)
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    return folder


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_sound_folder_needs_nothing(root: Path, made: Path) -> None:
    """And is not touched, with or without recordings."""
    before = snapshot(root)
    for bags in (None, made / "bags"):
        repairs = repair_folder(root, bags=bags)
        assert (repairs.done, repairs.left) == ([], [])
    assert snapshot(root) == before


def test_what_kills_leave_is_cleared_away(root: Path) -> None:
    """Staging, orphans, half-made buffers and files go; whole episodes stay as they are."""
    before = snapshot(root)
    for left in (".partial-1/videos/1", ".partial-8/videos/8", "videos/9", "frames/9.zarr", "actions/5",
                 ".partial-replay_buffer.zarr/data", ".old-replay_buffer.zarr"):
        (root / left).mkdir(parents=True)
    (root / "stamps/9.npz").write_bytes(b"x")
    (root / ".partial-replay_buffer.zarr.zip").write_bytes(b"x")
    (root / f"actions/0/.partial-{LABELS_FILE}").write_bytes(b"x")
    dry = repair_folder(root, dry_run=True)
    assert (root / "videos/9").is_dir()
    done = repair_folder(root)
    assert done.done == dry.done
    assert len(done.done) == 10
    assert done.left == []
    (root / "replay_buffer.zarr").rmdir()  # what was set aside is put back
    assert snapshot(root) == before
    assert verify_folder(root).faults == []


def test_an_episode_that_was_whole_is_put_in_place(root: Path) -> None:
    """A kill between the last flush and the last rename costs nothing."""
    before = snapshot(root)
    ready = root / ".ready-1"
    for part in ("frames/1.zarr", "stamps/1.npz", "actions/1"):  # videos and numpy had been moved already
        (ready / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).rename(ready / part)
    shutil.copytree(root / "actions/0", root / ".replaced-1")
    assert EpisodeFolder(root).numbers() == [0, 3]
    assert "put in place" in repair_folder(root).done[0]
    assert snapshot(root) == before


@pytest.mark.parametrize("name", [LABELS_FILE, PARTIAL_LABELS_FILE])
def test_labels_outlive_everything_else(root: Path, made: Path, small_task, name: str) -> None:
    """They lie only in what was replaced: repair keeps them, and the next extraction takes them over."""
    (root / "actions/1").rename(root / ".replaced-1")
    (root / ".replaced-1" / LABELS_FILE).rename(root / ".replaced-1" / name)
    repair_folder(root)
    assert [p.name for p in (root / "actions/1").iterdir()] == [name]
    assert not (root / ".replaced-1").exists()
    assert not (root / "videos/1").exists()
    assert EpisodeFolder(root).numbers() == [0, 3]
    assert repair_folder(root).done == []
    extract_all(made / "bags", root, small_task, workers=1)
    np.testing.assert_array_equal(np.load(root / "actions/1" / name), LABELS)
    assert verify_folder(root).faults == []


def test_the_recordings_bring_back_what_is_missing_or_damaged(root: Path, made: Path) -> None:
    """One episode is gone, one damaged, one without its description but with labels; the rest is not touched."""
    before = snapshot(root)
    (root / "videos/0/1.mp4").write_bytes(b"damaged")
    (root / "actions/1/episode.json").unlink()
    assert [fault.where for fault in repair_folder(root, dry_run=True).left] == ["episode 0", "episode 1"]
    assert len(repair_folder(root, bags=made / "bags", dry_run=True).done) == 2
    untouched_ns = (root / "actions/3/episode.json").stat().st_mtime_ns
    repairs = repair_folder(root, bags=made / "bags")
    assert repairs.left == []
    assert "episode 0: extracted again from rosbag_0" in repairs.done
    assert "episode 1: extracted again from rosbag_1" in repairs.done
    assert (root / "actions/3/episode.json").stat().st_mtime_ns == untouched_ns
    assert verify_folder(root).faults == []
    assert snapshot(root).keys() == before.keys()
    for number in (0, 1, 3):
        np.testing.assert_array_equal(EpisodeFolder(root).frame_labels(number), LABELS)


def test_damage_without_a_recording_is_left_and_named(root: Path, made: Path, tmp_path: Path) -> None:
    """Nothing complete is thrown away; the remedy is in the line."""
    (root / "videos/3/1.mp4").write_bytes(b"damaged")
    shutil.copytree(made / "bags/rosbag_0", tmp_path / "bags/rosbag_0")
    shutil.copy(made / "bags/data.csv", tmp_path / "bags")
    for bags in (None, tmp_path / "bags"):
        fault, = repair_folder(root, bags=bags).left
        assert "videos/3/1.mp4" in str(fault)
        assert (root / "actions/3/episode.json").is_file()


@pytest.mark.parametrize("name", ["actions/0/mass.txt", "stamps/0.npz", "actions/0/episode.json"])
def test_damaged_data_are_not_blamed_on_the_labels(root: Path, name: str) -> None:
    """Nobody is told to label again what is labelled well; labels that are damaged themselves are named."""
    (root / name).write_bytes(b"damaged")
    fault, = repair_folder(root, dry_run=True).left
    assert name in fault.what
    assert "extract it again" in fault.remedy
    (root / "actions/0" / LABELS_FILE).write_bytes(b"damaged")
    assert [fault.remedy for fault in repair_folder(root, dry_run=True).left][1:] == ["label it again"]


def test_labels_of_ticks_are_brought_up_to_date(root: Path) -> None:
    """They follow from those of the frames."""
    np.save(root / "actions/0" / LABELS_FILE, LABELS[::-1])
    assert repair_folder(root).done == ["episode 0: brought its labels to the ticks"]
    assert verify_folder(root).faults == []


def test_an_episode_that_is_being_written_is_left_alone(root: Path) -> None:
    """The lock of another, living process is respected, and gone with that process."""
    program = f"""
from ladle.episode import EpisodeFolder
with EpisodeFolder({str(root)!r}).writer(4) as writer:
    (writer.folder("videos") / "1.mp4").write_bytes(b"x")
    print("there", flush=True)
    input()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert repair_folder(root).done == []
        assert (root / ".partial-4/videos/4/1.mp4").is_file()
    finally:
        process.kill()
        process.wait()
    assert repair_folder(root).done == ["episode 4: removed what an interrupted run had begun"]
    assert not (root / ".partial-4").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A slip of the finger makes no folder."""
    with pytest.raises(EpisodeError, match="no folder"):
        repair_folder(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_what_is_no_folder_of_episodes_is_left_alone(tmp_path: Path) -> None:
    """Numbered videos of somebody else are not taken for the rest of an episode."""
    (tmp_path / "videos/3").mkdir(parents=True)
    with pytest.raises(EpisodeError, match="no folder of episodes"):
        repair_folder(tmp_path)
    assert (tmp_path / "videos/3").is_dir()


def older_dataset(root: Path, number: int) -> None:
    """What the users' own earlier programs wrote: the same folders, and no episode.json."""
    for name in (EEF_FILE, TARGET_FILE, MASS_FILE, LABELS_FILE, TICK_LABELS_FILE):
        (root / "actions" / str(number)).mkdir(parents=True, exist_ok=True)
        (root / "actions" / str(number) / name).write_bytes(b"years ago")
    for kind, suffix in (("videos", "mp4"), ("numpy", "npy")):
        for camera in (0, 1):
            (root / kind / str(number)).mkdir(parents=True, exist_ok=True)
            (root / kind / str(number) / f"{camera}.{suffix}").write_bytes(b"years ago")


def test_what_other_programs_made_is_left_and_named(root: Path, made: Path, small_task, tmp_path: Path) -> None:
    """Beside our episodes or alone, with recordings of its number or without: neither repair nor extract does harm."""
    bags = shutil.copytree(made / "bags", tmp_path / "bags")
    shutil.copytree(bags / "rosbag_0", bags / "rosbag_5")
    (bags / "data.csv").write_text("index,mass\n0,1\n1,2\n3,4\n5,6\n")
    for place in (root, tmp_path / "alone"):
        older_dataset(place, 5)
        (place / "videos/6").mkdir()  # the others of 6 were moved away by hand
        (place / "videos/6/1.mp4").write_bytes(b"years ago")
        (place / "actions/7").mkdir()
        (place / "actions/7/mass.txt").write_text("0 1")
        before = snapshot(place)
        for options in ({}, {"bags": bags, "task": small_task}):
            left = repair_folder(place, **options).left
            assert [fault.where for fault in left] == ["episode 5", "episode 6", "episode 7"]
            assert all("made by another program" in fault.what and "--quaternion-order" in fault.remedy
                       for fault in left)
            assert [fault for fault in verify_folder(place).faults if fault.where in {f.where for f in left}] == left
            for name in before:
                assert snapshot(place)[name] == before[name], name
        for override in (False, True):
            with pytest.raises(EpisodeError, match="data of another program under the number 5"):
                extract_all(bags, place, small_task, override=override, workers=1)
            with pytest.raises(EpisodeError, match="number 7"), EpisodeFolder(place).writer(7, override=override):
                pass
        assert {name: snapshot(place)[name] for name in before} == before


def test_an_episode_that_lost_its_description_stays_until_its_recording_comes(root: Path) -> None:
    """Its frames and poses may be all that there is; whoever has no recording keeps them."""
    (root / "actions/1/episode.json").unlink()
    before = snapshot(root)
    fault, = repair_folder(root).left
    assert (fault.where, fault.what) == ("episode 1", "is half-made: no actions/1/episode.json")
    assert "--bags" in fault.remedy
    assert fault in verify_folder(root).faults
    assert snapshot(root) == before


def test_a_damaged_episode_comes_back_from_its_own_recording_alone(root: Path, made: Path, tmp_path: Path) -> None:
    """Another one that bears its number is named, and nothing of the episode changes."""
    bags = shutil.copytree(made / "bags", tmp_path / "bags")
    file, = (bags / "rosbag_3").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (root / "videos/3/1.mp4").write_bytes(b"damaged")
    before = snapshot(root)
    for dry_run in (True, False):
        repairs = repair_folder(root, bags=bags, dry_run=dry_run)
        assert repairs.done == []
        fault, = repairs.left
        assert "videos/3/1.mp4" in fault.what
        assert "rosbag_3 is another recording than it was made of" in fault.what
        assert "--override" in fault.remedy
    assert snapshot(root) == before
    assert repair_folder(root, bags=made / "bags").left == []


def test_types_of_custom_packages_reach_the_extraction(root: Path, made: Path, tmp_path: Path) -> None:
    """A folder of .msg files that is not there is what the extraction complains about."""
    (root / "videos/3/1.mp4").write_bytes(b"damaged")
    fault, = repair_folder(root, bags=made / "bags", definitions=[tmp_path / "nowhere"]).left
    assert "nowhere" in fault.what
