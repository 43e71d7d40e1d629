"""Labels of frames become labels of ticks."""

from __future__ import annotations

import numpy as np
import pytest

from ladle.errors import LabelError, TaskError
from ladle.task import load_task
from read_sensors_utils.annotations import labels_at_ticks

TASK = load_task("scoop")


def stamps(n_frames: int, index: list[int]) -> dict[str, np.ndarray]:
    """What stamps/N.npz holds of it."""
    return {"header_ns_camera_1": np.arange(n_frames), "frame_index_camera_1": np.array(index)}


def test_a_tick_gets_the_label_of_the_frame_it_shows():
    """Not the nearest in time, not the k-th: the one shown."""
    labels = labels_at_ticks(np.array([0, 0, 1, 2, 2]), stamps(5, [1, 2, 4]), TASK, 0)
    np.testing.assert_array_equal(labels, [0, 1, 2])
    assert labels.dtype == np.int64


@pytest.mark.parametrize(("labels", "words"), [
    ([0, 0, 1], "episode 8: 3 labels for 5 frames"), ([0, 0, -1, -1, 1], "frame 2 has the label -1"),
    ([0, 0, 3, 0, 0], "expected 0 to 2"),
])
def test_labels_that_do_not_cover_the_frames_are_refused(labels, words):
    """The episode and the first fault are named."""
    with pytest.raises(LabelError, match=words):
        labels_at_ticks(np.array(labels), stamps(5, [1]), TASK, 8)


def test_a_task_without_colour_has_nothing_to_label():
    """A joints-only task cannot have labels."""
    with pytest.raises(TaskError, match="no colour camera"):
        labels_at_ticks(np.zeros(5, np.int64), stamps(5, [1]), load_task("ur3_joints"), 0)
