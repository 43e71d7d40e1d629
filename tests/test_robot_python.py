"""The robot's side on the Pythons of Humble and Jazzy, with numpy 1 and an older OpenCV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROBOT_SIDE = ("numpy==1.26.4", "opencv-python==4.10.0.84", "pydantic", "pyyaml", "scipy", "ruckig")
# Episodes and replay buffers need zarr 3; the robot reads neither. The scripts start the command line's side.
ELSEWHERE = ("ladle.replay_buffer", "ladle.jpeg2k", "ladle.episode", "run_policy_")
PROGRAM = f"""
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
for package in ("ladle", "real_world_deployment"):
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        if not any(part in info.name for part in {ELSEWHERE!r}):
            importlib.import_module(info.name)
"""


def interpreter(version: str) -> Path | None:
    """A Python of the version that pyenv has built."""
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    return found[-1] if found else None


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.10", "3.12"])
def test_the_robots_side_imports_on_an_older_python(version: str, root: Path, tmp_path: Path) -> None:
    """No module of the vocabulary or of the deployment needs Python 3.11, zarr, torch or numpy 2."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} under ~/.pyenv/versions")
    # Our pip installs into it: its own, and bytecode of modules that nobody imports, would take longer than the test.
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    inside = tmp_path / "venv/bin/python"
    installed = subprocess.run([sys.executable, "-m", "pip", "--python", inside, "install", "--quiet", "--no-compile",
                                *ROBOT_SIDE], check=False)
    if installed.returncode != 0:
        pytest.skip(f"the packages of the robot's side cannot be installed for Python {version} here")
    result = subprocess.run([inside, "-c", PROGRAM, str(root)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
