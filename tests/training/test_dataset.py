"""What training refuses to learn from, and how it recognises data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_from_text, task_text
from training.dataset import data_fingerprint, refuse_other_data
from training.train import run


def buffer_of(path: Path, meta: Mapping[str, object], **arrays: Sequence[float]) -> ReplayBuffer:
    """A buffer of one episode."""
    with ReplayBufferWriter(path, meta) as writer:
        writer.append_episode({key: np.array(values, np.float32)[:, None] for key, values in arrays.items()})
    return ReplayBuffer.open(path)


@pytest.mark.parametrize(("before", "after", "what"), [
    ("name: scoop", "name: pour", "made for task pour"),
    ("rate_hz: 10.0", "rate_hz: 20.0", r"\(rate_hz 20\.0\), not for scoop \(rate_hz 10\.0\)"),
    ("tip: panda_hand", "tip: spoon", r"frames .*spoon.*set task\.name="),
    ("kind: pose", "kind: xy", r"\(action "),
    ("hysteresis_ticks: 2", "hysteresis_ticks: 3", r"\(stages "),
])
def test_data_of_another_task_are_refused(before: str, after: str, what: str, tmp_path: Path):
    """The error names the first thing in which the two tasks differ."""
    text = task_text(load_task("scoop"))
    assert before in text
    changed = text.replace(before, after, 1)
    buffer = buffer_of(tmp_path / "b.zarr", {"task": changed}, action=[1, 2])
    with pytest.raises(ConfigError, match=what):
        refuse_other_data(buffer, load_task("scoop"), pose=True)
    refuse_other_data(buffer, task_from_text(changed), pose=True)


def test_data_that_say_no_task_are_taken_without_poses_only(tmp_path: Path):
    """Push-T passes; poses of an unknown quaternion order do not."""
    buffer = buffer_of(tmp_path / "b.zarr", {}, action=[1, 2])
    refuse_other_data(buffer, load_task("pusht"), pose=False)
    with pytest.raises(ConfigError, match=r"quaternion order .*real_data_conversion\.py"):
        refuse_other_data(buffer, load_task("scoop"), pose=True)
    with pytest.raises(ConfigError, match="quaternion order"):
        run([f"task.dataset_path={tmp_path / 'b.zarr'}", f"training.output_dir={tmp_path / 'out'}"])


def test_other_labels_are_other_data(tmp_path: Path):
    """Actions and labels are looked at, and the first array where there is neither."""
    prints = [data_fingerprint(buffer_of(tmp_path / f"{number}.zarr", {}, **arrays)) for number, arrays in enumerate([
        {"action": [1, 2], "label": [0, 1]}, {"action": [1, 2], "label": [0, 0]}, {"action": [1, 3], "label": [0, 1]},
        {"action": [1, 2]}, {"state": [4, 5]}, {"state": [4, 6]},
    ])]
    assert len(set(prints)) == len(prints)
    assert data_fingerprint(buffer_of(tmp_path / "same.zarr", {}, action=[1, 2], label=[0, 1])) == prints[0]
