"""The URDF of the Franka Panda, taken from the PyPI package `example-robot-data`."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from ladle.errors import SimulationError

_PACKAGE = "example-robot-data"
_SHARE = "cmeel.prefix/share"
_PANDA = f"{_SHARE}/example-robot-data/robots/panda_description/urdf/panda.urdf"


def panda_urdf() -> str:
    """The Panda with its hand, as URDF text; `package://` paths of the meshes are left as they are.

    Frames: panda_link0 ... panda_link8, panda_hand; moving joints panda_joint1 ... panda_joint7 and two fingers.

    Raises:
        SimulationError: the package is not installed.
    """
    return _located(_PANDA).read_text()


def mesh_root() -> Path:
    """The folder that `package://` stands for in `panda_urdf()`.

    Raises:
        SimulationError: the package is not installed.
    """
    return _located(_SHARE)


def _located(relative: str) -> Path:
    try:
        path = Path(str(metadata.distribution(_PACKAGE).locate_file(relative)))
    except metadata.PackageNotFoundError as error:
        raise SimulationError(
            f"the Panda's description needs the package {_PACKAGE}, which is not installed: "
            "pip install 'ladle[sim]'"
        ) from error
    if not path.exists():
        raise SimulationError(f"{_PACKAGE} lacks {relative}: install version 4 or later")
    return path
