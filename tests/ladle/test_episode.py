"""The folder of episodes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ladle import episode_commit
from ladle.episode import EEF_FILE, LABELS_FILE, PARTIAL_LABELS_FILE, TARGET_FILE, EpisodeFolder
from ladle.episode_checksums import damaged_files
from ladle.episode_commit import edited_actions
from ladle.episode_files import CHECKSUMS_FILE
from ladle.errors import EpisodeError
from ladle.owner import Owner


def write(folder: EpisodeFolder, number: int, steps: int = 5, override: bool = False) -> None:
    """A small episode without images."""
    with folder.writer(number, override=override) as writer:
        decision = np.arange(steps) * 0.1 + 0.05
        np.savez(writer.stamps, decision_s=decision, observation_s=decision - 0.02,
                 joints=np.full((steps, 7), float(number)), target_joints=np.zeros((steps, 7)))
        poses = np.tile([0, 0, 0, 0, 0, 0, 1.0], (steps, 1))
        np.save(writer.folder("actions") / EEF_FILE, poses)
        np.save(writer.folder("actions") / TARGET_FILE, poses)
        (writer.folder("videos") / "1.mp4").write_bytes(b"x")
        (writer.folder("actions") / "episode.json").write_text(json.dumps({"index": number}))


def test_numbers_survive_gaps_and_order(tmp_path: Path) -> None:
    """Episodes 10, 0 and 2 are 0, 2 and 10, each with its own data."""
    folder = EpisodeFolder(tmp_path)
    for number in (10, 0, 2):
        write(folder, number)
    assert folder.numbers() == [0, 2, 10]
    assert [float(folder.load(n).joints[0, 0]) for n in folder.numbers()] == [0.0, 2.0, 10.0]


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    """An episode that could not be finished is not there at all."""
    folder = EpisodeFolder(tmp_path)
    with pytest.raises(RuntimeError), folder.writer(3) as writer:
        (writer.folder("videos") / "1.mp4").write_bytes(b"x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_kill_while_writing_is_named_and_the_next_run_finishes(tmp_path: Path) -> None:
    """After kill -9 the episode counts as interrupted, and writing it again works."""
    program = f"""
import time
from ladle.episode import EpisodeFolder
with EpisodeFolder({str(tmp_path)!r}).writer(4) as writer:
    (writer.folder("videos") / "1.mp4").write_bytes(b"x")
    print("there", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    folder = EpisodeFolder(tmp_path)
    assert folder.numbers() == []
    assert folder.incomplete() == {4: "extraction was interrupted"}
    with pytest.raises(EpisodeError, match="interrupted"):
        folder.load(4)
    write(folder, 4)
    assert folder.numbers() == [4]
    assert folder.incomplete() == {}


def test_an_episode_is_replaced_only_on_request(tmp_path: Path) -> None:
    """The second writer is refused without override and replaces everything with it."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    with pytest.raises(EpisodeError, match="--override"):
        write(folder, 0, steps=7)
    write(folder, 0, steps=7, override=True)
    assert len(folder.load(0)) == 7


def test_arrays_of_different_length_are_refused(tmp_path: Path) -> None:
    """To construct is to validate."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / EEF_FILE, np.tile([0, 0, 0, 0, 0, 0, 1.0], (4, 1)))
    with pytest.raises(EpisodeError, match="one clock"):
        folder.load(0)


def test_labels_survive_a_kill_in_the_middle_of_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between moving the old episode away and the new one in, people's labels can still be found."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / "annotations_video.npy", np.array([0, 1, 2]))
    real_rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if target == folder.action_folder(0):
            raise KeyboardInterrupt
        return real_rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        write(folder, 0, override=True)
    monkeypatch.undo()
    assert folder.numbers() == []
    labels = folder.frame_labels(0)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]
    write(folder, 0)
    assert not (tmp_path / ".replaced-0").exists()


