"""Which format a path is in, or shall be written in."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

import h5py

from ladle.errors import ReplayBufferError
from training.interop.lerobot_layout import INFO


class Kind(str, Enum):
    """Formats that episodes are kept in."""

    EPISODES = "episodes"
    ZARR = "zarr"
    ZARR_ZIP = "zarr.zip"
    ROBOMIMIC = "robomimic"
    LEROBOT = "lerobot"


HDF5_SUFFIXES = (".hdf5", ".h5")
ZARR_FILES = (".zgroup", ".zattrs", "zarr.json")
KNOWN = ("a folder of episodes (actions/), a replay buffer (.zarr, .zarr.zip), a robomimic file (.hdf5, .h5) or a "
         "LeRobot v3.0 folder (meta/info.json)")


def kind_of(path: Path) -> Kind:
    """The format of what lies at a path. Raises ReplayBufferError when nothing does, or none that is known."""
    if not path.exists():
        raise ReplayBufferError(f"nothing at {path}; expected {KNOWN}")
    if path.is_dir():
        if (path / INFO).is_file():
            return Kind.LEROBOT
        if any((path / name).is_file() for name in ZARR_FILES) or path.suffix == ".zarr":
            return Kind.ZARR
        if (path / "actions").is_dir():
            return Kind.EPISODES
    elif not path.is_file():
        raise ReplayBufferError(f"{path} is neither a file nor a folder; expected {KNOWN}")
    elif path.suffix == ".zip":
        return Kind.ZARR_ZIP
    elif path.suffix in HDF5_SUFFIXES:
        return Kind.ROBOMIMIC
    raise ReplayBufferError(f"{path} is none of the known kinds; expected {KNOWN}")


def kind_to_write(path: Path) -> Kind:
    """The format that a target's name asks for. Raises ReplayBufferError when it asks for none."""
    if path.name in ("", ".."):
        raise ReplayBufferError(f"{path} names no new data set; choose another target, as in {path / 'set.zarr'}")
    if path.name.endswith(".zarr.zip"):
        return Kind.ZARR_ZIP
    if path.suffix == ".zarr":
        return Kind.ZARR
    if path.suffix in HDF5_SUFFIXES:
        return Kind.ROBOMIMIC
    if path.suffix in ("", ".lerobot"):
        return Kind.LEROBOT
    raise ReplayBufferError(f"{path}: the name does not say which format to write; end it in .zarr, .zarr.zip or "
                            ".hdf5, or give a folder name without a suffix for LeRobot v3.0")


def require_replaceable(path: Path, kind: Kind) -> None:
    """Refuse to replace what is no data set of this kind, judged by what it holds and not by its name.

    Raises:
        ReplayBufferError: people's episodes, recordings or anything else lies there.
    """
    is_such = {
        Kind.ZARR: lambda: any((path / name).is_file() for name in ZARR_FILES),
        Kind.LEROBOT: lambda: (path / INFO).is_file(),
        Kind.ZARR_ZIP: lambda: path.is_file() and zipfile.is_zipfile(path),
        Kind.ROBOMIMIC: lambda: path.is_file() and bool(h5py.is_hdf5(path)),
    }
    if path.is_symlink() or (path / "actions").is_dir() or not is_such[kind]():
        what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a file"
        raise ReplayBufferError(f"{path} is {what} and no data set of kind {kind.value}, so --override does not "
                                "replace it; remove it first, or choose another name")
