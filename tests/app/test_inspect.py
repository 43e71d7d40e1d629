"""`ladle inspect`, `verify` and `repair` as people call them, on genuine recordings and data sets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

from app.inspection import as_text, markdown_table
from ladle.replay_buffer import ReplayBufferWriter, zip_replay_buffer
from ladle.task import load_task, task_text
from read_sensors_utils.inspection import BagReport, TopicReport
from read_sensors_utils.stream_health import measure

BEGIN, END = "<!-- recordings: begin -->\n", "<!-- recordings: end -->\n"


def ladle(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run([sys.executable, "-m", "app.cli", *map(str, arguments)], capture_output=True, text=True,
                          check=False, timeout=120)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system with the options given; skips where that is not allowed."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"mount{len(made)}"
        folder.mkdir()
        if shutil.which("mount") is None or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False,
        ).returncode != 0:
            pytest.skip("needs to mount a file system")
        made.append(folder)
        return folder

    yield mount
    for folder in made:
        subprocess.run(["umount", str(folder)], check=False)


def test_the_table_of_the_documentation_is_what_the_command_prints(root: Path, shared_data: Path) -> None:
    """Counts and refusals of every genuine recording."""
    text = (root / "docs/data_format.md").read_text()
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert markdown_table(shared_data / "bags") == table
    files = [path for path in (shared_data / "bags").rglob("*") if path.is_file() and "metadata" not in path.name]
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    for path in files:
        name = path.relative_to(shared_data / "bags").as_posix()
        assert any(name == row or name.startswith(f"{row}/") for row in rows), f"{name} is in no row"


def test_a_recording_as_table_and_as_json(shared_data: Path) -> None:
    """50 Hz for 21 s, in simulation time; nothing is hidden from the numbers."""
    bag = shared_data / "bags/ros2_db3/ur3_move"
    text = ladle("inspect", bag).stdout
    assert "21.042 s, 1052 messages" in text
    assert "simulation clock" in text
    found = json.loads(ladle("inspect", bag, "--json").stdout)
    topic, = found["topics"]
    assert (topic["topic"], topic["count"]) == ("/joint_states", 1052)
    assert topic["health"]["rate_hz"] == pytest.approx(50.0, abs=0.1)


def test_data_sets_of_other_kinds_are_inspected_and_verified(shared_data: Path) -> None:
    """Zarr, HDF5 and LeRobot; a broken total is a fault with exit code 2."""
    for name, words, code in (
        ("pusht_cchi_v7_replay.zarr", "206 episodes, 25650 steps", 0),
        ("lerobot/v30_so101_real_6ep", "6 episodes, 1782 steps, 30 Hz", 0),
        ("hdf5/robosuite_stack_panda.hdf5", "532 steps", 2),
    ):
        inspected, verified = ladle("inspect", shared_data / name), ladle("verify", shared_data / name)
        assert inspected.returncode == 0, inspected.stderr
        assert words in inspected.stdout
        assert verified.returncode == code, verified.stdout + verified.stderr


def test_what_is_not_known_is_one_line(tmp_path: Path) -> None:
    """Exit code 2, the path, and what is expected."""
    for command in ("inspect", "verify", "repair"):
        done = ladle(command, tmp_path / "nothing")
        assert done.returncode == 2
        line, = done.stderr.strip().splitlines()
        assert str(tmp_path / "nothing") in line


def write_buffer(path: Path, edit: Callable[[dict[str, np.ndarray]], object] = lambda _: None) -> Path:
    """A scoop buffer of two episodes, the second one edited."""
    with ReplayBufferWriter(path, {"task": task_text(load_task("scoop")), "episodes": [0, 4]}) as writer:
        for last in (False, True):
            pose = np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (5, 1))
            streams = {"eef": pose.copy(), "action": pose.copy(), "label": np.ones((5, 1), np.float32)}
            if last:
                edit(streams)
            writer.append_episode(streams)
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("edit", "words"), [
    (lambda s: s["eef"].__setitem__((2, 0), np.inf), "data/eef in episode 1 (in order) is not finite"),
    (lambda s: s["action"].__setitem__((2, 6), 0.5), "not of unit length at tick 2"),
    (lambda s: s["action"].__setitem__((slice(2, None), 6), -1.0), "changes its sign after tick 1"),
    (lambda s: s["eef"].__setitem__((2, 6), 0.5), "quaternion of data/eef in episode 1 (in order) is not of unit"),
    (lambda s: s["label"].__setitem__((0, 0), 3), "holds 3, expected 0 to 2"),
])
def test_faults_of_a_replay_buffer_are_named(tmp_path: Path, zipped: bool, edit, words: str) -> None:
    """In the folder and in the zip; a sound one has none."""
    from app.verification import verify

    for buffer, expected in ((write_buffer(tmp_path / "a.zarr"), ""), (write_buffer(tmp_path / "b.zarr", edit), words)):
        verdict = verify(zip_replay_buffer(buffer) if zipped else buffer)
        assert [words in str(fault) for fault in verdict.faults] == [True] * bool(expected), verdict.faults


def test_an_undecodable_chunk_is_named(tmp_path: Path) -> None:
    """In a folder by its codec, in a zip by its CRC."""
    from app.verification import verify

    path = write_buffer(tmp_path / "a.zarr")
    archive = zip_replay_buffer(path)
    (path / "data/eef/0.0").write_bytes(b"no chunk")
    assert "data/eef cannot be decoded" in str(verify(path).faults[0])
    content = bytearray(archive.read_bytes())
    content[content.index(b"data/eef/0.0") + 40] ^= 1
    archive.write_bytes(content)
    assert "data/eef/0.0" in str(verify(archive).faults[0])


@pytest.mark.parametrize("zipped", [False, True])
def test_a_lost_chunk_is_a_fault_where_it_is_known_and_else_a_note(tmp_path: Path, zipped: bool) -> None:
    """A chunk that is gone decodes to zeros; buffers of others may lack those of zeros."""
    from app.verification import verify

    path = write_buffer(tmp_path / "a.zarr", lambda s: s["label"].fill(0))
    assert verify(zip_replay_buffer(path) if zipped else path).notes == []
    (path / "data/label/0.0").unlink()
    fault, = verify(zip_replay_buffer(path) if zipped else path).faults
    assert "data/label lacks 1 of its 1 chunks" in fault.what
    assert "make it again" in fault.remedy
    other = tmp_path / "other.zarr"
    root = zarr.open_group(other, mode="w", zarr_format=2)
    root.create_array("data/action", data=np.zeros((3, 2)))
    root.create_array("meta/episode_ends", data=np.array([3]))
    verdict = verify(zip_replay_buffer(other) if zipped else other)
    assert verdict.faults == []
    note, = verdict.notes
    assert "data/action lacks 1 of its 1 chunks" in note
    assert "cannot be known" in note


@pytest.mark.parametrize("options", ["size=100k", "ro"])
def test_a_full_or_read_only_disk_is_one_line(mounted, tmp_path: Path, options: str) -> None:
    """For extraction, conversion and repair: exit code 2, one line that names the cause; nothing half-written."""
    from app.benchmarks.recording import benchmark_task, write_recording

    bag = write_recording(tmp_path / "bags", "mcap", 1.0, size_px=(160, 120), distinct_frames=4)
    task = tmp_path / "task.yaml"
    task.write_text(task_text(benchmark_task(120, 60)))
    sound = tmp_path / "sound"
    assert ladle("extract", "--path-load", bag, "--path-save", sound, "--task", task).returncode == 0
    np.save(sound / "actions/0/annotations_video.npy", np.zeros(30, np.int64))
    assert ladle("extract", "--path-load", bag, "--path-save", sound, "--task", task).returncode == 0
    disk = mounted(options)
    cause = "no space left" if options != "ro" else "read-only"
    for command in (
        ("extract", "--path-load", bag, "--path-save", disk / "out", "--task", task),
        ("convert", "--dataset-path", sound, "--output", disk / "a.zarr"),
        ("convert", sound, disk / "b.zarr.zip"),
    ):
        done = ladle(*command)
        assert done.returncode == 2, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("E ")]
        assert len(lines) == 1, done.stderr
        assert cause in lines[0].lower(), lines[0]
        assert "Traceback" not in done.stderr
    assert not [path for path in disk.rglob("*") if path.is_file()]


def test_one_broken_recording_hides_none_of_the_others(tmp_path: Path, shared_data: Path) -> None:
    """It is an entry with its reason; only when none can be read the exit code is 2."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.mcap").write_bytes(b"no recording")
    assert ladle("inspect", tmp_path).returncode == 2
    (tmp_path / "whole").symlink_to(shared_data / "bags/ros2_mcap")
    (tmp_path / "turtle.bag").symlink_to(shared_data / "bags/ros1/turtlesim_none.bag")
    done = ladle("inspect", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'a.mcap'}  (mcap)\ncannot be read: " in done.stdout
    assert "(ROS 1)" in done.stdout
    entries = json.loads(ladle("inspect", tmp_path, "--json").stdout)
    assert [("error" in entry, Path(entry["path"]).name) for entry in entries] == [
        (True, "a.mcap"), (True, "b.mcap"), (False, "turtle.bag")]


