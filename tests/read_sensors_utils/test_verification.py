"""Every kind of damage to a folder of episodes is found, and nothing is found in a sound one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ladle.episode import EEF_FILE, LABELS_FILE, PARTIAL_LABELS_FILE, TICK_LABELS_FILE, EpisodeFolder
from ladle.episode_checksums import file_sha256, read_checksums
from ladle.errors import EpisodeError
from read_sensors_utils.extract_all import extract_all
from read_sensors_utils.verification import verify_folder


@pytest.fixture(scope="module")
def sound(synthetic, small_task, tmp_path_factory) -> Path:
    """Two extracted episodes, the first labelled."""
    folder = tmp_path_factory.mktemp("verify")
    for number in (0, 3):
        synthetic.write_bag(folder / "bags" / f"rosbag_{number}", synthetic.BagPlan(duration_s=1.0))
    (folder / "bags/data.csv").write_text("index,mass\n0,1.5\n3,2\n")
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    np.save(folder / "out/actions/0" / LABELS_FILE, np.repeat([0, 1, 2], 10))
    extract_all(folder / "bags", folder / "out", small_task, workers=1)
    return folder


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(sound / "out", tmp_path / "out"))


def sum_up_again(root: Path, number: int) -> None:
    """Make the checksums those of what lies there, so that only the content can give the damage away."""
    names = [*(read_checksums(root, number) or {})]
    sums = {name: file_sha256(root / name) for name in names if (root / name).is_file()}
    (root / f"actions/{number}/checksums.json").write_text(json.dumps({"sha256": sums}))


def change(path: Path, edit: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Edit one .npy."""
    values = np.load(path)
    edited = edit(values)
    np.save(path, values if edited is None else edited)


