"""The tracking delay from a recording into the task file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from app.delay import measure_delay, store_delay
from ladle.errors import BagError, TaskError
from ladle.task import load_task
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.run_recorder import RunRecorder

NAMES = load_task("scoop").joints.names  # type: ignore[union-attr]


def swing(times_s: np.ndarray) -> np.ndarray:
    """(n, 7) rad."""
    return np.outer(0.2 * np.sin(2 * np.pi * 0.5 * times_s), np.linspace(1.0, 0.3, 7))


def record(folder: Path, delay_s: float, *, sent: bool = True) -> Path:
    """Plans of a second, one every 0.4 s, each replacing the one before; joints at 200 Hz that follow late."""
    recorder = RunRecorder(folder, {}, wait=True)
    recorder.begin(1_700_000_000 * 10**9)
    for step in range(10 if sent else 0):
        begin_s, ahead_s = 0.4 * step, np.arange(0.0, 1.0, 0.01)
        wrong = 0.1 * (ahead_s > 0.5)[:, None]  # what is replaced before it is reached must not count
        recorder.sent(begin_s, JtcMessage(begin_s, NAMES, ahead_s, swing(begin_s + ahead_s) + wrong,
                                          *[np.zeros((100, 7))] * 2))
    for time_s in np.arange(0.0, 3.9, 0.005):
        recorder.joints(time_s + 0.001, time_s, NAMES, swing(np.array([max(time_s - delay_s, 0.0)]))[0])
    recorder.close()
    return folder


def test_the_delay_of_a_run_lands_in_the_task_file(tmp_path: Path) -> None:
    """42 ms are found within 1 ms, against the plan in force; stored twice, with everything else as it was."""
    found = measure_delay(record(tmp_path / "run", 0.042))
    assert found.delay_s == pytest.approx(0.042, abs=1e-3)
    task_file = tmp_path / "mine.yaml"
    task_file.write_text((resources.files("ladle.config.task") / "scoop.yaml").read_text())
    before = task_file.read_text().splitlines()
    for delay_s in (0.5, found.delay_s):
        store_delay(task_file, delay_s)
    assert load_task(task_file).joints.tracking_delay_s == pytest.approx(found.delay_s, abs=1e-4)  # type: ignore[union-attr]
    assert [line for line in task_file.read_text().splitlines() if "tracking_delay_s" not in line] == before


def test_a_run_without_commands_and_a_file_without_joints_are_refused(tmp_path: Path) -> None:
    """Each in one line."""
    with pytest.raises(BagError, match="nothing was sent"):
        measure_delay(record(tmp_path / "run", 0.0, sent=False))
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(TaskError, match="no section 'joints:'"):
        store_delay(tmp_path / "mine.yaml", 0.1)