def test_unfinished_labels_go_on_with_the_replaced_episode(tmp_path: Path) -> None:
    """--override in the middle of labelling throws no label away."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / PARTIAL_LABELS_FILE, np.array([0, 1, -1]))
    write(folder, 0, override=True)
    assert np.load(folder.action_folder(0) / PARTIAL_LABELS_FILE).tolist() == [0, 1, -1]


@pytest.mark.parametrize("step", range(16))
def test_a_death_at_any_step_of_replacing_loses_neither_episode_nor_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int,
) -> None:
    """Whichever name changes last: labels are found at once, and the old or the new episode is there after recovery."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / LABELS_FILE, np.array([0, 1, 2]))
    with monkeypatch.context() as patched:
        die_at(patched, step)
        with contextlib.suppress(KeyboardInterrupt):
            write(folder, 0, steps=7, override=True)
    labels = folder.frame_labels(0)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]
    folder.recover()
    assert folder.numbers() == [0]
    assert len(folder.load(0)) in (5, 7)
    assert list(damaged_files(tmp_path, 0)) == []
    assert np.load(folder.action_folder(0) / LABELS_FILE).tolist() == [0, 1, 2]
    assert not list(tmp_path.glob(".*"))
    write(folder, 0, steps=9, override=True)
    assert len(folder.load(0)) == 9


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("has_checksums", [True, False])
def test_a_death_at_any_step_of_an_edit_costs_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, has_checksums: bool,
) -> None:
    """Also of an episode from before checksums were kept, which still has none: what changed since must not pass."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    if not has_checksums:
        (folder.action_folder(0) / CHECKSUMS_FILE).unlink()
    with monkeypatch.context() as patched:
        die_at(patched, step)
        with contextlib.suppress(KeyboardInterrupt), edited_actions(tmp_path, 0) as actions:
            (actions / "mass.txt").write_text("0 9.5\n")
    folder.recover()
    assert folder.load(0).mass_g in (None, 9.5)
    assert (folder.video_folder(0) / "1.mp4").read_bytes() == b"x"
    assert list(damaged_files(tmp_path, 0)) == []
    assert (folder.action_folder(0) / CHECKSUMS_FILE).exists() == has_checksums


def test_labels_made_after_a_kill_outlive_the_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new episode waits in .ready-0 with older labels; a person labels the old one, which is still there."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / LABELS_FILE, np.array([0, 0, 0]))
    with monkeypatch.context() as patched:
        patched.setattr(episode_commit, "move_into_place", killed)
        with pytest.raises(KeyboardInterrupt):
            write(folder, 0, steps=7, override=True)
    assert (tmp_path / ".ready-0").is_dir()
    np.save(folder.action_folder(0) / LABELS_FILE, np.array([1, 1, 1]))
    folder.recover()
    assert len(folder.load(0)) == 7
    assert np.load(folder.action_folder(0) / LABELS_FILE).tolist() == [1, 1, 1]


@pytest.mark.parametrize("has_checksums", [True, False])
@pytest.mark.parametrize("by", ["extraction", "edit"])
def test_what_people_put_beside_an_episode_goes_over_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, has_checksums: bool,
) -> None:
    """Notes in any of its folders, those of the time after a kill too; they may change without being damage."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    if not has_checksums:
        (folder.action_folder(0) / CHECKSUMS_FILE).unlink()
    notes = [folder.action_folder(0) / "notes.txt", folder.video_folder(0) / "seen/notes.txt"]
    for round_ in range(3):
        for path in notes:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"spilt {round_}")
        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            if round_ == 1:
                patched.setattr(episode_commit, "move_into_place", killed)
            if by == "extraction":
                write(folder, 0, override=True)
            else:
                with edited_actions(tmp_path, 0) as actions:
                    (actions / "mass.txt").write_text(f"0 {round_}\n")
        if round_ == 1:
            notes[0].write_text("wiped up")
            folder.recover()
            assert notes[0].read_text() == "wiped up"
        else:
            assert notes[0].read_text() == f"spilt {round_}"
        assert notes[1].read_text() == f"spilt {round_}"
        assert list(damaged_files(tmp_path, 0)) == []
        assert len(folder.load(0)) == 5


def killed(*_: Any) -> None:
    """Instead of what comes next."""
    raise KeyboardInterrupt


def die_at(patched: pytest.MonkeyPatch, step: int) -> None:
    """After `step` changes of names nothing on the disk changes any more, not even by cleaning up."""
    left = [step]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] <= 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments, **options)
        return call

    patched.setattr(Path, "rename", dying(Path.rename))
    patched.setattr(Path, "unlink", dying(Path.unlink))
    patched.setattr(shutil, "rmtree", dying(shutil.rmtree))


