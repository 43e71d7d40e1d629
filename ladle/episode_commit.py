"""How an episode gets into its folder: staged, summed up, flushed, then moved into place in a way that a kill cannot
leave half-done.

    .partial-N   staging; a kill leaves it and the next writer of N, or `ladle repair`, removes it
    .ready-N     the whole episode, flushed; from this rename on the new episode counts
    .replaced-N  actions of an older episode, out of the way while the parts are exchanged

The moves out of .ready-N can be repeated from any point, so whoever comes next completes them (`recover`).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ladle.atomic import WAIT_FOR_WRITER_S, claimed_folder, flush, flush_tree, locked_folder, staging_folder
from ladle.episode_checksums import read_checksums, write_checksums
from ladle.episode_files import (
    DESCRIPTION_FILE,
    LABELS_FILE,
    PARTIAL,
    PARTIAL_LABELS_FILE,
    PEOPLES_FILES,
    READY,
    REPLACED,
    TICK_LABELS_FILE,
    actions_of,
    numbered,
    parts_of,
    remove,
)
from ladle.errors import EpisodeError
from ladle.peoples_files import files_of_people, keep_files_of_people
from ladle.unfinished import require_no_other_program

WAIT_FOR_COMMIT_S = 60.0


class EpisodeWriter:
    """Where a new episode's files go until the episode is whole.

    Attributes:
        staging: the folder that holds them all.
    """

    def __init__(self, staging: Path, number: int) -> None:
        self.staging = staging
        self.number = number

    def folder(self, kind: str) -> Path:
        """Staging folder of `actions`, `videos` or `numpy` for this episode."""
        path = self.staging / kind / str(self.number)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def frames(self) -> Path:
        """Staging place of the zarr group with the ticks' frames."""
        return self.staging / "frames" / f"{self.number}.zarr"

    @property
    def stamps(self) -> Path:
        """Staging place of the time stamps."""
        path = self.staging / "stamps" / f"{self.number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def staged_episode(root: Path, number: int, *, keeps_parts: bool = False) -> Generator[EpisodeWriter, None, None]:
    """Stage episode `number` and put it in place at the end of the block; an exception removes what was staged.

    Args:
        keeps_parts: parts of the episode that is there, and that are not staged, belong to the new one too.

    Raises:
        EpisodeError: another process is writing this episode, the block wrote no episode.json, or another program's
            data lie where the episode would go.
    """
    require_no_other_program(root, [number])
    staging = root / f"{PARTIAL}{number}"
    with staging_folder(staging, WAIT_FOR_WRITER_S) as mine:
        if not mine:
            raise EpisodeError(f"episode {number} in {root} is being written by another process; let it finish, or, if "
                               f"its machine is dead, run: ladle repair {root}")
        yield EpisodeWriter(staging, number)
        _commit(root, staging, number, read_checksums(root, number) if keeps_parts else {})


@contextmanager
def edited_actions(root: Path, number: int) -> Generator[Path, None, None]:
    """A copy of actions/N to edit, which takes its place at the end of the block; all other parts stay where they are.

    Raises:
        EpisodeError: another process is writing this episode.
    """
    with staged_episode(root, number, keeps_parts=True) as writer:
        actions = writer.folder("actions")
        shutil.copytree(root / actions_of(number), actions, dirs_exist_ok=True)
        for file in files_of_people(root, number):  # they are not summed up, and follow by themselves
            (writer.staging / file).unlink(missing_ok=True)
        yield actions


def recover(root: Path) -> list[int]:
    """Put in place what was whole when a kill came, remove what was not; returns the numbers of the former.

    What is being written, or may be on another machine, stays.
    """
    if not any(numbered(root, prefix) for prefix in (READY, PARTIAL, REPLACED)):
        return []
    with commit_lock(root):
        ready = sorted(numbered(root, READY))
        for number in ready:
            move_into_place(root, number)
        for number in sorted(numbered(root, REPLACED)):
            if (root / actions_of(number) / DESCRIPTION_FILE).is_file():
                settle_replaced(root, number)
    for number in sorted(numbered(root, PARTIAL)):
        with claimed_folder(root / f"{PARTIAL}{number}", 0.0) as mine:
            if mine:
                shutil.rmtree(root / f"{PARTIAL}{number}")
    return ready


