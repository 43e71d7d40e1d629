"""Leave nothing half-made in a folder of episodes: complete what is whole, drop what is not, extract what is lost.

Only what a kill of Ladle leaves is dropped. Labels are people's work: they are kept where everything else of an episode
is gone, and the next extraction of that recording takes them over. What other programs made is named and left.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ladle.atomic import SET_ASIDE, claimed_folder, recover_folder
from ladle.episode import EpisodeFolder
from ladle.episode_commit import commit_lock, move_into_place, settle_replaced
from ladle.episode_files import (
    DESCRIPTION_FILE,
    PARTIAL,
    READY,
    REPLACED,
    actions_of,
    numbered,
    parts_of,
    remove,
)
from ladle.errors import EpisodeError, LabelError
from ladle.task import TaskConfig
from ladle.unfinished import holds_data, of_another_program
from read_sensors_utils.annotations import labels_at_ticks
from read_sensors_utils.extract_all import DiskFullError, Job, run_job
from read_sensors_utils.find_bags import BagSource, find_bags
from read_sensors_utils.made_before import source_difference
from read_sensors_utils.masses import mass_of, read_masses
from read_sensors_utils.verification import (
    AT_TICKS,
    Fault,
    data_faults,
    label_faults,
    task_of,
    unfinished_fault,
)

log = logging.getLogger("ladle.repair")


@dataclass
class Repairs:
    """What was done (or, in a dry run, would be), and what is left to do by hand."""

    done: list[str] = field(default_factory=list[str])
    left: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True)
class Step:
    """One thing to do. Doing it again after a kill does no harm."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Recordings:
    """Where lost episodes come back from: the recordings below a folder by their numbers, and types they lack."""

    folder: Path
    sources: Mapping[int, BagSource]
    definitions: tuple[Path, ...]


def repair_folder(root: Path, *, bags: Path | None = None, task: TaskConfig | None = None, workers: int = 1,
                  definitions: Iterable[Path] = (), dry_run: bool = False) -> Repairs:
    """Mend a folder of episodes.

    Args:
        bags: the recordings; what is missing or damaged is then extracted again.
        task: what for; by default what the other episodes were extracted for.
        definitions: folders or .msg files of types that the recordings do not define.
        dry_run: change nothing.

    Raises:
        EpisodeError: there is no such folder, or it is being written by another process.
    """
    if not root.is_dir():
        raise EpisodeError(f"no folder {root}; the argument names a folder of episodes")
    if not (root / "actions").is_dir() and not any(numbered(root, prefix) for prefix in (READY, PARTIAL, REPLACED)):
        raise EpisodeError(f"{root} is no folder of episodes: it holds no actions/; nothing was changed. The argument "
                           "names what ladle extract wrote")
    repairs = Repairs()
    with commit_lock(root):
        for step in _clearing_steps(root):
            repairs.done.append(step.what)
            if not dry_run:
                step.do()
    folder = EpisodeFolder(root)
    _mend_tick_labels(folder, repairs, dry_run=dry_run)
    damaged = {number: faults[0] for number in folder.numbers() if (faults := data_faults(folder, number))}
    damaged |= _without_description(folder)
    others = {number: unfinished_fault(root, number, reason) for number, reason in folder.incomplete().items()
              if of_another_program(root, number)}
    repairs.left += others.values()
    if bags is None:
        repairs.left += damaged.values()
    else:
        sources = {source.number: source for source in find_bags(bags) if source.number not in others}
        recordings = Recordings(bags, sources, tuple(definitions))
        _extract_again(folder, recordings, task, damaged, workers, repairs, dry_run=dry_run)
    repairs.left += [fault for number in folder.numbers() for fault in label_faults(folder, number)
                     if not (dry_run and fault.remedy == AT_TICKS)]
    return repairs


def _clearing_steps(root: Path) -> Iterator[Step]:
    """What kills have left behind, in the order in which it can be cleared away."""
    for number in sorted(numbered(root, READY)):
        yield Step(f"episode {number}: put in place, it was whole", lambda n=number: move_into_place(root, n))
    for number in sorted(numbered(root, PARTIAL)):
        yield from _drop_partial(root / f"{PARTIAL}{number}", f"episode {number}")
    for number in sorted(numbered(root, REPLACED)):
        yield Step(f"episode {number}: removed the rest of its older version, labels kept",
                   lambda n=number: settle_replaced(root, n))
    ready = numbered(root, READY)
    for number in sorted(numbered(root / "actions")):
        actions = root / actions_of(number)
        if number not in ready and actions.is_dir() and not any(actions.iterdir()):
            yield Step(f"episode {number}: removed, it was empty", actions.rmdir)
    for part in _orphans(root):
        yield Step(f"removed {part}, which belongs to no episode", lambda p=part: remove(root / p))
    yield from _clearing_steps_of_files(root)


