"""Recordings are found in every layout and keep their own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladle.errors import BagError
from read_sensors_utils.find_bags import find_bags, missing_files


def touch(folder: Path, *names: str) -> None:
    """Empty files at these paths."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("names", [
    ("0/rosbag_0.bag", "2/rosbag_2.bag", "10/rosbag_10.bag"),
    ("rosbag_00/rosbag_00_0.db3", "rosbag_00/rosbag_00_1.db3", "rosbag_02/rosbag_02_0.db3", "rosbag_10/x.mcap"),
    ("rosbag_0/a.mcap", "rosbag_0/metadata.yaml", "rosbag_2/b.mcap", "rosbag_10/c.mcap"),
    ("0/rosbag_0/rosbag_0_0.mcap", "2/rosbag_2/rosbag_2_0.mcap", "10/rosbag_10/metadata.yaml"),
    ("rosbag_0.bag", "rosbag_2.bag", "rosbag_10.bag"),
    ("demo_0.mcap", "demo_2.mcap", "demo_10.mcap"),
    ("demo_0.mcap", "rosbag_2.bag", "demo_10_0.db3"),
    ("0/2024-11-27-10-15-30.bag", "2/x/demo.bag", "monday/rosbag_10.mcap"),
    ("0/x.mcap", "2/x.mcap", "10/x.mcap", "metadata.yaml"),
])
def test_every_layout_keeps_the_numbers(tmp_path, names):
    """Gaps stay, and 10 comes after 2."""
    touch(tmp_path, *names, "data.csv", "truth/0.npz")
    assert [source.number for source in find_bags(tmp_path)] == [0, 2, 10]


@pytest.mark.parametrize(("names", "path", "number"), [
    (("ur3_move/ur3_move_0.db3",), "ur3_move", 0),
    (("rosbag_07/rosbag_07_0.db3",), "rosbag_07", 7),
    (("rosbag_07/rosbag_07_0.db3",), "rosbag_07/rosbag_07_0.db3", 7),
    (("rosbag_5.bag",), "rosbag_5.bag", 5),
    (("talker.mcap",), "talker.mcap", 0),
    (("rosbag_6.bag.active",), "rosbag_6.bag.active", 6),
    (("rosbag_3/rosbag_3_0.db3", "rosbag_3/rosbag_3_1.db3", "rosbag_3/notes.txt"), "rosbag_3", 3),
    (("rosbag_3_0.db3.zstd", "rosbag_4.mcap", "rosbag_5.bag"), "rosbag_4.mcap", 4),
    (("rosbag2_2025_09_10-13_03_56/rosbag2_2025_09_10-13_03_56_0.mcap",), "rosbag2_2025_09_10-13_03_56", 0),
    (("monday/rosbag_7.mcap",), "monday", 7),
    (("talk/talk_1.mcap", "talk/metadata.yaml"), "talk", 0),
    (("3/rosbag2_2025_09_10-13_03_56_0.mcap", "3/rosbag2_2025_09_10-13_03_56_1.mcap"), "3", 3),
])
def test_a_path_can_be_one_recording(tmp_path, names, path, number):
    """A file or a folder that is itself a recording; without a number of its own it is 0."""
    touch(tmp_path, *names)
    [source] = find_bags(tmp_path / path)
    assert source.number == number
    assert source.path == tmp_path / path


