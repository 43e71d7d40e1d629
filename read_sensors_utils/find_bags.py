"""Which recordings lie in a folder, and what number each one bears.

The number is the recording's own (`rosbag_07` -> 7), never its place in a listing: it pairs the recording with its
row in data.csv and with its episode.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from ladle.errors import BagError
from read_sensors_utils.bag_names import (
    OF_A_RECORDING,
    PACKED_SUFFIX,
    ROS1_SUFFIXES,
    STORAGE_SUFFIXES,
    stem_of,
    trailing_number,
)
from read_sensors_utils.splits import are_splits

log = logging.getLogger("ladle.bags")

METADATA = "metadata.yaml"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the second where PyYAML was built without libyaml
NAMED = 5
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

    What looks like a recording and is not read is named in the log.

    Raises:
        BagError: nothing there, a recording without a number, two with the same number, or several where one was
            expected.
    """
    if not folder.exists():
        raise BagError(f"no folder {folder}; --path-load names the folder that holds the recordings")
    if not folder.is_dir():
        if not folder.name.endswith((*ROS1_SUFFIXES, *STORAGE_SUFFIXES)):
            raise BagError(f"{folder} is not a recording; expected a .bag, .db3 or .mcap file, or a folder of "
                           "recordings")
        return [BagSource(_number_of(folder, folder, (folder,), default=0), folder, (folder,))]
    sources = _sources_in(folder)
    _name_what_is_left(folder, sources)
    if not sources:
        raise BagError(f"no recordings in {folder}; expected folders such as {LAYOUTS}")
    numbered: dict[int, BagSource] = {}
    for source in sources:
        if source.number in numbered:
            raise BagError(f"{source.path} and {numbered[source.number].path} both have the number {source.number}; "
                           "rename one of them, or put the parts of one recording into a folder of their own")
        numbered[source.number] = source
    return [numbered[number] for number in sorted(numbered)]


def _sources_in(folder: Path) -> list[BagSource]:
    here = _recordings_in(folder)
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    below = [source for entry in entries for source in _source_of(entry)]
    if len(here) == 1 and not below and (here[0].path == folder or trailing_number(folder) is not None):
        return [here[0].numbered(folder, default=0)]
    if below or len(here) > 1:
        here = [found for found in here if found.files]  # a metadata.yaml of the whole is no recording
    if below:
        loose = [file.name for found in here for file in found.files if file.name.endswith(STORAGE_SUFFIXES)]
        if loose:
            raise BagError(f"{folder} holds {loose[0]} beside folders with recordings ({below[0].path.name}, ...); "
                           f"move it into a folder of its own, or away: {LAYOUTS}")
    return [found.numbered(found.path) for found in here] + below


def _source_of(entry: Path) -> list[BagSource]:
    """The one recording of a numbered folder, or of the one folder in it; none where there is none."""
    found = _recordings_in(entry)
    for nested in sorted(entry.iterdir()):
        found += _recordings_in(nested) if nested.is_dir() else []
    found = [one for one in found if one.files or one.path != entry] if len(found) > 1 else found
    if len(found) > 1:
        raise BagError(f"{entry} holds {len(found)} recordings ({', '.join(one.path.name for one in found[:NAMED])}"
                       f"{', ...' if len(found) > NAMED else ''}); expected one recording a folder: {LAYOUTS}")
    return [one.numbered(entry) for one in found]


@dataclass(frozen=True)
class _Found:
    """A recording that has no number yet."""

    path: Path
    files: tuple[Path, ...]

    def numbered(self, entry: Path, default: int | None = None) -> BagSource:
        return BagSource(_number_of(self.path, entry, self.files, default), self.path, self.files)


def _recordings_in(folder: Path) -> list[_Found]:
    """The recordings whose files lie in this very folder: all storage files, or one each, and each .bag file."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    storage = _without_copies([file for file in files if file.name.endswith(STORAGE_SUFFIXES)])
    single = [file for file in files if file.name.endswith(ROS1_SUFFIXES)]
    if (folder / METADATA).is_file() or len(storage) == 1 or (storage and are_splits(folder, storage)):
        return [_Found(folder, storage), *(_Found(file, (file,)) for file in single)]
    return [_Found(file, (file,)) for file in (*storage, *single)]


def _name_what_is_left(folder: Path, sources: list[BagSource]) -> None:
    """Say which entries look like recordings and are not read."""
    read = {file for source in sources for file in source.files}
    for entry in sorted(folder.iterdir()):
        is_read = any(source.path.is_relative_to(entry) for source in sources)
        if entry.is_dir() and trailing_number(entry) is not None and not is_read:
            log.warning("%s is left out: no recording lies in it or in a folder of it", entry)
    for file in sorted(folder.rglob("*")):
        if OF_A_RECORDING.search(file.name) and file.is_file() and not {file, file.with_suffix("")} & read:
            known = file.name.endswith((*ROS1_SUFFIXES, *STORAGE_SUFFIXES))
            why = f"it lies too deep, expected {LAYOUTS}" if known else "unpack it, expected .bag, .db3, .mcap or .zstd"
            log.warning("%s is left out: %s", file, why)


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


def _number_of(path: Path, entry: Path, files: tuple[Path, ...], default: int | None = None) -> int:
    """The recording's number, from its own name and that of the numbered folder around it, which must agree.

    Where neither has one, a single file in the folder tells it, unless its number counts the folder's splits.
    """
    found = {number for number in (trailing_number(path), trailing_number(entry)) if number is not None}
    if len(found) > 1:
        raise BagError(f"{path} and the folder {entry.name} bear different numbers; rename one of them")
    if not found and len(files) == 1 and stem_of(files[0]).rpartition("_")[0] != path.name:
        found = {number for number in (trailing_number(files[0]),) if number is not None}
    if found:
        return found.pop()
    if default is not None:
        return default
    raise BagError(f"recording {path} has no number of its own; rename it to rosbag_<N>, "
                   "where N is its index in data.csv")
