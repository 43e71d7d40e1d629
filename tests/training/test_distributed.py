"""Two real processes on a processor: the same run as one process with the same global batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ladle.errors import ConfigError
from training.distributed import Processes, join, launched
from training.run_log import read_log

LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc_per_node", "2", "--standalone"],
}


def train(root: Path, launcher: list[str], overrides: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """`train.py` in one process, or as the launcher starts it."""
    start = [sys.executable, "-m", *launcher] if launcher else [sys.executable]
    return subprocess.run([*start, str(root / "train.py"), *overrides, f"training.output_dir={folder}"], check=False,
                          capture_output=True, text=True, cwd=root, timeout=120)


@pytest.mark.slow
def test_two_processes_train_as_one(root: Path, tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path):
    """Same losses and validation up to rounding, and one writer."""
    chosen = [*tiny_overrides, f"task.dataset_path={scoop_buffer}", "observations.stage=none"]
    runs: dict[str, list[dict[str, float]]] = {}
    for name, launcher in {"one": [], **LAUNCHERS}.items():
        steps = ["training.max_steps=6", "training.schedule=constant"]
        done = train(root, launcher, [*chosen, *steps, f"training.gradient_accumulation={2 if launcher else 1}"],
                     tmp_path / name)
        assert done.returncode == 0, done.stderr
        runs[name] = read_log(tmp_path / name)
        assert [row["step"] for row in runs[name]] == [0, 1, 2, 3, 4, 5]
    for name in LAUNCHERS:
        losses = [row["train_loss"] for row in runs[name]]
        assert losses != [row["train_loss"] for row in runs["one"]], "two processes add up in another order"
        assert losses == pytest.approx([row["train_loss"] for row in runs["one"]], rel=1e-5)
        assert runs[name][-1]["val_loss"] == pytest.approx(runs["one"][-1]["val_loss"], rel=1e-4)


def test_a_process_by_itself_is_alone(monkeypatch: pytest.MonkeyPatch):
    """Without a launcher nothing is joined; with one, a single GPU cannot be named."""
    for name in [key for key in os.environ if key.endswith("WORLD_SIZE")]:
        monkeypatch.delenv(name)
    assert join("cpu") == Processes()
    assert Processes().main
    assert not launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="cuda:1 with a launcher"):
        join("cuda:1")