@pytest.mark.parametrize(("names", "words"), [
    ((), "no recordings"),
    (("rosbag_1/a.mcap", "1/rosbag_1.bag"), "both have the number 1"),
    (("3/rosbag_5.bag",), "different numbers"),
    (("rosbag2_2025_09_10-13_03_56/a.mcap",), "no number of its own"),
    (("4/a/metadata.yaml", "4/b/metadata.yaml"), "2 recordings"),
    (("2024-11-27-10-15-30.bag",), "no number of its own"),
    (("0/rosbag_0.bag", "1/rosbag_1.bag", "test.mcap"), "test.mcap beside folders with recordings"),
    (("0/rosbag_0_0.mcap", "0/metadata.yaml", "0/old/rosbag_0_0.mcap"), "2 recordings"),
    (("3/a.mcap", "3/b.mcap"), "2 recordings"),
    (("rosbag_3_0.mcap", "rosbag_3_1.mcap", "rosbag_4_0.mcap"), "a folder of their own"),
])
def test_what_cannot_be_numbered_is_refused(tmp_path, names, words):
    """No guessing: a wrong number would pair a recording with another one's mass."""
    touch(tmp_path, *names)
    with pytest.raises(BagError, match=words):
        find_bags(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    """The path is in the message."""
    with pytest.raises(BagError, match="nowhere"):
        find_bags(tmp_path / "nowhere")


def test_a_file_and_its_packed_copy_are_one(tmp_path, caplog):
    """As `zstd FILE` leaves them: every message would come twice."""
    touch(tmp_path, "rosbag_0/rosbag_0_0.mcap", "rosbag_0/rosbag_0_0.mcap.zstd", "rosbag_0/rosbag_0_1.mcap.zstd")
    [source] = find_bags(tmp_path)
    assert [file.name for file in source.files] == ["rosbag_0_0.mcap", "rosbag_0_1.mcap.zstd"]
    assert "rosbag_0_0.mcap.zstd is left out" in caplog.text


@pytest.mark.parametrize(("names", "missing"), [
    (["a_0.mcap", "a_1.mcap.zstd"], []),
    (["a_0.mcap.zstd"], ["a_1.mcap.zstd"]),
    (["b_0.mcap", "b_1.mcap"], []),  # renamed
])
def test_files_that_are_listed_and_not_there_are_named(tmp_path, names, missing):
    """Packed or not; a metadata.yaml that makes no sense lists none."""
    touch(tmp_path, *(f"rosbag_0/{name}" for name in names))
    metadata = tmp_path / "rosbag_0/metadata.yaml"
    metadata.write_text("rosbag2_bagfile_information:\n  relative_file_paths: [a_0.mcap, ./a_1.mcap.zstd]\n")
    assert missing_files(find_bags(tmp_path)[0]) == missing
    for damage in ("", "[", "rosbag2_bagfile_information: 3", "rosbag2_bagfile_information: {relative_file_paths: 7}"):
        metadata.write_text(damage)
        assert missing_files(find_bags(tmp_path)[0]) == []


@pytest.mark.parametrize(("shift_s", "numbers"), [(0.3, [3]), (20.0, [0, 1])])
def test_files_of_one_name_are_one_recording_only_where_each_follows_the_other(
    synthetic, tmp_path: Path, shift_s: float, numbers: list[int], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """demo_0 and demo_1 without a metadata.yaml: one demonstration in two parts, or two, as their stamps say."""
    folder = tmp_path / ("3" if numbers == [3] else "recordings")
    folder.mkdir()
    for number in (0, 1):
        monkeypatch.setattr(synthetic, "START_NS", 1_700_000_000_000_000_000 + int(number * shift_s * 1e9))
        made = synthetic.write_bag(tmp_path / f"made_{number}", synthetic.BagPlan(duration_s=0.3))
        next(made.glob("*.mcap")).rename(folder / f"demo_{number}.mcap")
    assert [source.number for source in find_bags(folder)] == numbers


def test_a_split_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no metadata.yaml lists it, the numbers of the others tell."""
    touch(tmp_path, "rosbag_3/rosbag_3_0.mcap", "rosbag_3/rosbag_3_2.mcap")
    find_bags(tmp_path)
    assert "rosbag_3_1 is not there" in caplog.text


def test_what_is_left_out_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Too deep, packed in another way, or not there at all; what is no recording is not spoken of."""
    touch(tmp_path, "0/rosbag_0.bag", "2/a/b/x.mcap", "3/x.mcap.zst", "data.csv", "truth/0.npz", "0/rosbag_0.db3-wal")
    (tmp_path / "1").mkdir()
    assert [source.number for source in find_bags(tmp_path)] == [0]
    left = [message.partition(" is left out")[0] for message in caplog.messages]
    assert [Path(path).relative_to(tmp_path).as_posix() for path in left] == [
        "1", "2", "3", "2/a/b/x.mcap", "3/x.mcap.zst"]
