"""The whole loop, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_demo_runs_every_stage_and_takes_up_where_it_was(tmp_path: Path) -> None:
    """Bags, episodes, labels, training, ROS 2 and analysis leave what they promise; a second run has little to do."""
    command = [sys.executable, "-m", "app.cli", "demo", "--quick", "--output", str(tmp_path / "demo")]
    environment = {**os.environ, "HOME": str(tmp_path)}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    lines = first.stdout.splitlines()
    assert [line.split()[0] for line in lines[:8]] == [f"{n}/8" for n in range(1, 9)], first.stdout
    root = tmp_path / "demo"
    log = json.loads((root / "evaluation/seed_0/eval_log.json").read_text())
    assert len(log["policies"]["checkpoint"]["success"]) == 2
    assert (root / "evaluation/seed_0/checkpoint/scenes.mp4").stat().st_size > 10_000
    assert (root / "analysis/seed_0/predictions.png").stat().st_size > 10_000
    assert json.loads((root / "analysis/seed_0/metrics.json").read_text())["n_ticks"] > 50

    before = (root / "bags/rosbag_0").stat().st_mtime_ns
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr[-3000:]
    assert (root / "bags/rosbag_0").stat().st_mtime_ns == before
