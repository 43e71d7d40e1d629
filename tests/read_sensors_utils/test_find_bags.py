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
