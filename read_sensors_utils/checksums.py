"""SHA-256 of a recording's files, computed beside the reading of its messages.

A large file is told by its size and blocks spread over it: reading a recording twice to hash all of it would take a
quarter of the whole extraction, and damage within it is the business of the recording's own checks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.frame_worker import FrameWorkers

WHOLE_UP_TO_BYTES = 256_000_000
BLOCK_BYTES = 1_000_000
BLOCKS = 64


class FileChecksums:
    """Checksums of all files of a recording, each a job of the workers."""

    def __init__(self, source: BagSource, workers: FrameWorkers) -> None:
        self._sums: dict[str, dict[str, str]] = {}
        lane = workers.lane()
        for path in source.files:
            lane.put(0, self._add, path)

    def by_kind(self) -> dict[str, dict[str, str]]:
        """sha256 or sha256_of_blocks -> file name -> hexadecimal sum."""
        return self._sums

    def _add(self, path: Path) -> None:
        kind = "sha256" if path.stat().st_size <= WHOLE_UP_TO_BYTES else "sha256_of_blocks"
        self._sums.setdefault(kind, {})[path.name] = file_checksum(path)


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
