"""SHA-256 of a recording's files.

A large file is told by its size and blocks spread over it: reading a recording twice to hash all of it would take a
quarter of the whole extraction, and damage within it is the business of the recording's own checks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from read_sensors_utils.find_bags import BagSource

WHOLE_UP_TO_BYTES = 256_000_000
BLOCK_BYTES = 1_000_000
BLOCKS = 64


def file_checksums(source: BagSource) -> dict[str, dict[str, str]]:
    """Of all files of a recording: sha256 or sha256_of_blocks -> file name -> hexadecimal sum."""
    sums: dict[str, dict[str, str]] = {}
    for path in source.files:
        kind = "sha256" if path.stat().st_size <= WHOLE_UP_TO_BYTES else "sha256_of_blocks"
        sums.setdefault(kind, {})[path.name] = file_checksum(path)
    return sums


def file_stats(source: BagSource) -> dict[str, dict[str, int]]:
    """File name -> its size in bytes and the time of its last change in ns: what tells most changes without reading."""
    stats = {path.name: path.stat() for path in source.files}
    return {name: {"bytes": stat.st_size, "changed_ns": stat.st_mtime_ns} for name, stat in stats.items()}


def file_checksum(path: Path) -> str:
    """SHA-256 of the file; if it has over 256 MB, of its size (decimal) and 64 blocks of 1 MB from first to last."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_UP_TO_BYTES:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
            return digest.hexdigest()
        digest.update(str(size).encode())
        for n in range(BLOCKS):
            file.seek((size - BLOCK_BYTES) * n // (BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