def change_stamps(root: Path, key: str, edit: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Edit one array of stamps/0.npz."""
    stamps = EpisodeFolder(root).stamps(0)
    edited = edit(stamps[key])
    stamps[key] = stamps[key] if edited is None else edited
    np.savez(root / "stamps/0.npz", **stamps)


def put(index: object, value: float) -> Callable[[np.ndarray], None]:
    """Sets one element."""
    return lambda values: values.__setitem__(index, value)


def test_a_sound_folder_has_no_faults(root: Path) -> None:
    """The unlabelled episode is a note, not a fault."""
    verdict = verify_folder(root)
    assert verdict.faults == []
    assert verdict.episodes == 2
    assert verdict.notes == ["episode 3 is not labelled"]


def test_every_file_is_covered_but_the_labels(root: Path) -> None:
    """One flipped bit in any file of an episode is found by name."""
    covered = set(read_checksums(root, 0) or {})
    files = {p.relative_to(root).as_posix() for part in ("actions/0", "videos/0", "numpy/0", "frames/0.zarr")
             for p in (root / part).rglob("*") if p.is_file()} | {"stamps/0.npz"}
    assert files - covered == {f"actions/0/{name}" for name in (LABELS_FILE, TICK_LABELS_FILE, "checksums.json")}
    for name in ("videos/0/1.mp4", "frames/0.zarr/camera_1/0.0.0.0", "stamps/0.npz", "actions/0/mass.txt"):
        original = (root / name).read_bytes()
        (root / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        assert [str(fault) for fault in verify_folder(root).faults] == [
            f"episode 0: {name} has changed since it was written; extract it again: ladle repair with --bags and the "
            "folder of its recording"]
        (root / name).write_bytes(original)
    (root / "videos/0/0_depth.avi").unlink()
    assert "videos/0/0_depth.avi is missing" in str(verify_folder(root).faults[0])


@pytest.mark.parametrize(("breakage", "words"), [
    (lambda r: change(r / "actions/0" / EEF_FILE, put((4, 6), 0.9)), "not of unit length"),
    (lambda r: change(r / "actions/0" / EEF_FILE, lambda v: np.concatenate([v[:4], v[4:] * [1, 1, 1, -1, -1, -1, -1]])),
     "eef changes its sign after tick 3"),
    (lambda r: change(r / "actions/0" / EEF_FILE, put((2, 0), np.nan)), "eef is not finite at tick 2"),
    (lambda r: change(r / "actions/0" / EEF_FILE, lambda v: v[:-1]), "share one clock"),
    (lambda r: change_stamps(r, "decision_s", put(3, 0.0)), "decision times must increase"),
    (lambda r: change_stamps(r, "observation_s", put(3, 0.0)), "observation times go back after tick 2"),
    (lambda r: change_stamps(r, "receive_ns_camera_1", put(5, 0)), "receive stamps of camera_1 go back after frame 4"),
    (lambda r: change_stamps(r, "frame_index_camera_1", put(2, 900)), "out of order or beyond 30"),
    (lambda r: change_stamps(r, "frame_index_camera_1", put(-1, 30)), "out of order or beyond 30"),
    (lambda r: change_stamps(r, "frame_index_camera_1", put(3, 0)), "out of order or beyond 30"),
    (lambda r: change_stamps(r, "header_ns_camera_1", lambda v: v[:-1]), "29 header stamps and 30 receive stamps"),
    (lambda r: (r / "actions/0/mass.txt").unlink(), "mass.txt is missing"),
    (lambda r: (r / "actions/0/mass.txt").write_text("0 1.5\n1 1.5\n"), "2 rows, expected one finite mass"),
    (lambda r: (r / "videos/0/1.mp4").write_bytes(b"no video"), "1.mp4 cannot be decoded"),
    (lambda r: (r / "videos/0/1.mp4").unlink(), "the video 1.mp4 is missing"),
    (lambda r: (r / "frames/0.zarr/depth_0/0.0.0").write_bytes(b"no chunk"), "frames 'depth_0' from tick 0 on cannot"),
    (lambda r: shutil.rmtree(r / "frames/0.zarr/camera_1"), "'camera_1'"),
    (lambda r: (r / "actions/0/episode.json").write_text("{"), "is damaged"),
])
def test_damage_that_bears_right_checksums_is_found_too(root: Path, breakage, words: str) -> None:
    """What the arrays, stamps and frames say is checked by itself."""
    breakage(root)
    sum_up_again(root, 0)
    faults = [str(fault) for fault in verify_folder(root).faults]
    assert any(words in fault for fault in faults), faults
    assert all(fault.startswith("episode 0: ") for fault in faults)
    assert all("\n" not in fault and "; " in fault for fault in faults)


def test_a_video_of_other_length_than_its_stamps_is_found(root: Path) -> None:
    """A whole, decodable video that is a frame short."""
    stamps = EpisodeFolder(root).stamps(0)
    longer = {key: np.append(value, value[-1] + 1) if key.endswith("_ns_camera_1") else value
              for key, value in stamps.items()}
    np.savez(root / "stamps/0.npz", **longer)
    (root / "actions/0" / LABELS_FILE).unlink()
    sum_up_again(root, 0)
    assert "1.mp4 decodes to 30 frames, its stamps are 31" in str(verify_folder(root).faults[0])


@pytest.mark.parametrize(("labels", "words"), [
    (np.zeros(29, int), "29 labels for 30 frames"),
    (np.full(30, 3), "frame 0 has the label 3, expected 0 to 2"),
    (np.repeat([2, 1, 0], 10), "labels of its ticks are not those of its frames"),
])
def test_labels_are_checked_against_frames_and_stages(root: Path, labels: np.ndarray, words: str) -> None:
    """Their remedies are those of labels, not a new extraction."""
    np.save(root / "actions/0" / LABELS_FILE, labels)
    fault, = verify_folder(root).faults
    assert words in fault.what
    assert "extract it again" not in fault.remedy


def test_half_made_and_unfinished_are_named(root: Path) -> None:
    """What a kill left behind is a fault; labels that are not finished are a note."""
    (root / ".partial-7").mkdir()
    (root / ".partial-3").mkdir()
    (root / "frames/9.zarr").mkdir()
    np.save(root / "actions/3" / PARTIAL_LABELS_FILE, np.array([0, 1, -1, -1]))
    verdict = verify_folder(root)
    assert [fault.where for fault in verdict.faults] == ["episode 7", "episode 9", "episode 3"]
    assert all("ladle repair" in fault.remedy for fault in verdict.faults)
    assert verdict.notes == ["episode 3: 2 of 4 frames are not labelled yet"]
    with pytest.raises(EpisodeError, match="no episodes in"):
        verify_folder(root / "nowhere")


def test_an_episode_without_checksums_is_a_note(root: Path) -> None:
    """Older episodes are checked by their content; one that was made with checksums has lost them."""
    (root / "actions/3/checksums.json").unlink()
    fault, = verify_folder(root).faults
    assert "episode 3: checksums.json is missing" in str(fault)
    told = root / "actions/3/episode.json"
    told.write_text(told.read_text().replace('"checksums": true', '"checksums": false'))
    verdict = verify_folder(root)
    assert verdict.faults == []
    assert verdict.notes[0] == "episode 3 has no checksums: it was made by an older version"


@pytest.mark.parametrize("content", ["{", "[]", '{"sha256": 3}', "{}"])
def test_damaged_checksums_are_a_fault_of_their_episode(root: Path, content: str) -> None:
    """The others are checked all the same."""
    (root / "actions/0/checksums.json").write_text(content)
    verdict = verify_folder(root)
    fault, = verdict.faults
    assert fault.where == "episode 0"
    assert "checksums.json is damaged" in fault.what
    assert "ladle repair" in fault.remedy
    assert verdict.notes == ["episode 3 is not labelled"]


def test_labels_of_ticks_without_those_of_frames_are_a_fault(root: Path) -> None:
    """People's work has gone; while they label anew it is not."""
    (root / "actions/0" / LABELS_FILE).unlink()
    fault, = verify_folder(root).faults
    assert str(fault) == f"episode 0: its ticks have labels, but {LABELS_FILE} is missing; label it again"
    np.save(root / "actions/0" / PARTIAL_LABELS_FILE, np.full(30, -1))
    assert verify_folder(root).faults == []
    (root / "actions/0" / PARTIAL_LABELS_FILE).write_bytes(b"torn")
    assert [fault.what[:40] for fault in verify_folder(root).faults] == [f"{PARTIAL_LABELS_FILE} cannot be read"[:40]]
