"""What the name of a recording tells: whether it is one, and its number."""

from __future__ import annotations

import re
from pathlib import Path

PACKED_SUFFIX = ".zstd"
ROS1_SUFFIXES = (".bag", ".bag.active")  # the second where the recorder was killed
STORAGE_SUFFIXES = (".db3", ".mcap", ".mcap.zstd", ".db3.zstd")
# rosbag2_2024_11_27-10_15_30 of ROS 2, 2024-11-27-10-15-30.bag of ROS 1
TIME_IN_NAME = re.compile(r"\d{4}[-_]\d\d[-_]\d\d[-_T]\d\d[-_]\d\d[-_]\d\d")
SUFFIXES = re.compile(r"(\.(bag|active|db3|mcap|zstd))+$")
OF_A_RECORDING = re.compile(r"\.(bag|db3|mcap)(\.\w+)*$")
SPLIT_AT_END = re.compile(r"(?<=\d)_\d+$")
NUMBER_AT_END = re.compile(r"(?:^|[_\-. ])(\d+)$")


def stem_of(path: Path) -> str:
    """The name without what tells the format: rosbag_07_0.db3.zstd -> rosbag_07_0."""
    return SUFFIXES.sub("", path.name)


def trailing_number(path: Path) -> int | None:
    """rosbag_07 -> 7, rosbag_07_0.db3 -> 7 (the last number counts the splits); None for names made of a time."""
    stem = stem_of(path)
    if TIME_IN_NAME.search(stem):
        return None
    if path.name.endswith(STORAGE_SUFFIXES):
        split = SPLIT_AT_END.search(stem)
        stem = stem[: split.start()] if split else stem
    match = NUMBER_AT_END.search(stem)
    return int(match.group(1)) if match else None
