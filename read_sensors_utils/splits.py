"""Whether several storage files are the splits of one recording, where no metadata.yaml says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ladle.errors import BagError
from read_sensors_utils.bag_names import TIME_IN_NAME, stem_of
from read_sensors_utils.storage.compressed_file import unpacked
from read_sensors_utils.storage.opening import open_storage
from read_sensors_utils.storage.records import Losses

log = logging.getLogger("ladle.bags")

JOIN_S = 1.0  # a recorder goes on in the next file at once; between two demonstrations somebody puts things back


def are_splits(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the files <name>_0, <name>_1, ... in a folder are one recording, and not one each.

    They are where rosbag2 gave the name, which is then that of the folder or made of the time, or else where each
    begins when the one before ends. Splits that are not there are named in the log.
    """
    parts = {file: stem_of(file).rpartition("_") for file in files}
    names = {name for name, _, _ in parts.values()}
    if len(names) != 1 or not all(number.isdecimal() for _, _, number in parts.values()):
        return False
    name = names.pop()
    ordered = sorted(files, key=lambda file: int(parts[file][2]))
    if name != folder.absolute().name and TIME_IN_NAME.search(name) is None and not _follow(ordered):
        return False
    there = [int(parts[file][2]) for file in ordered]
    for missing in sorted(set(range(there[-1])) - set(there)):
        log.warning("%s: %s_%d is not there; copy it again, if it was recorded", folder, name, missing)
    return True


def _follow(files: Sequence[Path]) -> bool:
    """Whether each file's first message was received when the last one of the file before was."""
    try:
        spans = [span for file in files if any(span := _span_ns(file))]
    except BagError:
        return False
    return all(abs(begin - end) <= JOIN_S * 1e9 for (_, end), (begin, _) in pairwise(spans))


def _span_ns(file: Path) -> tuple[int, int]:
    """Receive stamps of the first and the last message; zeros where there is none."""
    with unpacked(file, Losses()) as path:
        storage = open_storage(path)
        try:
            return storage.start_ns, storage.end_ns
        finally:
            storage.close()
