"""Which reader a file gets, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladle.errors import BagError
from read_sensors_utils.storage.mcap import McapStorage
from read_sensors_utils.storage.mcap_records import MAGIC as MCAP_MAGIC
from read_sensors_utils.storage.opening import open_storage


@pytest.mark.parametrize(("data", "match"), [
    (b"", "is empty"), (b"\x89MC", "is not a recording"), (b"hello", "is not a recording"),
    (MCAP_MAGIC.replace(b"0", b"9"), "not an mcap file of version 0")])
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    """With the cause and the remedy."""
    path = tmp_path / "x.mcap"
    path.write_bytes(data)
    with pytest.raises(BagError, match=match):
        open_storage(path)
    with pytest.raises(BagError, match="cannot open"):
        open_storage(tmp_path / "absent.mcap")


def test_the_beginning_of_a_file_decides_not_its_name(tmp_path: Path) -> None:
    """An mcap called .db3 is read as an mcap."""
    path = tmp_path / "x.db3"
    path.write_bytes(MCAP_MAGIC)
    assert isinstance(open_storage(path), McapStorage)
