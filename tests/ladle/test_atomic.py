"""Files and folders that appear whole, for one writer as for several, on this machine and on others."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ladle import atomic
from ladle.atomic import claimed_folder, locked_folder, replace_file, replace_folder, staging_folder
from ladle.owner import OWNER_FILE, Owner
from ladle.script import run_script


def made(path: Path, content: str) -> Path:
    """A folder with one file."""
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Each finishes its own; the later one's stays."""
    path = tmp_path / "a.txt"
    with replace_file(path) as one:
        one.write_text("one")
        with replace_file(path) as two:
            two.write_text("two")
        assert path.read_text() == "two"
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_has_the_rights_of_every_other(tmp_path: Path) -> None:
    """The umask decides, as for a file that is opened."""
    with replace_file(tmp_path / "a.txt") as partial:
        partial.write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_what_a_killed_writer_left_goes_with_the_next(tmp_path: Path) -> None:
    """That of a living one stays."""
    program = f"""
import os, signal
from pathlib import Path
from ladle.atomic import replace_file
with replace_file(Path({str(tmp_path / "a.txt")!r})) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with replace_file(tmp_path / "a.txt") as partial:
        assert list(tmp_path.iterdir()) == [partial]
        partial.write_text("whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_link_to_a_folder_stays_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    """What it points to is replaced."""
    if not exchanges:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    (tmp_path / "disk").mkdir()
    old = made(tmp_path / "disk/real", "old")
    link = tmp_path / "link"
    link.symlink_to(old)
    replace_folder(made(tmp_path / "disk/new", "new"), link)
    assert link.is_symlink()
    assert (old / "file").read_text() == "new"
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == ["real"]


def test_a_staging_folder_that_was_renamed_leaves_the_next_writers_alone(tmp_path: Path) -> None:
    """Its name may be another folder's by the end."""
    folder = tmp_path / ".partial-x"
    with staging_folder(folder, 0.0) as mine:
        assert mine
        folder.rename(tmp_path / "ready")
        made(folder, "the next writer's")
    assert (folder / "file").is_file()


def test_a_staging_folder_goes_with_its_block(tmp_path: Path) -> None:
    """What a kill left is gone at once, the rest at the end."""
    folder = made(tmp_path / ".partial-x", "left")
    with staging_folder(folder, 0.0) as mine:
        assert mine
        assert [entry.name for entry in folder.iterdir()] == [OWNER_FILE]
    assert not folder.exists()


LOOKS = 6


def _come_and_go(monkeypatch: pytest.MonkeyPatch, folder: Path, is_there: Sequence[bool]) -> list[str]:
    """Before each system call about the folder, other writers have made or removed it; afterwards they are done."""
    to_come, looks = list(is_there), []

    def observed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if path == folder and to_come:
                looks.append(real.__name__)
                with contextlib.suppress(FileExistsError, FileNotFoundError):
                    make(folder) if to_come.pop(0) else folder.rmdir()
            return real(path, *arguments, **options)
        return call

    make = os.mkdir
    for name in ("mkdir", "stat", "lstat", "open"):
        monkeypatch.setattr(os, name, observed(getattr(os, name)))
    return looks


@pytest.mark.parametrize("is_there", list(itertools.product([True, False], repeat=LOOKS)))
def test_a_folder_that_other_writers_make_and_remove_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: tuple[bool, ...]
) -> None:
    """Also when it is there as mkdir is refused and gone at the next look: whatever the order, the lock comes."""
    monkeypatch.setattr(atomic, "LOCK_POLL_S", 0.0)
    folder = tmp_path / ".partial-x"
    looks = _come_and_go(monkeypatch, folder, is_there)
    with locked_folder(folder, 60.0) as mine:
        assert mine
    assert looks[0] == "mkdir"


def test_a_file_in_the_place_of_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    """It will not go away by itself; the error names it."""
    path = tmp_path / ".partial-x"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"\.partial-x"), locked_folder(path, 60.0):
        pass
    assert path.read_text() == "mine"


def _without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize(("change", "locks", "is_free", "is_free_for_repair"), [
    ({}, True, True, True),  # this machine: the lock says it
    ({}, False, False, False),  # no locks, and the process lives
    ({"started": "1"}, False, True, True),  # another process has had its number since
    ({"boot": "x"}, True, True, True),  # this machine before it was started anew
    ({"boot": "x"}, False, True, True),
    ({"host": "x"}, True, True, True),  # another container of this machine: the lock reaches it
    ({"host": "x"}, False, False, True),
    ({"host": "x", "boot": "x"}, True, False, True),  # another machine: the lock does not reach it
    ({"host": "x", "boot": "x"}, False, False, True),
])
def test_a_process_that_may_live_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], locks: bool, is_free: bool,
    is_free_for_repair: bool,
) -> None:
    """Where a lock does not reach, the name in the folder decides; only a repair takes what another machine has."""
    folder = made(tmp_path / ".partial-1", "work")
    replace(Owner.this(), **change).write(folder)
    if not locks:
        _without_locks(monkeypatch)
    with claimed_folder(folder, 0.0) as mine:
        assert mine == is_free
    with claimed_folder(folder, 0.0, foreign_too=True) as mine:
        assert mine == is_free_for_repair
    with staging_folder(folder, 0.0) as mine:
        assert mine == is_free
    assert folder.exists() != is_free


@pytest.mark.parametrize(("number", "remedy"), [
    (errno.ENOSPC, "free some space"), (errno.EROFS, "check the rights"), (errno.EPERM, "check the rights")])
def test_what_the_disk_refuses_ends_a_script_in_one_line(
    caplog: pytest.LogCaptureFixture, number: int, remedy: str
) -> None:
    """With a remedy that can help."""
    def refused() -> None:
        raise OSError(number, os.strerror(number), "/there")

    with pytest.raises(SystemExit) as ended:
        run_script(refused)
    assert ended.value.code == 2
    assert "/there" in caplog.text
    assert remedy in caplog.text
    assert ("free some space" in caplog.text) == (number == errno.ENOSPC)


@pytest.mark.parametrize(("path", "reason"), [
    ("/proc/x", "No such file"), ("{file}/x", "Not a directory"), ("{file}", "File exists"),
    ("/tmp/" + 300 * "x", "File name too long")])
def test_a_folder_that_cannot_be_made_ends_a_script_in_one_line(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, path: str, reason: str
) -> None:
    """It names the path, and what the system said."""
    (tmp_path / "file").touch()
    folder = Path(path.format(file=tmp_path / "file"))
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: folder.mkdir(parents=True, exist_ok=True))
    assert ended.value.code == 2
    assert str(folder) in caplog.text
    assert reason in caplog.text
    assert len(caplog.text.splitlines()) == 1


def test_a_file_that_is_missing_for_another_reason_keeps_its_traceback(tmp_path: Path) -> None:
    """Nobody's folder is to blame: a bug."""
    with pytest.raises(FileNotFoundError):
        run_script(lambda: (tmp_path / "gone").read_text())
    with pytest.raises(FileExistsError):
        run_script(tmp_path.mkdir)
