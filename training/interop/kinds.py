"""Which format a path is in, or shall be written in."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

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
KNOWN = ("a folder of episodes (actions/), a replay buffer (.zarr, .zarr.zip), a robomimic file (.hdf5, .h5) or a "
         "LeRobot v3.0 folder (meta/info.json)")


def kind_of(path: Path) -> Kind:
    """The format of what lies at a path. Raises ReplayBufferError when nothing does, or none that is known."""
    if not path.exists():
        raise ReplayBufferError(f"nothing at {path}; expected {KNOWN}")
    if path.is_dir():
        if (path / INFO).is_file():
            return Kind.LEROBOT
        if any((path / name).is_file() for name in (".zgroup", ".zattrs", "zarr.json")) or path.suffix == ".zarr":
            return Kind.ZARR
        if (path / "actions").is_dir():
            return Kind.EPISODES
    elif path.suffix == ".zip":
        return Kind.ZARR_ZIP
    elif path.suffix in HDF5_SUFFIXES:
        return Kind.ROBOMIMIC
    raise ReplayBufferError(f"{path} is none of the known kinds; expected {KNOWN}")


def kind_to_write(path: Path) -> Kind:
    """The format that a target's name asks for. Raises ReplayBufferError when it asks for none."""
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
