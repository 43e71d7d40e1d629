"""A file for HDF5 that stays calm when the disk refuses.

The HDF5 library crashes the process at its end when it cannot flush a file on a full disk. So the first refusal is
kept, what follows it is dropped, the file is closed in peace, and then the refusal is raised.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


@contextmanager
def new_hdf5(path: Path) -> Generator[tuple[h5py.File, Callable[[], None]], None, None]:
    """Give a new HDF5 file, and a check that raises as soon as the disk has refused something.

    Raises:
        OSError: the disk refused; at the latest at the end of the block.
    """
    with path.open("w+b", buffering=0) as raw:
        sink = _Sink(raw)
        try:
            with h5py.File(sink, "w") as file:
                yield file, sink.check
        except (OSError, RuntimeError, KeyError):
            sink.check()
            raise
        sink.check()


class _Sink(io.RawIOBase):
    """Passes everything on to a file until that fails."""

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__()
        self._raw = raw
        self._refusal: OSError | None = None

    def check(self) -> None:
        """Raise the refusal, if there was one."""
        if self._refusal is not None:
            raise self._refusal

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any, /) -> int:
        """Zeros where nothing is: HDF5 may ask for what was dropped."""
        view = memoryview(buffer).cast("B")
        found = self._raw.readinto(view) or 0
        view[found:] = bytes(len(view) - found)
        return len(view)

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self._refusal is None:
            try:
                rest = view
                while len(rest):
                    rest = rest[self._raw.write(rest):]
            except OSError as error:
                self._refusal = error
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        if self._refusal is None:
            try:
                return self._raw.truncate(size)
            except OSError as error:
                self._refusal = error
        return self.tell() if size is None else size
