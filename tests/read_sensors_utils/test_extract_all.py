"""A folder of recordings: numbers, re-runs, kills, full disks, and one line for every user error."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ladle.episode import EpisodeFolder
from ladle.errors import BagError, ConfigError, EpisodeError, LabelError
from ladle.task import task_text
from read_sensors_utils import camera_recorder
from read_sensors_utils.annotations import interpolate_labels
from read_sensors_utils.extract_all import extract_all, extract_and_tell
from read_sensors_utils.storage import chunked, sqlite

SCRIPT = Path("read_sensors_utils") / "format_data_replay_buffer.py"


def command(root: Path, *arguments: object) -> list[str]:
    """The script with arguments."""
    return [sys.executable, str(root / SCRIPT), *map(str, arguments)]


def run(root: Path, cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script from another folder."""
    return subprocess.run(command(root, *arguments), cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def task_file(tmp_path, small_task) -> Path:
    """The small task as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(task_text(small_task))
    return path


def test_numbers_survive_a_gap(recordings, tmp_path, small_task):
    """Recordings 0 and 2 become episodes 0 and 2 with their own masses."""
    summary = extract_all(recordings([0, 2]), tmp_path / "out", small_task, workers=1)
    assert summary.extracted == (0, 2)
    episodes = EpisodeFolder(tmp_path / "out")
    assert {number: episodes.load(number).mass_g for number in episodes.numbers()} == {0: 10.0, 2: 12.0}


def test_a_missing_mass_is_found_before_any_work(recordings, tmp_path, small_task):
    """The recording without a row is named; nothing is written."""
    folder = recordings([0, 2])
    (folder / "data.csv").write_text("index,mass\n0,1\n")
    with pytest.raises(BagError, match="recording 2 has no row"):
        extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert not (tmp_path / "out").exists()


def test_a_row_without_a_recording_is_named(recordings, tmp_path, small_task, caplog):
    """A recording that was not copied is missed at once; one that is asked for alone has no use for the others."""
    folder = recordings([0])
    (folder / "data.csv").write_text("index,mass\n0,1\n2,1\n5,1\n")
    extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert f"data.csv has a row for 2, 5, and there is no such recording in {folder}" in caplog.messages
    caplog.clear()
    extract_all(folder / "rosbag_0", tmp_path / "out", small_task, workers=1)
    assert not [message for message in caplog.messages if "data.csv" in message]


def test_a_second_run_does_only_what_is_missing(recordings, tmp_path, small_task):
    """Complete episodes are untouched; another task's are refused; --override makes them again."""
    folder = recordings([0])
    extract_all(folder, tmp_path / "out", small_task, workers=1)
    made = tmp_path / "out/actions/0/episode.json"
    before_ns = made.stat().st_mtime_ns
    summary = extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert (summary.extracted, summary.skipped) == ((), (0,))
    assert made.stat().st_mtime_ns == before_ns
    other = dataclasses.replace(small_task, rate_hz=5.0)
    with pytest.raises(EpisodeError, match="another task file"):
        extract_all(folder, tmp_path / "out", other, workers=1)
    extract_all(folder, tmp_path / "out", other, override=True, workers=1)
    assert EpisodeFolder(tmp_path / "out").load(0).description["rate_hz"] == 5.0


def test_one_bad_recording_costs_none_of_the_others(recordings, tmp_path, small_task):
    """The others are extracted, the bad one is named at the end."""
    folder = recordings([0, 1, 2])
    next((folder / "rosbag_1").glob("*.mcap")).write_bytes(b"\x89MCAP0\r\n cut")
    with pytest.raises(BagError, match=r"1 of 3 recordings .* recording 1: .* is empty: it holds no messages"):
        extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert EpisodeFolder(tmp_path / "out").numbers() == [0, 2]


def files_of(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("storage", ["mcap", "db3", "ros1"])
def test_processes_change_no_byte(synthetic, tmp_path, small_task, storage, monkeypatch):
    """One recording in one process and with three for its frames: all files are equal, the videos too."""
    path = synthetic.write_bag(tmp_path / "bags" / ("0.bag" if storage == "ros1" else "rosbag_0"),
                               synthetic.BagPlan(storage=storage))
    task = dataclasses.replace(small_task, mass=False)
    monkeypatch.setattr(chunked, "BEGIN_BYTES", 256)  # so that the small images here count as large
    monkeypatch.setattr(sqlite, "BEGIN_BYTES", 256)
    for workers in (1, 3):
        extract_all(path, tmp_path / str(workers), task, workers=workers)
    one, three = files_of(tmp_path / "1"), files_of(tmp_path / "3")
    assert set(one) == set(three)
    assert not [name for name in one if one[name] != three[name]]
    assert sum(name.endswith((".mp4", ".avi")) for name in one) == 3


def test_processes_leave_out_the_same_damaged_rows(synthetic, tmp_path, small_task, monkeypatch, caplog):
    """A row's pages lead nowhere, which only the process that reads the pixels meets: the recording is read again."""
    path = synthetic.write_bag(tmp_path / "bags" / "rosbag_0", synthetic.BagPlan(storage="db3"))
    [file] = path.glob("*.db3")
    with closing(sqlite3.connect(file)) as database:  # pages so small that an image has several
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("PRAGMA page_size=512")
        database.execute("VACUUM")
    content = bytearray(file.read_bytes())
    pixels = synthetic.image_of(1000).tobytes()  # of the frame taken after a second
    at = next(at for at in range(0, len(content), 512) if content[at + 4 : at + 508] in pixels)
    pointer = (at // 512 + 1).to_bytes(4, "big")
    to_page = next(n for n in range(len(content)) if content[n : n + 4] == pointer and content[n - 99 : n] in pixels)
    content[to_page : to_page + 4] = b"\x00\xff\xff\xff"
    file.write_bytes(content)
    task = dataclasses.replace(small_task, mass=False)
    monkeypatch.setattr(sqlite, "BEGIN_BYTES", 256)
    caplog.set_level("INFO")
    for workers in (1, 3):
        extract_all(path, tmp_path / str(workers), task, workers=workers)
    assert "reading the recording once more" in caplog.text
    assert files_of(tmp_path / "1") == files_of(tmp_path / "3")
    assert "malformed" in str(EpisodeFolder(tmp_path / "3").load(0).description["source"]["losses"])


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(root, recordings, tmp_path, task_file):
    """A cluster on this machine, by the script; a recording that fails is named as it is without Ray."""
    pytest.importorskip("ray")
    folder = recordings([0, 1])
    (tmp_path / "home").mkdir()
    arguments = ("--path-load", folder, "--task", task_file, "--workers", 2)
    env = os.environ | {"HOME": str(tmp_path / "home"), "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-")}
    by_ray = subprocess.run(command(root, *arguments, "--path-save", tmp_path / "ray", "--ray", "local"), env=env,
                            capture_output=True, text=True, timeout=300, check=False)
    shutil.rmtree(env["RAY_TMPDIR"], ignore_errors=True)
    assert by_ray.returncode == 0, by_ray.stderr
    assert run(root, tmp_path, *arguments, "--path-save", tmp_path / "here").returncode == 0
    here, there = files_of(tmp_path / "here"), files_of(tmp_path / "ray")
    assert set(here) == set(there)
    assert not [name for name in here if here[name] != there[name]]


def test_ray_is_asked_for_in_one_line(recordings, tmp_path, small_task, monkeypatch):
    """Without the package the error says how to get it."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'ladle\[cluster\]'"):
        extract_all(recordings([0]), tmp_path / "out", small_task, ray_address="local")


def test_processes_give_the_same_episodes(recordings, tmp_path, small_task):
    """Two workers, same bytes as one."""
    folder = recordings([0, 1])
    extract_all(folder, tmp_path / "one", small_task, workers=1)
    extract_all(folder, tmp_path / "two", small_task, workers=2)
    for number in (0, 1):
        one, two = (EpisodeFolder(tmp_path / name).load(number) for name in ("one", "two"))
        np.testing.assert_array_equal(one.eef, two.eef)
        np.testing.assert_array_equal(one.frames["camera_1"][:], two.frames["camera_1"][:])


@pytest.mark.parametrize("where", ["frames", "video"])
def test_a_full_disk_leaves_nothing_half_written(recordings, tmp_path, small_task, monkeypatch, where):
    """The first episode stays, the second is not to be seen, the third is not tried; then a re-run finishes."""
    folder, calls = recordings([0, 1, 2]), []
    owner: type = camera_recorder.TickFrames if where == "frames" else camera_recorder.VideoWriter
    name = "finish" if where == "frames" else "write"
    original = getattr(owner, name)

    def full(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > (2 if where == "frames" else 200):  # two arrays, or three videos of 60 frames, an episode
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full)
        with pytest.raises(EpisodeError, match=r"no space left .* episode 1"):
            extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert EpisodeFolder(tmp_path / "out").numbers() == [0]
    assert not list((tmp_path / "out").glob(".partial*"))
    assert extract_all(folder, tmp_path / "out", small_task, workers=1).extracted == (1, 2)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), BagError("torn frame")])
def test_an_error_in_a_process_ends_the_recording(recordings, tmp_path, small_task, monkeypatch, error):
    """It comes out as it would in one process; nothing is left, no process goes on."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(camera_recorder.VideoWriter, "write", fail)
    with pytest.raises(EpisodeError if isinstance(error, OSError) else BagError, match=r"no space left|torn frame"):
        extract_all(recordings([0]), tmp_path / "out", small_task, workers=3)
    assert not list((tmp_path / "out").glob("**/*.mp4"))
    assert not multiprocessing.active_children()


def test_a_write_error_of_the_real_script_is_one_line(root, recordings, tmp_path, task_file):
    """With files limited to 2 kB the system itself refuses to write: exit code 2, one line, nothing left."""
    folder = recordings([0])
    arguments = command(root, "--path-load", folder, "--path-save", tmp_path / "out", "--task", task_file)
    result = subprocess.run(["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *arguments], capture_output=True,
                            text=True, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith("E ladle: no space left in")
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").glob("**/*.json"))
    assert not list((tmp_path / "out").glob(".partial*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_leaves_nothing_that_looks_finished(root, synthetic, recordings, tmp_path, task_file, workers):
    """Killed in the middle, run again: all episodes are whole and no partial folder is left."""
    folder = recordings([0, 1, 2, 3], synthetic.BagPlan(duration_s=6.0))
    out = tmp_path / "out"
    arguments = ("--path-load", folder, "--path-save", out, "--task", task_file, "--workers", workers)
    process = subprocess.Popen(command(root, *arguments), stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while not list(out.glob(".partial-*/videos/*/1.mp4")) and time.monotonic() < deadline_s:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    partial = list(out.glob(".partial-*"))
    episodes = EpisodeFolder(out)
    assert partial
    assert len(episodes.numbers()) < 4
    assert set(episodes.incomplete()) >= {int(path.name.removeprefix(".partial-")) for path in partial}
    again = run(root, tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert episodes.numbers() == [0, 1, 2, 3]
    assert not list(out.glob(".partial-*"))
    assert all(len(episodes.load(number)) >= 58 for number in range(4))


def test_no_process_outlives_a_killed_extraction(root, synthetic, recordings, tmp_path, task_file):
    """The processes that work on the frames die with the one that reads, whatever they are doing."""
    arguments = ("--path-load", recordings([0], synthetic.BagPlan(duration_s=6.0)), "--path-save", tmp_path / "out",
                 "--task", task_file, "--workers", 2)
    process = subprocess.Popen(command(root, *arguments), stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    videos = (f".partial-0/videos/0/{n}.mp4" for n in (0, 1))  # one of each process: both are at work
    for video in videos:
        while not (tmp_path / "out" / video).exists() and time.monotonic() < deadline_s:
            time.sleep(0.002)
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    # Stopped, they can neither finish nor notice anything by themselves: only the kernel can end them.
    for pid in found:
        os.kill(int(pid), signal.SIGSTOP)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(found) == 2
    while any(_lives(pid) for pid in found) and time.monotonic() < deadline_s:
        time.sleep(0.002)
    assert not any(_lives(pid) for pid in found)


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("case", "words"), [
    ("empty folder", "no recordings in"),
    ("no joints", "/camera/depth/image_raw (sensor_msgs/msg/Image)"),
    ("no tip", "panda_hand"),
    ("no mass table", "no data.csv"),
    ("no labels", "has no labels"),
    ("unknown task", "known"),
])
def test_user_errors_are_one_line_and_exit_code_2(root, synthetic, recordings, tmp_path, task_file, case, words):
    """The last line of stderr says it all; there is no traceback and no half-written episode."""
    plan = {"no joints": {"without": ("/joint_states",)}, "no tip": {"tip": "tool"}}.get(case, {})
    folder = recordings([] if case == "empty folder" else [4], synthetic.BagPlan(duration_s=1.0, **plan))
    out = tmp_path / "out"
    arguments: list[object] = ["--path-load", folder, "--path-save", out, "--task", task_file]
    if case == "no mass table":
        (folder / "data.csv").unlink()
    if case == "no labels":
        assert run(root, tmp_path, *arguments).returncode == 0
        arguments = ["--path-save", out, "--task", task_file, "--annotations"]
    if case == "unknown task":
        arguments[-1] = "stirring"
    result = run(root, tmp_path, *arguments)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2
    assert lines[-1].startswith("E ladle: ")
    assert words in lines[-1]
    assert "Traceback" not in result.stderr
    assert case == "no labels" or not list(out.glob("**/*"))


def test_labels_come_with_the_next_run(recordings, tmp_path, small_task):
    """After labelling, the same command or interpolate_labels adds the tick labels; the unlabelled are named."""
    folder = recordings([0, 1])
    extract_all(folder, tmp_path / "out", small_task, workers=1)
    episodes = EpisodeFolder(tmp_path / "out")
    labels = np.repeat([0, 1, 2], 20)
    np.save(episodes.action_folder(0) / "annotations_video.npy", labels)
    summary = extract_all(folder, tmp_path / "out", small_task, workers=1)
    assert summary.labelled == (0,)
    np.testing.assert_array_equal(episodes.load(0).labels, labels[episodes.stamps(0)["frame_index_camera_1"]])
    with pytest.raises(LabelError, match="episode 1 has no labels"):
        interpolate_labels(episodes, small_task, required=True)
    np.save(episodes.action_folder(1) / "annotations_video.npy", labels[:-1])
    assert interpolate_labels(episodes, small_task, required=False) == [0]
    with pytest.raises(LabelError, match="episode 1: 59 labels for 60 frames"):
        interpolate_labels(episodes, small_task, required=True)


def test_a_genuine_recording_extracts_by_the_script(root, shared_data, tmp_path):
    """The command of the documentation on a UR3 without cameras."""
    result = run(root, tmp_path, "--path-load", shared_data / "bags/ros2_db3/ur3_move", "--path-save", tmp_path / "out",
                 "--task", "ur3_joints")
    assert result.returncode == 0, result.stderr
    assert len(EpisodeFolder(tmp_path / "out").load(0)) == 210


def test_definitions_reach_the_recording(recordings, tmp_path, small_task):
    """A folder of types that is not there is refused by name, before anything is written."""
    with pytest.raises(BagError, match="no_such_folder"):
        extract_all(recordings([0]), tmp_path / "out", small_task, workers=1, definitions=[tmp_path / "no_such_folder"])
    assert EpisodeFolder(tmp_path / "out").numbers() == []


def test_every_failure_and_the_progress_are_told(recordings, tmp_path, small_task, caplog):
    """A line for each recording that fails, with its reason; the closing line says whose recording was damaged."""
    folder = recordings([0, 1, 2, 3])
    for number in (1, 2):
        next((folder / f"rosbag_{number}").glob("*.mcap")).write_bytes(b"no recording")
    options = {"override": False, "workers": 1, "ray_address": None, "definitions": ()}
    with caplog.at_level("INFO"), pytest.raises(BagError, match="2 of 4"):
        extract_and_tell(folder, tmp_path / "out", small_task, **options)
    for number in (1, 2):
        assert any(line.startswith(f"recording {number} was not extracted: ") for line in caplog.messages)
        shutil.rmtree(folder / f"rosbag_{number}")
    assert "4 of 4 recordings" in caplog.messages
    whole = next((folder / "rosbag_3").glob("*.mcap"))
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with caplog.at_level("INFO"):
        summary = extract_and_tell(folder, tmp_path / "again", small_task, **options)
    assert summary.damaged == (3,)
    assert "2 episodes extracted (of damaged recordings, as far as they go: 3), 0 were complete" in caplog.messages[-1]


def test_a_file_is_no_folder_of_episodes(recordings, tmp_path, small_task):
    """Said before any work begins."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EpisodeError, match=r"notes\.txt is a file"):
        extract_all(recordings([0]), tmp_path / "notes.txt", small_task, workers=1)
