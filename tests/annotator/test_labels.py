import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.labels import BACK, PLAY, QUIT, UNLABELLED, Labeller
from ladle.errors import LabelError

KEYS = st.sampled_from(["0", "1", "2", BACK, PLAY, "tick"])


def feed(labeller: Labeller, keys: list[str]) -> None:
    """Press keys; "tick" lets a frame period pass."""
    for key in keys:
        labeller.tick() if key == "tick" else labeller.press(key)


@settings(deadline=None, max_examples=50)
@given(n_frames=st.integers(1, 12), keys=st.lists(KEYS, max_size=60))
def test_frames_before_the_cursor_are_labelled_and_no_others(n_frames: int, keys: list[str]) -> None:
    """After any keys the labelled frames are exactly those before the cursor: never a gap, never one too many."""
    labeller = Labeller(n_frames, 3)
    for key in keys:
        feed(labeller, [key])
        labels = labeller.labels
        assert len(labels) == n_frames
        assert np.all(labels[: labeller.cursor] >= 0)
        assert np.all(labels[labeller.cursor :] == UNLABELLED)
        assert labeller.is_complete == (labeller.cursor == n_frames)


@settings(deadline=None, max_examples=50)
@given(n_frames=st.integers(1, 12), keys=st.lists(KEYS, max_size=60))
def test_labels_equal_a_plain_stack(n_frames: int, keys: list[str]) -> None:
    """The labels are what a stack would hold: digits push, back pops, a tick while playing repeats the top."""
    labeller, stack, playing = Labeller(n_frames, 3), [], False
    for key in keys:
        feed(labeller, [key])
        if key == BACK:
            stack, playing = stack[:-1], False
        elif key == PLAY:
            playing = not playing and bool(stack) and len(stack) < n_frames
        elif key == "tick":
            stack += stack[-1:] if playing else []
        elif len(stack) < n_frames:
            stack.append(int(key))
        playing = playing and len(stack) < n_frames
        assert labeller.labels[: labeller.cursor].tolist() == stack
        assert labeller.is_playing == playing


@settings(deadline=None, max_examples=50)
@given(first=st.lists(KEYS, max_size=30), second=st.lists(KEYS, max_size=30))
def test_quitting_midway_resumes_where_it_stopped(first: list[str], second: list[str]) -> None:
    """Quit and a new labeller with the old labels end where one sitting would have, playing being off after a quit."""
    whole = Labeller(10, 3)
    feed(whole, first)
    if whole.is_playing:
        whole.press(PLAY)
    feed(whole, second)

    interrupted = Labeller(10, 3)
    feed(interrupted, first)
    interrupted.press(QUIT)
    resumed = Labeller(10, 3, interrupted.labels)
    feed(resumed, second)
    np.testing.assert_array_equal(resumed.labels, whole.labels)


def test_back_takes_the_label_off() -> None:
    """Back and another key leave n labels for n frames: the ancestor kept the old label and added one."""
    labeller = Labeller(3, 3)
    labeller.press_all(["0", "1", BACK, "2", "2"])
    assert labeller.labels.tolist() == [0, 2, 2]
    labeller.press("1")
    assert labeller.labels.tolist() == [0, 2, 2]


def test_playing_holds_the_label_of_the_frame_before() -> None:
    """Playing goes on with the last label, a digit changes it in flight, and the last frame ends it."""
    labeller = Labeller(6, 3)
    labeller.press_all(["0", PLAY])
    labeller.tick()
    labeller.press("1")
    for _ in range(10):
        labeller.tick()
    assert labeller.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert not labeller.is_playing


def test_playing_does_not_start_without_a_label() -> None:
    """With nothing to hold, play does nothing: no frame goes by unlabelled."""
    labeller = Labeller(4, 3)
    labeller.press(PLAY)
    labeller.tick()
    assert labeller.cursor == 0
    assert not labeller.is_playing


def test_nothing_happens_after_quit() -> None:
    """Keys that were typed ahead of a quit's effect label nothing."""
    labeller = Labeller(4, 3)
    labeller.press_all(["0", PLAY, QUIT, "1", BACK])
    labeller.tick()
    assert labeller.labels.tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize("labels", [[0, 0], [0, -1, 1], [0, 3, -1], [-2, -1, -1], [0.0, 1.0, 2.0]])
def test_labels_that_do_not_fit_are_refused(labels: list[float]) -> None:
    """Wrong length, a gap, a stage that does not exist or floats are named, not repaired."""
    with pytest.raises(LabelError):
        Labeller(3, 3, np.array(labels))


def test_an_unknown_key_lists_the_keys() -> None:
    """A stage that the task does not have is an error that says which there are."""
    with pytest.raises(LabelError, match="no key '3'; there are 0, 1, 2, back, play, quit"):
        Labeller(3, 3).press("3")