def test_neither_file_nor_folder_is_one_line(tmp_path: Path) -> None:
    """A pipe would be waited for, a device read for ever."""
    for name in ("x.mcap", "x.zarr.zip"):
        os.mkfifo(tmp_path / name)
    for path in (Path("/dev/null"), tmp_path / "x.mcap", tmp_path / "x.zarr.zip"):
        done = ladle("inspect", path)
        assert done.returncode == 2
        line, = done.stderr.strip().splitlines()
        assert f"{path} is neither a file nor a folder" in line


def test_an_episode_with_torn_stamps_is_named(tmp_path: Path) -> None:
    """The report goes on; with no other episode left the exit code is 2."""
    (tmp_path / "actions/4").mkdir(parents=True)
    (tmp_path / "actions/4/episode.json").write_text("{}")
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps/4.npz").write_bytes(b"PK\x03\x04 torn")
    done = ladle("inspect", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "damaged: episode 4: " in done.stdout
    assert "Traceback" not in done.stderr


def test_an_empty_lerobot_description_is_called_so(tmp_path: Path) -> None:
    """Not a version to be converted from."""
    (tmp_path / "set/meta").mkdir(parents=True)
    (tmp_path / "set/meta/info.json").write_text("{}")
    assert "names no codebase_version" in ladle("inspect", tmp_path / "set").stderr


def test_what_data_take_on_their_way_is_printed_for_the_task_file() -> None:
    """A line to be copied, where the delay would not pass without a word; none for a quick stream or another clock."""
    stamps = np.arange(100) * 33_000_000 + 1_700_000_000 * 10**9
    topics = [TopicReport(name, "sensor_msgs/msg/Image", 100, health=measure(stamps, stamps + round(delay_s * 1e9)))
              for name, delay_s in (("/slow", 0.03), ("/quick", 0.002), ("/simulation", 1.7e9))]
    report = BagReport(Path("bag"), "mcap", 1, int(stamps[0]), 3.3, 300, topics)
    lines = [line for line in as_text([report]).splitlines() if "transport_s" in line]
    assert lines == ["    transport_s: 0.0300  # /slow"]
    assert yaml.safe_load(lines[0]) == {"transport_s": 0.03}


@pytest.mark.parametrize("numbers", [[0], [0, 4, 7]])
def test_a_buffer_that_names_other_episodes_than_it_holds_is_a_fault(tmp_path: Path, numbers: list[int]) -> None:
    """Whoever looks up an episode by its number would be shown another one."""
    from app.verification import verify

    with ReplayBufferWriter(tmp_path / "a.zarr", {"episodes": numbers}) as writer:
        for _ in range(2):
            writer.append_episode({"action": np.zeros((5, 2), np.float32)})
    [fault] = verify(tmp_path / "a.zarr").faults
    assert f"names {len(numbers)} episodes and holds 2" in str(fault)
