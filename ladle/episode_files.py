"""What the files of an episode are called and where they lie, relative to the folder of episodes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ladle.atomic import PARTIAL as PARTIAL
from ladle.owner import OWNER_FILE

EEF_FILE = "current_eef_pos_interpolated.npy"
TARGET_FILE = "target_end_effector_pos_interpolated.npy"
MASS_FILE = "mass.txt"
LABELS_FILE = "annotations_video.npy"
PARTIAL_LABELS_FILE = "annotations_video_partial.npy"
TICK_LABELS_FILE = "annotations_video_interpolated.npy"
DESCRIPTION_FILE = "episode.json"
CHECKSUMS_FILE = "checksums.json"

PEOPLES_FILES = (LABELS_FILE, PARTIAL_LABELS_FILE)
NUMBER = re.compile("0|[1-9][0-9]*")  # 07 is not 7's name, and would be looked for in vain
UNCOVERED_FILES = (*PEOPLES_FILES, TICK_LABELS_FILE, CHECKSUMS_FILE, OWNER_FILE)

READY = ".ready-"  # whole and on the disk, on its way to its place
REPLACED = ".replaced-"  # the older episode's actions, until the newer one is in place


def parts_of(number: int) -> list[Path]:
    """Every part of an episode besides its actions."""
    name = str(number)
    return [Path("videos") / name, Path("numpy") / name, Path("frames") / f"{name}.zarr",
            Path("stamps") / f"{name}.npz"]


def actions_of(number: int) -> Path:
    """The part that comes last: with it, the episode is there."""
    return Path("actions") / str(number)


def numbered(folder: Path, prefix: str = "", suffix: str = "") -> set[int]:
    """The numbers of the entries prefix<N>suffix of a folder, which need not exist."""
    if not folder.is_dir():
        return set()
    names = [p.name for p in folder.iterdir() if p.name.startswith(prefix) and p.name.endswith(suffix)]
    middles = [name[len(prefix) : len(name) - len(suffix)] for name in names]
    return {int(middle) for middle in middles if NUMBER.fullmatch(middle)}


def remove(path: Path) -> None:
    """Remove a file or a folder, which need not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
