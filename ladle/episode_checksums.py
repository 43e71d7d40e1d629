"""The SHA-256 of every file that an extraction wrote, in actions/N/checksums.json; people's labels are not covered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from ladle.atomic import flush
from ladle.episode_files import CHECKSUMS_FILE, UNCOVERED_FILES, actions_of
from ladle.errors import EpisodeError

BLOCK_BYTES = 1 << 20
THREADS = 4  # they wait for the disk as much as for a core


def write_checksums(staging: Path, number: int, elsewhere: Mapping[str, str] | None = None) -> None:
    """Sum up the files of the one episode that lies below `staging`, and put them on the disk.

    Args:
        elsewhere: path -> SHA-256 of the episode's files that lie in their place already.
    """
    files = [path for path in sorted(staging.rglob("*")) if path.is_file() and path.name not in UNCOVERED_FILES]
    with ThreadPoolExecutor(THREADS) as pool:
        names = (path.relative_to(staging).as_posix() for path in files)
        sums = dict(zip(names, pool.map(_flushed_sum, files), strict=True))
    text = json.dumps({"sha256": {**(elsewhere or {}), **sums}}, indent=1) + "\n"
    (staging / actions_of(number) / CHECKSUMS_FILE).write_text(text)


def read_checksums(root: Path, number: int) -> dict[str, str] | None:
    """Path below `root` -> SHA-256 in hexadecimal; None for an episode that was made before checksums were kept.

    Raises:
        EpisodeError: the file of checksums is itself damaged.
    """
    path = root / actions_of(number) / CHECKSUMS_FILE
    if not path.is_file():
        return None
    try:
        content = cast(dict[str, Any], json.loads(path.read_bytes()))
        return {str(name): str(value) for name, value in content["sha256"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EpisodeError(f"{path} is damaged ({error}); extract episode {number} again with --override") from error


def damaged_files(root: Path, number: int) -> Iterator[tuple[str, str]]:
    """(path below `root`, "is missing" or "has changed") of each file that is not as it was written.

    Raises:
        EpisodeError: the file of checksums is itself damaged.
    """
    for name, expected in (read_checksums(root, number) or {}).items():
        path = root / name
        if not path.is_file():
            yield name, "is missing"
        elif file_sha256(path) != expected:
            yield name, "has changed since it was written"


def _flushed_sum(path: Path) -> str:
    """One file is on its way to the disk while the next is summed up."""
    total = file_sha256(path)
    flush(path)
    return total


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; memory holds one block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
