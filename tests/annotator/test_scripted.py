from pathlib import Path

import numpy as np
import pytest

from annotator.scripted import label_from_truth, press_keys
from annotator.store import LabelStore
from ladle.episode import EpisodeFolder
from ladle.errors import LabelError
from ladle.task import load_task

SCOOP = load_task("scoop")

FRAMES_NS = np.arange(20, dtype=np.int64) * 33_333_333 + 1_700_000_000_000_000_000
STAGES = np.repeat([0, 1, 2], [8, 5, 7])


@pytest.fixture
def folder(tmp_path: Path) -> EpisodeFolder:
    """Episode 4, as far as labelling needs it: its stamps and its action folder."""
    (tmp_path / "actions" / "4").mkdir(parents=True)
    (tmp_path / "stamps").mkdir()
    np.savez(tmp_path / "stamps" / "4.npz", header_ns_camera_1=FRAMES_NS)
    return EpisodeFolder(tmp_path)


def test_truth_goes_through_the_labeller_to_the_complete_file(folder: EpisodeFolder) -> None:
    """Truth in any order of stamps, with frames that the bag lacks, labels each frame by its own stamp."""
    more_ns = np.concatenate([FRAMES_NS, FRAMES_NS[:3] - 10**9])[::-1]
    more_stages = np.concatenate([STAGES, [2, 2, 2]])[::-1]
    labels = label_from_truth(folder, 4, more_ns, more_stages, SCOOP)
    np.testing.assert_array_equal(labels, STAGES)
    stored = folder.frame_labels(4)
    assert stored is not None
    np.testing.assert_array_equal(stored, STAGES)


def test_an_interrupted_labelling_goes_on(folder: EpisodeFolder) -> None:
    """Frames labelled before an interruption are kept, the rest follows."""
    press_keys(LabelStore(folder.action_folder(4)), 20, 3, ["0", "0", "0"])
    np.testing.assert_array_equal(label_from_truth(folder, 4, FRAMES_NS, STAGES, SCOOP), STAGES)
    np.testing.assert_array_equal(label_from_truth(folder, 4, FRAMES_NS, STAGES, SCOOP), STAGES)


def test_a_persons_differing_labels_are_not_overwritten(folder: EpisodeFolder) -> None:
    """Labels that contradict the truth are somebody's work: refused, not replaced."""
    press_keys(LabelStore(folder.action_folder(4)), 20, 3, ["2"])
    with pytest.raises(LabelError, match=r"episode 4 .* differ from the truth"):
        label_from_truth(folder, 4, FRAMES_NS, STAGES, SCOOP)


def test_truth_of_another_recording_is_refused(folder: EpisodeFolder) -> None:
    """A frame without its own stamp in the truth is named; no label is guessed and nothing is written."""
    with pytest.raises(LabelError, match=r"20 of 20 frames .* first frame 0"):
        label_from_truth(folder, 4, FRAMES_NS + 1, STAGES, SCOOP)
    assert list(folder.action_folder(4).iterdir()) == []
