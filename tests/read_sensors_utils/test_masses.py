"""data.csv pairs masses with recordings by number."""

from __future__ import annotations

import pytest

from ladle.errors import BagError
from read_sensors_utils.masses import mass_of, read_masses


def test_masses_are_found_by_number(tmp_path):
    """Order, further columns and spaces do not matter."""
    (tmp_path / "data.csv").write_text("who, Mass ,index\nme,3.5,2\nyou,1,0\n")
    masses = read_masses(tmp_path)
    assert masses == {2: 3.5, 0: 1.0}
    with pytest.raises(BagError, match=r"recording 1 has no row .*0, 2"):
        mass_of(masses, 1, tmp_path)


def test_a_single_recording_finds_the_table_beside_it(tmp_path):
    """--path-load may be one recording of the folder."""
    (tmp_path / "data.csv").write_text("index,mass\n3,7\n")
    (tmp_path / "rosbag_3").mkdir()
    (tmp_path / "rosbag_3" / "rosbag_3_0.mcap").touch()
    assert read_masses(tmp_path / "rosbag_3") == {3: 7.0}


def test_a_folder_of_recordings_never_takes_another_folders_table(tmp_path):
    """Two data sets side by side do not share masses because one of them lacks its table."""
    (tmp_path / "data.csv").write_text("index,mass\n3,7\n")
    (tmp_path / "monday" / "rosbag_3").mkdir(parents=True)
    with pytest.raises(BagError, match=r"no data\.csv"):
        read_masses(tmp_path / "monday")


@pytest.mark.parametrize(("text", "words"), [
    (None, "no data.csv"), ("index,weight\n0,1\n", "weight"), ("", "none"), ("index,mass\n0,heavy\n", "line 2.*heavy"),
    ("index,mass\n0,1\n0,2\n", "twice"), ("index,mass\n0,-1\n", "-1"), ("index,mass\n0,nan\n", "nan"),
    ("index,mass\n0\n", "line 2"),
])
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, words):
    """The message says what is wrong and where."""
    if text is not None:
        (tmp_path / "data.csv").write_text(text)
    with pytest.raises(BagError, match=words):
        read_masses(tmp_path)
