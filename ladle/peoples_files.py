"""Files that people put beside those of an episode, as notes: they go over to the episode that takes its place."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from ladle.atomic import flush_tree
from ladle.episode_checksums import read_checksums
from ladle.episode_files import (
    DESCRIPTION_FILE,
    EEF_FILE,
    MASS_FILE,
    PARTIAL,
    TARGET_FILE,
    UNCOVERED_FILES,
    actions_of,
    parts_of,
)
from ladle.errors import EpisodeError

WRITTEN_IN_ACTIONS = frozenset({EEF_FILE, TARGET_FILE, MASS_FILE, DESCRIPTION_FILE})
WRITTEN_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".npy"})  # of the videos and first images


def files_of_people(root: Path, number: int) -> list[Path]:
    """Paths below `root`, labels apart: what the checksums do not list, or, without them, what Ladle never writes."""
    actions = actions_of(number)
    try:
        sums = read_checksums(root, number)
    except EpisodeError:
        sums = None
    videos, first_images, *_ = parts_of(number)
    files = [path.relative_to(root) for part in (actions, videos, first_images)
             for path in sorted((root / part).rglob("*")) if path.is_file()]
    return [file for file in files if not _is_of_ladle(file, actions, sums)]


def keep_files_of_people(root: Path, staged: Path, number: int, parts: Collection[Path]) -> None:
    """Copy them from the episode that is there into the one that is staged, of the parts that are exchanged.

    A name that the staged episode itself has is its own.
    """
    written = read_checksums(staged, number) or {}
    kept = [file for file in files_of_people(root, number)
            if any(file.is_relative_to(part) for part in parts) and file.as_posix() not in written]
    for file in kept:
        (staged / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / file, staged / file)
    if kept:
        flush_tree(staged)


def _is_of_ladle(file: Path, actions: Path, sums: Collection[str] | None) -> bool:
    if file.name in UNCOVERED_FILES or file.name.startswith(PARTIAL):
        return True
    if sums is not None:
        return file.as_posix() in sums
    return file.name in WRITTEN_IN_ACTIONS if file.is_relative_to(actions) else file.suffix in WRITTEN_SUFFIXES
