"""A conversion is there whole or not at all, whatever stops it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ladle.atomic import set_aside
from ladle.errors import ReplayBufferError
from training.interop.convert import Choices, convert
from training.interop.staging import disk_errors, disk_refusal

from .conftest import assert_same_store

TARGETS = ["copy.zarr", "copy.zarr.zip", "copy.hdf5", "copy_lerobot"]
# Ends itself, as by kill -9, when the third episode is asked for.
KILLED = """
import os, signal, sys
from pathlib import Path
from training.interop import episode_set
from training.interop.convert import Choices, convert
check = episode_set.EpisodeSet._check
def dying(self, index, streams):
    if index == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    check(self, index, streams)
episode_set.EpisodeSet._check = dying
convert(sys.argv[1], sys.argv[2], Choices(override=True))
"""
# No file may grow beyond some bytes: a write fails half-way, as on a full disk.
FULL = """
import resource, sys
from ladle.script import run_script
from training.interop.convert import convert
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
run_script(lambda: convert(sys.argv[1], sys.argv[2]))
"""


def python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run some code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True,
                          check=False)


@pytest.mark.parametrize("name", TARGETS)
def test_kill_9_leaves_the_old_target_and_the_next_run_cleans_up(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """Half a data set is never seen under the target's name."""
    target = tmp_path / name
    assert python(KILLED, scoop_store, target).returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".partial-{name}", "scoop.zarr"]
    convert(scoop_store, target)
    assert python(KILLED, scoop_store, target).returncode == -signal.SIGKILL
    convert(target, tmp_path / "back.zarr")
    assert_same_store(scoop_store, tmp_path / "back.zarr")
    convert(scoop_store, target, Choices(override=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["back.zarr", name, "scoop.zarr"])


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path, scoop_store: Path) -> None:
    """The replaced target is put back by the next run, which then refuses to touch it."""
    source = convert(scoop_store, tmp_path / "other.hdf5")
    scoop_store.rename(set_aside(scoop_store))
    with pytest.raises(ReplayBufferError, match="exists"):
        convert(source, scoop_store)
    assert scoop_store.is_dir()


@pytest.mark.parametrize("name", TARGETS)
def test_an_existing_target_is_kept_unless_override_is_given(tmp_path: Path, scoop_store: Path, name: str) -> None:
    """Nothing is overwritten by accident, nothing is left over on purpose."""
    target = convert(scoop_store, tmp_path / name)
    with pytest.raises(ReplayBufferError, match="--override"):
        convert(scoop_store, target)
    convert(scoop_store, target, Choices(override=True))
    assert not list(tmp_path.glob(".*"))


def test_a_file_does_not_become_a_folder(tmp_path: Path, scoop_store: Path) -> None:
    """Whatever lies under the target's name is another kind of thing, and stays."""
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ReplayBufferError, match="remove it first"):
        convert(scoop_store, tmp_path / "notes", Choices(override=True))
    assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("limit_bytes", [100, 3000])
def test_a_disk_that_is_full_is_one_clear_line(tmp_path: Path, scoop_store: Path, name: str, limit_bytes: int) -> None:
    """The writes fail for real; the target is named, and nothing is left."""
    done = python(FULL, scoop_store, tmp_path / name, limit_bytes)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("E ")]
    assert len(lines) == 1
    assert name in lines[0]
    assert "may not grow" in lines[0]
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scoop.zarr"]


def test_a_folder_that_may_not_be_written_is_one_clear_line(tmp_path: Path, scoop_store: Path) -> None:
    """Nobody, not even root, makes folders in /sys; for others a folder without permission does."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    target = (Path("/sys") if os.geteuid() == 0 else closed) / "copy.zarr"
    with pytest.raises(ReplayBufferError, match=rf"cannot write {target}: .*(permission denied|read-only)"):
        convert(scoop_store, target)


@pytest.mark.parametrize(("error", "expected"), [
    (OSError(errno.ENOSPC, "x"), "no space"), (OSError(errno.EROFS, "x"), "read-only"),
    (PermissionError(errno.EACCES, "x"), "permission denied"),
    (RuntimeError("Can't write data (file write failed: errno = 28, error message = 'No space')"), "no space"),
])
def test_what_the_disk_says_is_understood(error: Exception, expected: str) -> None:
    """From the system and from HDF5's own texts."""
    assert expected in str(disk_refusal(error))


