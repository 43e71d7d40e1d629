"""Chunks without a file are found in every layout that zarr has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import ZipStore

from ladle.stored_chunks import absent_chunks


@pytest.mark.parametrize("layout", [
    {"zarr_format": 2}, {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}, {"zarr_format": 3},
    {"zarr_format": 3, "shards": (4, 6)},
])
@pytest.mark.parametrize("zipped", [False, True])
def test_absent_chunks_are_counted_and_the_first_is_placed(tmp_path: Path, layout: dict[str, Any],
                                                           zipped: bool) -> None:
    """Flat, nested, sharded; in a folder and in a zip."""
    values = np.ones((10, 6), np.uint8)
    path = tmp_path / ("a.zip" if zipped else "a.zarr")
    options = {**layout, "chunks": (2, 3) if "shards" in layout else (4, 6)}
    version = options.pop("zarr_format")
    store = ZipStore(path, mode="w") if zipped else path
    root = zarr.open_group(store, mode="w", zarr_format=version)
    root.create_array("data/whole", data=values, **options)
    values[4:8] = 0
    hole = root.create_array("data/hole", data=values, **options)
    found = absent_chunks(path, {"data/whole": root["data/whole"], "data/hole": hole}) if not zipped else []
    if zipped:
        root.store.close()
        again = zarr.open_group(ZipStore(path, mode="r"), mode="r")
        found = absent_chunks(path, {name: again[name] for name in ("data/whole", "data/hole")})
    absent, = found
    assert str(absent) == "data/hole lacks 1 of its 3 chunks, the first one with the rows 4 to 7"
