"""Bytes of a recording by offset. Read, not mapped: a file that shrinks must not kill the process."""

from __future__ import annotations

import os
from pathlib import Path

from ladle.errors import BagError

WINDOW_BYTES = 16_384  # holds the index records behind one chunk and the head of the next


class FileBytes:
    """Random access to one file whose size is taken once, at opening.

    Attributes:
        size: bytes of the file when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._window = b""
        self._window_start = 0
        try:
            self._file = path.open("rb", buffering=0)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise BagError(f"cannot open {path}: {error.strerror}; check the path and the rights to read it") from error

    def read(self, offset: int, size: int) -> bytes:
        """Exactly size bytes.

        Raises:
            BagError: the file has become shorter, or the disk fails.
        """
        parts: list[bytes] = []
        missing = size
        while missing:
            try:
                part = os.pread(self._file.fileno(), missing, offset + size - missing)
            except OSError as error:
                raise BagError(f"cannot read {self.path} at byte {offset}: {error.strerror}; check the disk, "
                               "or copy the recording again") from error
            if not part:
                raise BagError(f"{self.path} became shorter while it was read: it ends before byte {offset + size}; "
                               "wait until it is fully copied or recorded, then try again")
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def peek(self, offset: int, size: int) -> bytes:
        """Up to size bytes, less only at the end of the file; meant for small pieces in rising order."""
        size = max(0, min(size, self.size - offset))
        at = offset - self._window_start
        if at < 0 or at + size > len(self._window):
            self._window = self.read(offset, max(size, min(WINDOW_BYTES, self.size - offset)))
            self._window_start, at = offset, 0
        return self._window[at : at + size]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
