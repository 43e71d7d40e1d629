"""Data flows one way: which folder may import which, lazy imports inside functions included."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = {"read_sensors_utils", "annotator", "training", "simulation", "real_world_deployment"}
NODES = {"ladle_nodes", "ladle_bringup"}
MAY_IMPORT: dict[str, set[str]] = {
    "ladle": set(),
    **{stage: {"ladle"} for stage in sorted(STAGES)},
    "analysis": {"ladle", "training", "real_world_deployment"},
    **{node: {"ladle", "analysis", *STAGES, *NODES} for node in sorted(NODES)},
    "app": {"ladle", "analysis", *STAGES, *NODES},
}
ROS = {"rclpy", "launch", "launch_ros"}
TORCH = {"torch", "diffusers", "safetensors"}
NO_TORCH = {"ladle", "real_world_deployment", "simulation", "read_sensors_utils", "annotator", "ladle_bringup"}
ROS_FREE = {"ladle", "analysis", *STAGES}
# Scripts are leaves: what the users type may start everything, and nothing imports it.
LEAVES = {
    "real_world_deployment/run_policy_end_effector_jtc.py",
    "real_world_deployment/run_policy_end_effector_ruckig.py",
    "eval.py",
    "multirun_metrics.py",
    "ray_train_multirun.py",
    "train.py",
    "train_classifier.py",
}
FOLDERS = {
    **{name: ROOT / name for name in MAY_IMPORT if name not in NODES},
    **{name: ROOT / "ros2_ws/src" / name / name for name in sorted(NODES)},
}


def imported(source: str) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                found.add(argument.value.partition(".")[0])
    return found


def forbidden(package: str, source: str) -> set[str]:
    """What a module of the package imports although it must not."""
    own = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    own |= ROS if package in ROS_FREE else set()
    own |= TORCH if package in NO_TORCH else set()
    return imported(source) & own


def modules() -> list[tuple[str, Path]]:
    """Every module of ours with the package it belongs to."""
    return [(name, path) for name, folder in FOLDERS.items() for path in sorted(folder.rglob("*.py"))]


@pytest.mark.parametrize(
    ("package", "path"), [pytest.param(name, path, id=str(path.relative_to(ROOT))) for name, path in modules()]
)
def test_dependencies_point_one_way(package: str, path: Path) -> None:
    """No module imports what lies downstream of it, neither at the top nor inside a function."""
    if str(path.relative_to(ROOT)) not in LEAVES:
        assert not forbidden(package, path.read_text())


def test_a_lazy_import_is_caught() -> None:
    """The rule sees through functions and import_module."""
    assert forbidden("real_world_deployment", "def f():\n    import torch\n") == {"torch"}
    assert forbidden("training", "def f():\n    from simulation.world import ScoopWorld\n") == {"simulation"}
    assert forbidden("ladle", "import importlib\nimportlib.import_module('rclpy.node')\n") == {"rclpy"}


def test_nothing_imports_a_script() -> None:
    """Scripts are leaves."""
    names = {Path(leaf).stem for leaf in LEAVES if "/" in leaf}
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.rpartition(".")[2] not in names, path


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for _, p in modules()])
def test_no_module_hides_the_standard_library(path: Path) -> None:
    """`python folder/script.py` puts the folder first on sys.path; a module named as one of Python's would win."""
    assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names