def _clearing_steps_of_files(root: Path) -> Iterator[Step]:
    """Of replay buffers and of single files that are replaced."""
    for left in sorted(root.glob(f"{PARTIAL}*.zarr")):
        yield from _drop_partial(left, left.name.removeprefix(PARTIAL))
    for aside in sorted(root.glob(f"{SET_ASIDE}*")):
        path = root / aside.name.removeprefix(SET_ASIDE)
        yield Step(f"{path.name}: put back, its replacement was interrupted", lambda p=path: recover_folder(p))
    for left in sorted([*root.glob(f"{PARTIAL}*"), *root.glob(f"actions/*/{PARTIAL}*")]):
        if left.is_file():
            yield Step(f"removed {left.relative_to(root)}, which was never finished", left.unlink)


def _drop_partial(partial: Path, name: str) -> Iterator[Step]:
    with claimed_folder(partial, 0.0, foreign_too=True) as mine:
        if not mine:
            log.warning("%s is being written by another process; left alone", name)
            return
        yield Step(f"{name}: removed what an interrupted run had begun", lambda: shutil.rmtree(partial))


def _orphans(root: Path) -> list[Path]:
    """Parts that Ladle wrote and whose actions/N is gone but for people's labels."""
    suffixes = {"videos": "", "numpy": "", "frames": ".zarr", "stamps": ".npz"}
    numbers = {n for kind, suffix in suffixes.items() for n in numbered(root / kind, suffix=suffix)}
    alone = [number for number in sorted(numbers - numbered(root, READY))
             if not holds_data(root, number) and not of_another_program(root, number)]
    return [part for number in alone for part in parts_of(number) if (root / part).exists()]


def _without_description(folder: EpisodeFolder) -> dict[int, Fault]:
    """Episodes whose episode.json was lost. No kill leaves that, and only their recordings bring it back."""
    return {number: unfinished_fault(folder.root, number, reason) for number, reason in folder.incomplete().items()
            if holds_data(folder.root, number) and not of_another_program(folder.root, number)}


def _mend_tick_labels(folder: EpisodeFolder, repairs: Repairs, *, dry_run: bool) -> None:
    for number in folder.numbers():
        if not any(fault.remedy == AT_TICKS for fault in label_faults(folder, number)):
            continue
        repairs.done.append(f"episode {number}: brought its labels to the ticks")
        labels, task = folder.frame_labels(number), task_of(folder.load(number).description, number)
        if not dry_run and labels is not None and task is not None:
            folder.save_tick_labels(number, labels_at_ticks(labels, folder.stamps(number), task, number))


def _extract_again(folder: EpisodeFolder, recordings: Recordings, task: TaskConfig | None, damaged: Mapping[int, Fault],
                   workers: int, repairs: Repairs, *, dry_run: bool) -> None:
    sources = recordings.sources
    missing = set(sources) - set(folder.numbers()) - set(damaged)
    others = {number: fault for number in sorted(set(damaged) & set(sources))
              if (fault := _other_recording(folder, number, damaged[number], sources[number])) is not None}
    repairs.left += [others.get(number, fault) for number, fault in damaged.items()
                     if number in others or number not in sources]
    wanted = sorted(missing | (set(damaged) & set(sources) - set(others)))
    if not wanted:
        return
    task = task or _task_of_others(folder)
    masses_g = read_masses(recordings.folder) if task.mass else {}
    for number in wanted:
        mass_g = mass_of(masses_g, number, recordings.folder) if task.mass else None
        again = " again" if number in damaged else ""
        what = f"episode {number}: extracted{again} from {sources[number].name}"
        job = Job(source=sources[number], task=task, root=folder.root, mass_g=mass_g, override=True,
                  definitions=recordings.definitions, processes=workers)
        error = None if dry_run else run_job(job)
        if isinstance(error, DiskFullError):
            raise error
        if error is None:
            repairs.done.append(what)
        else:
            repairs.left.append(Fault(f"episode {number}", str(error), "mend or leave out the recording"))


def _other_recording(folder: EpisodeFolder, number: int, damage: Fault, source: BagSource) -> Fault | None:
    """A damaged episode comes back only from the recording that it was made of; what to say where this is another."""
    try:
        description = json.loads((folder.action_folder(number) / DESCRIPTION_FILE).read_bytes())
        difference = source_difference(description["source"], source)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None  # lost or damaged itself: nobody can tell
    if difference is None:
        return None
    return Fault(damage.where, f"{damage.what}, and {source.name} is another recording than it was made of "
                 f"({difference})", "give --bags the folder with its own, or make it of this one: ladle extract with "
                 "--override")


def _task_of_others(folder: EpisodeFolder) -> TaskConfig:
    """The task of the first episode that can say it. Raises EpisodeError when none can."""
    for number in folder.numbers():
        try:
            task = task_of(folder.load(number).description, number)
        except (EpisodeError, LabelError):
            continue
        if task is not None:
            return task
    raise EpisodeError(f"no episode in {folder.root} says for which task it was extracted; pass --task")