@pytest.mark.parametrize("error", [
    PermissionError(errno.EACCES, "x", "/data/source.hdf5"),
    OSError("Unable to open file (unable to open file: name = '/data/source.hdf5', errno = 13, error message = 'x')")])
def test_what_cannot_be_read_is_named_and_not_the_target(error: Exception) -> None:
    """Even where source and target lie in one folder."""
    with pytest.raises(ReplayBufferError, match=r"cannot read /data/source\.hdf5: EACCES.*rights"), \
            disk_errors(Path("/data/target.hdf5")):
        raise error
    for place in ("/data/.partial-target.hdf5/x", "/data/target.hdf5", "/data"):
        with pytest.raises(ReplayBufferError, match=r"cannot write /data/target\.hdf5: EACCES.*check the rights"), \
                disk_errors(Path("/data/target.hdf5")):
            raise PermissionError(errno.EACCES, "x", place)


def test_a_bug_is_no_disk_error() -> None:
    """It keeps its traceback."""
    assert disk_refusal(RuntimeError("other")) is None
    assert disk_refusal(OSError(errno.EBADF, "x")) is None


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("there", ["episodes", "recordings", "empty", "file", "link", "other kind", "mixed"])
def test_override_replaces_only_a_data_set_of_the_kind_that_is_written(tmp_path: Path, scoop_store: Path, name: str,
                                                                       there: str) -> None:
    """People's episodes, recordings and whatever else bears the name stay byte for byte."""
    target = tmp_path / name
    if there == "file":
        target.write_text("mine")
    elif there == "link":
        convert(scoop_store, tmp_path / f"linked_{name}")
        target.symlink_to(tmp_path / f"linked_{name}")
    elif there == "other kind":
        convert(scoop_store, tmp_path / ("other" if name != "copy_lerobot" else "other.zarr")).rename(target)
    elif there == "mixed":
        if name.endswith((".zip", ".hdf5")):
            pytest.skip("a file holds nothing else")
        convert(scoop_store, target)
        (target / "actions").mkdir()
    else:
        target.mkdir()
        if there == "episodes":
            (target / "actions/0").mkdir(parents=True)
            (target / "actions/0/annotations_video.npy").write_text("work")
        if there == "recordings":
            (target / "rosbag_0.mcap").write_text("work")
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(ReplayBufferError, match="remove it") as caught:
        convert(scoop_store, target, Choices(override=True))
    assert str(target) in str(caught.value)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert target.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_source_within_its_target_is_kept(tmp_path: Path, scoop_store: Path) -> None:
    """Replacing the target would take the source away."""
    target = convert(scoop_store, tmp_path / "set")
    scoop_store.rename(target / "scoop.zarr")
    with pytest.raises(ReplayBufferError, match="lies within"):
        convert(target / "scoop.zarr", target, Choices(override=True))
    assert (target / "scoop.zarr").is_dir()


@pytest.mark.parametrize("target", ["", ".", "..", "/", "/proc/x.zarr"])
def test_a_target_that_cannot_be_made_is_one_clear_line(scoop_store: Path, target: str) -> None:
    """No name, or a place where nothing can be made."""
    with pytest.raises(ReplayBufferError, match=r"another|choose"):
        convert(scoop_store, target, Choices(override=True))


def test_video_belongs_to_lerobot(tmp_path: Path, scoop_store: Path) -> None:
    """Another target has no videos, so the wish is refused rather than forgotten."""
    with pytest.raises(ReplayBufferError, match="--video"):
        convert(scoop_store, tmp_path / "a.hdf5", Choices(video=True))