def settle_replaced(root: Path, number: int) -> None:
    """Remove .replaced-N, under the `commit_lock`; labels that lie nowhere else move to actions/N."""
    older, actions = root / f"{REPLACED}{number}", root / actions_of(number)
    if not any((actions / name).is_file() for name in PEOPLES_FILES):
        for name in PEOPLES_FILES:
            if (older / name).is_file():
                actions.mkdir(parents=True, exist_ok=True)
                (older / name).rename(actions / name)
        if actions.is_dir():
            flush(actions)
    remove(older)


def label_folders(root: Path, number: int) -> list[Path]:
    """Where labels of an episode can lie, the newest first."""
    return [root / actions_of(number), root / f"{READY}{number}" / actions_of(number), root / f"{REPLACED}{number}"]


@contextmanager
def commit_lock(root: Path) -> Generator[None, None, None]:
    """Hold the folder of episodes while parts of it move. Raises EpisodeError when another process does not let go."""
    with locked_folder(root, WAIT_FOR_COMMIT_S) as mine:
        if not mine:
            raise EpisodeError(f"{root} is held by another process; run the same command again when that has ended")
        yield


def _commit(root: Path, staging: Path, number: int, elsewhere: Mapping[str, str] | None) -> None:
    """Put in place what was staged.

    Args:
        elsewhere: path -> SHA-256 of the episode's files that stay in their place; None where nobody knows
            them: the episode then has no checksums, as before, for these would hide what happened to it since.
    """
    if not (staging / actions_of(number) / DESCRIPTION_FILE).is_file():
        raise EpisodeError(f"episode {number}: {DESCRIPTION_FILE} was not written")
    if elsewhere is not None:
        write_checksums(staging, number, elsewhere)
    flush_tree(staging)
    with commit_lock(root):
        _take_labels_along(root, staging / actions_of(number), number)
        remove(root / f"{READY}{number}")
        staging.rename(root / f"{READY}{number}")
        flush(root)
        move_into_place(root, number)


def _take_labels_along(root: Path, actions: Path, number: int) -> None:
    """People may have labelled while the episode was extracted again: what lies there now is newer."""
    for old in label_folders(root, number):
        if _copy_labels(old, actions):
            return


def _copy_labels(old: Path, actions: Path) -> bool:
    """Bring people's labels from a folder with actions to another one; whether there were any."""
    present = [name for name in PEOPLES_FILES if (old / name).is_file()]
    if not present:
        return False
    if PARTIAL_LABELS_FILE in present and LABELS_FILE not in present:
        remove(actions / LABELS_FILE)
        remove(actions / TICK_LABELS_FILE)
    for name in present:
        shutil.copyfile(old / name, actions / name)
    flush_tree(actions)
    return True


def move_into_place(root: Path, number: int) -> None:
    """Move .ready-N into its place, under the `commit_lock`.

    Every step is one rename or can be repeated; the episode is complete with the last rename.
    """
    ready, replaced = root / f"{READY}{number}", root / f"{REPLACED}{number}"
    actions = actions_of(number)
    if (ready / actions).is_dir():
        if (root / actions).is_dir():
            # A kill may have come between, and people after it.
            _copy_labels(root / actions, ready / actions)
            keep_files_of_people(root, ready, number, _exchanged_parts(ready, number))
            remove(replaced)
            (root / actions).rename(replaced)
        _exchange_parts(root, ready, number)
        (root / actions).parent.mkdir(exist_ok=True)
        (ready / actions).rename(root / actions)
        flush((root / actions).parent)
    remove(ready)
    remove(replaced)
    flush(root)


def _exchange_parts(root: Path, ready: Path, number: int) -> None:
    exchanged = _exchanged_parts(ready, number)
    for part in parts_of(number):
        if part in exchanged:
            remove(root / part)
        if (ready / part).exists():
            (root / part).parent.mkdir(exist_ok=True)
            (ready / part).rename(root / part)
        with contextlib.suppress(FileNotFoundError):
            flush((root / part).parent)


def _exchanged_parts(ready: Path, number: int) -> list[Path]:
    """The parts that do not stay where they are: new ones, and those that the older episode had and the newer has not.

    A whole episode tells by its checksums; where it has none, only its actions were edited.
    """
    written = read_checksums(ready, number)
    return [part for part in (actions_of(number), *parts_of(number)) if (ready / part).exists()
            or (written is not None and not any(Path(name).is_relative_to(part) for name in written))]
