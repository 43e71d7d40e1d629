"""What training refuses to learn from, and how it recognises data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_from_text, task_text
from training.dataset import Steps, WindowBatches, data_fingerprint, refuse_other_data
from training.train import run
from training.windows import index_windows


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


def numbered(lengths: Sequence[int]) -> Steps:
    """Episodes in which everything is the number of the step."""
    numbers = np.arange(sum(lengths))
    column = numbers[:, None].astype(np.float32)
    return Steps(images={}, low_dim={"x": column}, episode_ends=np.cumsum(lengths), fingerprint="", stages=numbers,
                 action=column, mass_g=column[:, 0])


def test_a_batch_holds_what_was_observed_and_what_was_then_done():
    """Observations first, actions over the whole horizon, stage and mass of the newest observation; edges repeat."""
    steps = numbered([5, 4])
    batches = WindowBatches(steps, index_windows(steps.episode_ends, 4, 1, 2), 2, 4, 3, 0)
    batch = batches.gather(np.array([0, 4, 5]))
    assert batch.low_dim["x"][..., 0].tolist() == [[0, 0], [3, 4], [5, 5]]
    assert batch.action is not None
    assert batch.action[..., 0].tolist() == [[0, 0, 1, 2], [3, 4, 4, 4], [5, 5, 6, 7]]
    for newest in (batch.stage, batch.mass_g):
        assert newest is not None
        assert newest.tolist() == [0, 4, 5]


def test_every_epoch_visits_every_window_once_in_an_order_of_its_own():
    """Also where a batch lies in two epochs, and the order follows from the seed."""
    steps = numbered([6, 5])

    def visited(seed: int) -> np.ndarray:
        batches = WindowBatches(steps, index_windows(steps.episode_ends, 2, 1, 0), 2, 2, 4, seed)
        assert len(batches.index) == 11
        stages = [batches(step).stage for step in range(9)]
        return np.concatenate([found for found in stages if found is not None])[:33].reshape(3, 11)

    found = visited(0)
    assert np.array_equal(np.sort(found, axis=1), np.tile(np.arange(11), (3, 1)))
    assert len({tuple(row) for row in found}) == 3
    assert np.array_equal(found, visited(0))
    assert not np.array_equal(found, visited(1))


def test_a_mask_of_episodes_covers_their_own_steps():
    """Episodes of different lengths."""
    mask = numbered([2, 4, 3]).episode_mask_to_steps(np.array([True, False, True]))
    assert np.flatnonzero(mask).tolist() == [0, 1, 6, 7, 8]
