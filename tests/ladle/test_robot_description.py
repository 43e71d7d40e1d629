"""The Panda's URDF comes from its package, or the remedy is named."""

from __future__ import annotations

from importlib import metadata

import pytest

from ladle.errors import SimulationError
from ladle.robot_description import mesh_root, panda_urdf


def test_the_urdf_has_the_tasks_frames_and_joints() -> None:
    """What the scoop task names is there, and meshes are left as package paths that can be resolved."""
    text = panda_urdf()
    for name in ("panda_link0", "panda_hand", *(f"panda_joint{i}" for i in range(1, 8))):
        assert f'name="{name}"' in text
    mesh = "example-robot-data/robots/panda_description/meshes/collision/link0.stl"
    assert f"package://{mesh}" in text
    assert (mesh_root() / mesh).is_file()


def test_a_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the simulation extra the message says what to install."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(SimulationError, match=r"pip install 'ladle\[sim\]'"):
        panda_urdf()
