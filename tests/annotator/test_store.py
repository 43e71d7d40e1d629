import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.labels import BACK, PLAY, QUIT
from annotator.store import COMPLETE_NAME, PER_TICK_NAME, LabelStore, Sitting
from ladle.episode import PARTIAL_LABELS_FILE
from ladle.errors import LabelError

KEYS = st.sampled_from(["0", "1", "2", BACK, PLAY, "tick", "reopen"])

LABELLING_PROCESS = """
import sys
from pathlib import Path
from annotator.store import LabelStore, Sitting
sitting = Sitting(LabelStore(Path(sys.argv[1])), 100_000, 3)
while True:
    sitting.press(str(sitting.labeller.cursor % 3))
    sys.stdout.write(f"{sitting.labeller.cursor}\\n")
    sys.stdout.flush()
"""


def apply(sitting: Sitting, key: str) -> None:
    """A key or a frame period."""
    sitting.tick() if key == "tick" else sitting.press(key)


@settings(deadline=None, max_examples=40)
@given(keys=st.lists(KEYS, max_size=40))
def test_the_disk_holds_every_key(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    """After every key the files hold exactly the labels, in one file, named complete only when they are."""
    folder = tmp_path_factory.mktemp("actions")
    store = LabelStore(folder)
    sitting = Sitting(store, 8, 3)
    for key in keys:
        if key == "reopen":
            sitting = Sitting(LabelStore(folder), 8, 3)
            continue
        apply(sitting, key)
        stored = store.load()
        expected = sitting.labeller.labels
        np.testing.assert_array_equal(stored if stored is not None else np.full(8, -1), expected)
        assert store.is_complete == sitting.labeller.is_complete
        assert len(list(folder.iterdir())) <= 1


@pytest.mark.parametrize("round_", range(3))
def test_a_kill_in_mid_labelling_loses_nothing(tmp_path: Path, round_: int) -> None:
    """A process killed with SIGKILL while it labels leaves every key that it had taken, and labelling goes on."""
    with subprocess.Popen([sys.executable, "-c", LABELLING_PROCESS, str(tmp_path)], stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        for _ in range(40 + 7 * round_):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in process.stdout.read().split()]
        process.wait()
    at_least = acknowledged[-1] if acknowledged else 40 + 7 * round_
    sitting = Sitting(LabelStore(tmp_path), 100_000, 3)
    n = sitting.labeller.cursor
    assert at_least <= n <= at_least + 1
    np.testing.assert_array_equal(sitting.labeller.labels[:n], np.arange(n) % 3)
    sitting.press("2")
    assert Sitting(LabelStore(tmp_path), 100_000, 3).labeller.cursor == n + 1


def test_a_kill_between_the_last_two_steps_is_mended(tmp_path: Path) -> None:
    """All labels written but the rename to the complete file missing: opening the episode completes it."""
    np.save(tmp_path / PARTIAL_LABELS_FILE, np.array([0, 1, 2]))
    sitting = Sitting(LabelStore(tmp_path), 3, 3)
    assert sitting.labeller.is_complete
    assert (tmp_path / COMPLETE_NAME).exists()
    assert not (tmp_path / PARTIAL_LABELS_FILE).exists()


def test_labels_of_another_integer_type_are_taken_over(tmp_path: Path) -> None:
    """A file of int32 from another tool is read, and keys are saved into it without harm."""
    np.save(tmp_path / COMPLETE_NAME, np.array([0, 1, 2], np.int32))
    Sitting(LabelStore(tmp_path), 3, 3).press(BACK)
    assert np.load(tmp_path / PARTIAL_LABELS_FILE).tolist() == [0, 1, -1]


def test_going_back_makes_the_episode_unfinished_again(tmp_path: Path) -> None:
    """Taking a label off a finished episode takes away the complete file and the per-tick labels made from it."""
    sitting = Sitting(LabelStore(tmp_path), 2, 3)
    sitting.press("0")
    sitting.press("1")
    np.save(tmp_path / PER_TICK_NAME, np.array([0, 1]))
    sitting.press(QUIT)
    assert (tmp_path / PER_TICK_NAME).exists()

    again = Sitting(LabelStore(tmp_path), 2, 3)
    again.press(BACK)
    assert sorted(path.name for path in tmp_path.iterdir()) == [PARTIAL_LABELS_FILE]
    assert np.load(tmp_path / PARTIAL_LABELS_FILE).tolist() == [0, -1]


def test_labels_of_another_video_are_refused(tmp_path: Path) -> None:
    """Labels for another number of frames are named with their folder, and stay untouched."""
    np.save(tmp_path / COMPLETE_NAME, np.zeros(5, np.int64))
    with pytest.raises(LabelError, match=f"{tmp_path}.*4 frames.*\\(5,\\)"):
        Sitting(LabelStore(tmp_path), 4, 3)
    assert np.load(tmp_path / COMPLETE_NAME).tolist() == [0] * 5


def test_a_damaged_label_file_is_named(tmp_path: Path) -> None:
    """A file that is not an array gives an error with its path."""
    (tmp_path / PARTIAL_LABELS_FILE).write_bytes(b"")
    with pytest.raises(LabelError, match=PARTIAL_LABELS_FILE):
        Sitting(LabelStore(tmp_path), 4, 3)
