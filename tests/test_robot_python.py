"""The robot's side on the Pythons of Humble and Jazzy, with numpy 1 and an older OpenCV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROBOT_SIDE = ("numpy==1.26.4", "opencv-python==4.10.0.84", "pydantic", "pyyaml", "scipy", "ruckig")
# Episodes and replay buffers need zarr 3; the robot reads neither. The scripts start the command line's side.
ELSEWHERE = ("ladle.replay_buffer", "ladle.image_codecs", "ladle.stored_chunks", "ladle.episode", "run_policy_")
PROGRAM = f"""
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
for package in ("ladle", "real_world_deployment"):
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not any(part in info.name for part in {ELSEWHERE!r}):
            importlib.import_module(info.name)
"""

# What a robot PC cannot have (Python 3.10: zarr 3) or need not have, and what only the simulator's nodes import.
NOT_ON_A_ROBOT = ("zarr", "numcodecs", "diffusers", "hydra", "omegaconf", "h5py", "pyarrow", "ray", "accelerate",
                  "mujoco", "rosbags", "gymnasium", "gym_pusht", "pygame", "typer", "matplotlib", "simulation",
                  "read_sensors_utils")
NODES_PROGRAM = f"""
import importlib, importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_ON_A_ROBOT!r}:
            raise ModuleNotFoundError(f"a robot has no {{name}}", name=name)

sys.meta_path.insert(0, Absent())
for module in ("ladle_nodes.policy_node", "ladle_nodes.ruckig_node", "ladle_nodes.policies",
               "ladle_bringup.description", "training.inference", "training.monitor",
               "real_world_deployment.policy_process"):
    importlib.import_module(module)
"""


def test_the_nodes_and_the_policy_need_nothing_that_a_robot_has_not() -> None:
    """Started as on a robot: no zarr, no diffusers, no Hydra, no simulator, not even indirectly."""
    pytest.importorskip("rclpy")
    result = subprocess.run([sys.executable, "-c", NODES_PROGRAM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


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
