"""The command line: what the user sees when something does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def ladle(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run([sys.executable, "-m", "app.cli", *arguments], cwd=cwd, capture_output=True, text=True,
                          check=False)


def one_error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that the user gets, with exit code 2."""
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("E ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_a_folder_without_bags_is_one_clear_line(tmp_path: Path) -> None:
    """Extraction names the folder and writes nothing."""
    (tmp_path / "bags").mkdir()
    line = one_error_line(ladle("extract", "--path-load", "bags", "--path-save", "episodes", cwd=tmp_path))
    assert "bags" in line
    assert not (tmp_path / "episodes").exists()


def test_an_unknown_task_is_one_clear_line(tmp_path: Path) -> None:
    """The known tasks are listed."""
    (tmp_path / "bags").mkdir()
    line = one_error_line(
        ladle("extract", "--path-load", "bags", "--path-save", "x", "--task", "soup", cwd=tmp_path)
    )
    assert "scoop" in line


def test_labels_of_a_wrong_folder_are_one_clear_line(tmp_path: Path) -> None:
    """Without a recording, which labels do not need; without labels to bring to the ticks there is need of one."""
    line = one_error_line(ladle("extract", "--path-save", "typo", "--annotations", cwd=tmp_path))
    assert "no episodes in typo" in line
    assert "--path-load" in one_error_line(ladle("extract", "--path-save", "typo", cwd=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_without_episodes_is_one_clear_line(tmp_path: Path) -> None:
    """Conversion says how to make some, and leaves no replay buffer."""
    (tmp_path / "episodes").mkdir()
    line = one_error_line(ladle("convert", "--dataset-path", "episodes", cwd=tmp_path))
    assert "format_data_replay_buffer.py" in line
    assert not list((tmp_path / "episodes").iterdir())


def test_an_unknown_override_is_one_clear_line(tmp_path: Path) -> None:
    """A slip in a Hydra override is answered with what was meant."""
    line = one_error_line(ladle("train", "training.sed=3", cwd=tmp_path))
    assert "training.seed" in line


@pytest.mark.parametrize("script", [
    "read_sensors_utils/format_data_replay_buffer.py", "annotator/annotator_parsor.py",
    "training/real_data_conversion.py", "train.py", "train_classifier.py",
    "real_world_deployment/run_policy_end_effector_jtc.py", "real_world_deployment/run_policy_end_effector_ruckig.py",
    "analysis/predictions/robot_dataset.py",
])
def test_the_users_scripts_explain_themselves_from_any_folder(script: str, root: Path, tmp_path: Path) -> None:
    """`python <folder>/<script>.py --help` works wherever it is called."""
    result = subprocess.run([sys.executable, str(root / script), "--help"], cwd=tmp_path, capture_output=True,
                            text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower()


def test_joining_chunks_at_a_lower_speed_is_one_clear_line(tmp_path: Path) -> None:
    """Before any process starts: both values and the remedy; the default of a real robot counts too."""
    line = one_error_line(ladle("up", "--remote-policy", "--speed", "0.5", "--chunking", "real_time", cwd=tmp_path))
    assert "chunking real_time" in line
    assert "at speed 0.5 is not the machine's; use chunking replace, or speed 1" in line
    line = one_error_line(ladle("up", "--remote-policy", "--robot", "franka", "--chunking", "ensemble", cwd=tmp_path))
    assert "at speed 0.1" in line
