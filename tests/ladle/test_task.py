"""The task file."""

from __future__ import annotations

import dataclasses

import pytest

from ladle.errors import TaskError
from ladle.recording_limits import RecordingLimits
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


def test_a_plain_vector_says_how_wide_it_is():
    """An action of other programs' data, of which nobody says what it is."""
    text = "{name: t, rate_hz: 30, action: [{name: action, kind: vector, size: 6}, {name: grip, kind: gripper}]}"
    task = task_from_text(text)
    assert task.action_width == 7
    assert task_from_text(task_text(task)) == task
    for part in ("{name: a, kind: vector}", "{name: a, kind: xy, size: 2}"):
        with pytest.raises(TaskError, match="size belongs to the kind vector, and only there"):
            task_from_text(f"{{name: t, rate_hz: 30, action: [{part}]}}")


@pytest.mark.parametrize(("old", "new", "words"), [
    ("rate_hz: 10.0", "rate_Hz: 10.0", "rate_Hz is no key of a task file; did you mean rate_hz? Known here: name, "),
    ("  live_topic:", "  live_topics:", "joints.live_topics is no key of a task file; did you mean live_topic? "),
    ("    width_px: 240", "    widht_px: 240", "camera_1.widht_px is no key of a task file; did you mean width_px?"),
    ("- name: pose", "- nam: pose", "action.0.nam is no key of a task file; did you mean name? Known here: name, "),
    ("rate_hz: 10.0", "rate_hz: fast", "rate_hz: expected a number, got 'fast'"),
    ("rate_hz: 10.0", "rate_hz: 0", "rate_hz: expected more than 0"),
    ("rate_hz: 10.0", "", "rate_hz is missing"),
    ("mass: true", "mass: heavy", "mass: expected true or false, got 'heavy'"),
    ("    width_px: 240", "    width_px: 2.5", "cameras.camera_1.width_px: expected a whole number, got 2.5"),
    ("    kind: color", "    kind: colour", "expected 'color' or 'depth', got 'colour'"),
    ("    latency_s: 0.0", "    latency_s: 12", "cameras.camera_1.latency_s: expected 5.0 or less, got 12"),
    ("    transport_s: 0.012", "    transport_s: .nan", "cameras.camera_1.transport_s: expected "),
    ("frames:", "frames: [a, b]\nhome:", "frames: expected a mapping of keys, got a list of 2"),
    ("mass: true", "mass: true\nrecording: {accept: {camera_9: [gap]}}", "recording.accept names camera_9; the "),
])
def test_what_is_wrong_is_told_in_peoples_words(old: str, new: str, words: str) -> None:
    """One short line; the task is never dumped."""
    text = task_text(dataclasses.replace(load_task("scoop"), recording=RecordingLimits()))
    text = text[: text.index("recording:")] + text[text.index("video_size:") :]
    assert old in text
    text = text.replace(old, new, 1)
    if "home:" in new:
        text = text[: text.index("home:\n  base")] + text[text.index("limits:") :]
    with pytest.raises(TaskError) as caught:
        task_from_text(text, "my.yaml")
    told = str(caught.value)
    assert told.startswith("my.yaml: ")
    assert words in told
    assert "\n" not in told
    assert len(told) < 320


def test_an_empty_section_of_limits_is_the_defaults() -> None:
    """As when all of its lines are commented out."""
    assert task_from_text("name: x\nrate_hz: 10\nrecording:\n") == task_from_text("name: x\nrate_hz: 10\n")
