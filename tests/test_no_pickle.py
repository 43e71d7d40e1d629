"""A checkpoint from a stranger must not be able to run code: nothing here pickles."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("ladle", "read_sensors_utils", "annotator", "training", "real_world_deployment", "simulation", "analysis",
           "app", "ros2_ws")
BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {"torch.save", "torch.load"}
BANNED_ATTRIBUTES = {"save_state", "load_state", "enable_unsafe_deserialization"}
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def faults(source: str) -> list[str]:
    """What a module does that pickles, in order of appearance."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found += sorted(names & BANNED_CALLS)
            found += [node.module] if node.module.partition(".")[0] in BANNED_MODULES else []
        elif isinstance(node, ast.Attribute):
            found += [ast.unparse(node)] if ast.unparse(node) in BANNED_CALLS or node.attr in BANNED_ATTRIBUTES else []
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            found += [] if off else ["allow_pickle"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_pickles(path: Path):
    """No pickle, torch.save, torch.load, save_state or allow_pickle=True in the packages."""
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("source", [
    "import pickle", "def f():\n    from dill import dumps", "torch.save(x, p)", "from torch import load",
    "accelerator.save_state(p)", "np.load(p, allow_pickle=True)",
])
def test_the_rule_can_fail(source: str):
    """Each way to pickle is found."""
    assert faults(source)
