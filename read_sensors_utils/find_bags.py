"""Which recordings lie in a folder, and what number each one bears.

The number is the recording's own (`rosbag_07` -> 7), never its place in a listing: it pairs the recording with its
row in data.csv and with its episode.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from ladle.errors import BagError

log = logging.getLogger("ladle.bags")

METADATA = "metadata.yaml"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the second where PyYAML was built without libyaml
PACKED_SUFFIX = ".zstd"
ROS1_SUFFIXES = (".bag", ".bag.active")  # the second where the recorder was killed
STORAGE_SUFFIXES = (".db3", ".mcap", ".mcap.zstd", ".db3.zstd")
TIME_IN_NAME = re.compile(r"\d{4}_\d{2}_\d{2}-\d{2}_\d{2}_\d{2}")
SUFFIXES = re.compile(r"(\.(bag|active|db3|mcap|zstd))+$")
SPLIT_AT_END = re.compile(r"(?<=\d)_\d+$")
NUMBER_AT_END = re.compile(r"(?:^|[_\-. ])(\d+)$")
LAYOUTS = "0/rosbag_0.bag, rosbag_00/rosbag_00_0.db3 or rosbag_0/*.mcap"


@dataclass(frozen=True)
class BagSource:
    """One recording on disk.

    Attributes:
        number: the recording's own number.
        path: the recording: a ROS 1 file, a storage file, or the folder that holds the storage files.
        files: the storage files, sorted by name.
    """

    number: int
    path: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """Name for messages: the folder or file as the user sees it."""
        return self.path.name


def find_bags(folder: Path) -> list[BagSource]:
    """Recordings in a folder in the order of their numbers, or the one recording that the path itself is.

    Raises:
        BagError: nothing there, a recording without a number, or two with the same number.
    """
    if not folder.exists():
        raise BagError(f"no folder {folder}; --path-load names the folder that holds the recordings")
    itself = _bag_at(folder)
    if itself is not None:
        path, files = itself
        return [BagSource(_number_of(path, folder, default=0), path, files)]
    if not folder.is_dir():
        raise BagError(f"{folder} is not a recording; expected a .bag, .db3 or .mcap file, or a folder of recordings")
    sources: dict[int, BagSource] = {}
    for entry in sorted(folder.iterdir()):
        for source in _sources_of(entry):
            if source.number in sources:
                raise BagError(f"{source.path} and {sources[source.number].path} both have the number {source.number}; "
                               "rename one of them")
            sources[source.number] = source
    if not sources:
        raise BagError(f"no recordings in {folder}; expected folders such as {LAYOUTS}")
    return [sources[number] for number in sorted(sources)]


def _sources_of(entry: Path) -> list[BagSource]:
    if entry.is_file():
        return [BagSource(_number_of(entry, entry), entry, (entry,))] if entry.name.endswith(ROS1_SUFFIXES) else []
    found = _bag_at(entry)
    if found is None:
        nested = [bag for bag in map(_bag_at, sorted(entry.iterdir())) if bag is not None] if entry.is_dir() else []
        if not nested:
            return []
        if len(nested) > 1:
            raise BagError(f"{entry} holds {len(nested)} recordings; expected one recording a folder: {LAYOUTS}")
        found = nested[0]
    path, files = found
    return [BagSource(_number_of(path, entry), path, files)]


def _bag_at(path: Path) -> tuple[Path, tuple[Path, ...]] | None:
    """The recording that this file or folder is, with its storage files; None if it is not one."""
    if path.is_file():
        return (path, (path,)) if path.name.endswith((*ROS1_SUFFIXES, *STORAGE_SUFFIXES)) else None
    if not path.is_dir():
        return None
    files = sorted(file for file in path.iterdir() if file.is_file())
    storage = _without_copies([file for file in files if file.name.endswith(STORAGE_SUFFIXES)])
    if storage or (path / METADATA).is_file():
        return path, storage
    ros1 = [file for file in files if file.name.endswith(ROS1_SUFFIXES)]
    # README's layout is 0/rosbag_0.bag; a folder that is not numbered may hold a set of .bag files instead.
    return (ros1[0], (ros1[0],)) if len(ros1) == 1 and _trailing_number(path) is not None else None


def _without_copies(files: list[Path]) -> tuple[Path, ...]:
    """Without files that lie there unpacked, too, as `zstd FILE` and `unzstd FILE` leave them."""
    copies = [file for file in files if file.suffix == PACKED_SUFFIX and file.with_suffix("") in files]
    for file in copies:
        log.warning("%s is left out: %s beside it holds the same messages", file, file.stem)
    return tuple(file for file in files if file not in copies)


def missing_files(source: BagSource) -> list[str]:
    """Names of files that metadata.yaml lists and that are not there, packed or not; none where they were renamed."""
    try:
        content = yaml.load((source.path / METADATA).read_bytes(), LOADER)
        listed = [Path(str(name)).name for name in content["rosbag2_bagfile_information"]["relative_file_paths"]]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []
    there = {file.name.removesuffix(PACKED_SUFFIX) for file in source.files}
    missing = [name for name in listed if name.removesuffix(PACKED_SUFFIX) not in there]
    return missing if len(there) < len(listed) else []


def _number_of(path: Path, entry: Path, default: int | None = None) -> int:
    """The recording's number, from its own name and that of the numbered folder around it, which must agree."""
    found = {number for number in (_trailing_number(path), _trailing_number(entry)) if number is not None}
    if len(found) > 1:
        raise BagError(f"{path} and the folder {entry.name} bear different numbers; rename one of them")
    if found:
        return found.pop()
    if default is not None:
        return default
    raise BagError(f"recording {path} has no number of its own; rename it to rosbag_<N>, "
                   "where N is its index in data.csv")


def _trailing_number(path: Path) -> int | None:
    """rosbag_07 -> 7, rosbag_07_0.db3 -> 7 (the last number counts the splits); None for names made of a time."""
    stem = SUFFIXES.sub("", path.name)
    if TIME_IN_NAME.search(stem):
        return None
    if path.name.endswith(STORAGE_SUFFIXES):
        split = SPLIT_AT_END.search(stem)
        stem = stem[: split.start()] if split else stem
    match = NUMBER_AT_END.search(stem)
    return int(match.group(1)) if match else None