def test_labels_made_while_an_episode_is_extracted_again_are_taken_along(tmp_path: Path) -> None:
    """What people saved last counts, not what lay there at the start."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / LABELS_FILE, np.array([0, 0, 0]))
    with folder.writer(0, override=True) as writer:
        np.savez(writer.stamps, decision_s=np.ones(1), observation_s=np.ones(1), joints=np.ones((1, 7)),
                 target_joints=np.ones((1, 7)))
        np.save(writer.folder("actions") / LABELS_FILE, np.array([0, 0, 0]))
        (writer.folder("actions") / "episode.json").write_text("{}")
        np.save(folder.action_folder(0) / LABELS_FILE, np.array([2, 2, 2]))
    assert np.load(folder.action_folder(0) / LABELS_FILE).tolist() == [2, 2, 2]


def test_parts_that_only_the_older_episode_had_go_with_it(tmp_path: Path) -> None:
    """A new episode without videos does not show the old ones."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    with folder.writer(0, override=True) as writer:
        np.savez(writer.stamps, decision_s=np.ones(1), observation_s=np.ones(1), joints=np.ones((1, 7)),
                 target_joints=np.ones((1, 7)))
        (writer.folder("actions") / "episode.json").write_text("{}")
    assert not folder.video_folder(0).exists()


def test_two_writers_of_one_episode_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused while the first is at work; the next run does not clear the first one's work away."""
    monkeypatch.setattr(episode_commit, "WAIT_FOR_WRITER_S", 0.05)
    folder = EpisodeFolder(tmp_path)
    with folder.writer(0) as writer:
        np.savez(writer.stamps, decision_s=np.ones(1), observation_s=np.ones(1), joints=np.ones((1, 7)),
                 target_joints=np.ones((1, 7)))
        folder.recover()
        with pytest.raises(EpisodeError, match="another process"):
            write(folder, 0)
        (writer.folder("actions") / "episode.json").write_text("{}")
    assert len(folder.load(0)) == 1


def test_writers_that_wait_for_each_other_all_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is done before the next begins, and none loses what it stages in."""
    monkeypatch.setattr(episode_commit, "WAIT_FOR_WRITER_S", 120.0)  # on a loaded machine all others may come first
    folder = EpisodeFolder(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: write(folder, 0, steps=n, override=True), range(2, 22)))
    assert folder.numbers() == [0]
    assert not list(tmp_path.glob(".*"))


def test_an_episode_on_another_machine_is_left_to_repair(tmp_path: Path) -> None:
    """Its folder stays when the next run begins, and who wants to write it is told what to do."""
    staging = tmp_path / ".partial-0"
    staging.mkdir()
    Owner("another", "boot", 1, "1").write(staging)
    folder = EpisodeFolder(tmp_path)
    folder.recover()
    assert staging.is_dir()
    with pytest.raises(EpisodeError, match="ladle repair"):
        write(folder, 0)


@pytest.mark.parametrize(("name", "tick", "value"), [("decision_s", 2, 0.36), ("observation_s", 1, 0.16)])
def test_times_that_run_backwards_are_refused(tmp_path: Path, name: str, tick: int, value: float) -> None:
    """No two ticks at one instant, and nothing seen after it was decided on."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    stamps = folder.stamps(0)
    stamps[name][tick:tick + (2 if name == "decision_s" else 1)] = value
    np.savez(tmp_path / "stamps/0.npz", allow_pickle=False, **stamps)
    with pytest.raises(EpisodeError, match="must increase and observations precede"):
        folder.load(0)


@pytest.mark.parametrize("name", [EEF_FILE, TARGET_FILE])
def test_quaternions_of_another_length_are_refused(tmp_path: Path, name: str) -> None:
    """Of the targets too, which the policy learns."""
    folder = EpisodeFolder(tmp_path)
    write(folder, 0)
    np.save(folder.action_folder(0) / name, np.tile([0, 0, 0, 0, 0, 0, 0.9], (5, 1)))
    with pytest.raises(EpisodeError, match="unit length"):
        folder.load(0)
