"""The task file."""

from __future__ import annotations

import pytest

from ladle.errors import TaskError
from ladle.task import load_task, task_from_text, task_names, task_text


@pytest.mark.parametrize("name", task_names())
def test_a_task_survives_being_written_and_read(name: str) -> None:
    """task_text and task_from_text belong together, so that a checkpoint can carry its task."""
    task = load_task(name)
    assert task_from_text(task_text(task)) == task


def test_an_unknown_key_is_refused_by_name() -> None:
    """A slip of the pen does not become a default."""
    with pytest.raises(TaskError, match="rate_khz"):
        task_from_text("name: x\nrate_hz: 10\nrate_khz: 1\n")


def test_a_bare_pose_or_two_orders_are_refused() -> None:
    """A pose says its quaternion order, once."""
    text = task_text(load_task("scoop")).replace("quaternion_xyzw", "quaternion")
    with pytest.raises(TaskError, match="quaternion"):
        task_from_text(text)


def test_wxyz_is_converted_once() -> None:
    """The same pose in both orders is the same pose."""
    scoop = load_task("scoop")
    assert scoop.home is not None
    flow = "    - 1.0\n    - 0.0\n    - 0.0\n    - 0.0\n"
    text = task_text(scoop)
    assert f"    quaternion_xyzw:\n{flow.replace('    -', '    -')}" in text
    other = text.replace(f"quaternion_xyzw:\n{flow}", "quaternion_wxyz:\n    - 0.0\n    - 1.0\n    - 0.0\n    - 0.0\n")
    home = task_from_text(other).home
    assert home is not None
    assert home.pose.xyz_xyzw == scoop.home.pose.xyz_xyzw


def test_an_unknown_task_lists_the_known_ones() -> None:
    """The error tells what would have worked."""
    with pytest.raises(TaskError, match="scoop"):
        load_task("soup")


def test_limits_of_recordings_have_defaults_and_refuse_what_they_do_not_know() -> None:
    """5 ms warns, 20 ms refuses; a threshold of another name, or one that refuses before it warns, is an error."""
    limits = task_from_text("name: x\nrate_hz: 10\n").recording
    assert (limits.offset_warn_s, limits.offset_refuse_s) == (0.005, 0.020)
    stated = "name: x\nrate_hz: 10\nrecording: {offset_warn_s: 0.01, accept: {joints: [clock_offset, gap]}}\n"
    assert task_from_text(stated).recording.accept == {"joints": ("clock_offset", "gap")}
    for wrong, words in (("offset_warn_ms: 5", "offset_warn_ms"), ("gap_warn_s: 9.0", "gap_refuse_s 2.0"),
                         ("accept: {joints: [everything]}", "recording.accept.joints"),
                         ("accept: {camera_9: [gap]}", "camera_9; the streams are: joints")):
        with pytest.raises(TaskError, match=words):
            task_from_text(f"name: x\nrate_hz: 10\nrecording: {{{wrong}}}\n")
