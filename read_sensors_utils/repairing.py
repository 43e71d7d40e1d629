"""Leave nothing half-made in a folder of episodes: complete what is whole, drop what is not, extract what is lost.

Labels are people's work. They are kept where everything else of an episode is gone, and the next extraction of that
recording takes them over.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ladle.atomic import SET_ASIDE, claimed_folder, recover_folder
from ladle.episode import EpisodeFolder
from ladle.episode_commit import commit_lock, move_into_place, settle_replaced
from ladle.episode_files import PARTIAL, PEOPLES_FILES, READY, REPLACED, actions_of, numbered, parts_of, remove
from ladle.errors import EpisodeError, LabelError, LadleError
from ladle.task import TaskConfig
from read_sensors_utils.annotations import labels_at_ticks
from read_sensors_utils.extract_all import DiskFullError, Job, run_job
from read_sensors_utils.find_bags import BagSource, find_bags
from read_sensors_utils.masses import mass_of, read_masses
from read_sensors_utils.verification import AT_TICKS, Fault, data_faults, label_faults, task_of

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


def repair_folder(root: Path, *, bags: Path | None = None, task: TaskConfig | None = None, workers: int = 1,
                  dry_run: bool = False) -> Repairs:
    """Mend a folder of episodes.

    Args:
        bags: the recordings; what is missing or damaged is then extracted again.
        task: what for; by default what the other episodes were extracted for.
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
    if bags is None:
        repairs.left += damaged.values()
    else:
        _extract_again(folder, bags, task, damaged, workers, repairs, dry_run=dry_run)
    repairs.left += [fault for number in folder.numbers() for fault in label_faults(folder, number)
                     if not (dry_run and fault.remedy == AT_TICKS)]
    return repairs


def _clearing_steps(root: Path) -> Iterator[Step]:
    """What kills have left behind, in the order in which it can be cleared away."""
    for number in sorted(numbered(root, READY)):
        yield Step(f"episode {number}: put in place, it was whole", lambda n=number: move_into_place(root, n))
    for number in sorted(numbered(root, PARTIAL)):
        yield from _drop_partial(root / f"{PARTIAL}{number}", f"episode {number}")
    complete = set(EpisodeFolder(root).numbers()) | numbered(root, READY)
    for number in sorted(numbered(root, REPLACED)):
        yield Step(f"episode {number}: removed the rest of its older version, labels kept",
                   lambda n=number: settle_replaced(root, n))
    for number in sorted(numbered(root / "actions") - complete):
        yield from _drop_half(root / actions_of(number), f"episode {number}")
    for part in _orphans(root, complete):
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


def _drop_half(actions: Path, name: str) -> Iterator[Step]:
    """actions/N without episode.json: only labels are worth keeping."""
    others = [path for path in sorted(actions.iterdir()) if path.name not in PEOPLES_FILES]
    has_labels = any((actions / label).is_file() for label in PEOPLES_FILES)
    if has_labels and others:
        yield Step(f"{name}: removed its half-made rest, labels kept", lambda: [remove(path) for path in others])
    elif not has_labels:
        yield Step(f"{name}: removed, it was half-made", lambda: shutil.rmtree(actions))


def _orphans(root: Path, complete: set[int]) -> list[Path]:
    suffixes = {"videos": "", "numpy": "", "frames": ".zarr", "stamps": ".npz"}
    numbers = {n for kind, suffix in suffixes.items() for n in numbered(root / kind, suffix=suffix)} - complete
    return [part for number in sorted(numbers) for part in parts_of(number) if (root / part).exists()]


def _mend_tick_labels(folder: EpisodeFolder, repairs: Repairs, *, dry_run: bool) -> None:
    for number in folder.numbers():
        if not any(fault.remedy == AT_TICKS for fault in label_faults(folder, number)):
            continue
        repairs.done.append(f"episode {number}: brought its labels to the ticks")
        labels, task = folder.frame_labels(number), task_of(folder.load(number).description, number)
        if not dry_run and labels is not None and task is not None:
            folder.save_tick_labels(number, labels_at_ticks(labels, folder.stamps(number), task, number))


def _extract_again(folder: EpisodeFolder, bags: Path, task: TaskConfig | None, damaged: dict[int, Fault],
                   workers: int, repairs: Repairs, *, dry_run: bool) -> None:
    sources = {source.number: source for source in find_bags(bags)}
    missing = set(sources) - set(folder.numbers())
    repairs.left += [fault for number, fault in damaged.items() if number not in sources]
    wanted = sorted(missing | (set(damaged) & set(sources)))
    if not wanted:
        return
    task = task or _task_of_others(folder)
    masses_g = read_masses(bags) if task.mass else {}
    for number in wanted:
        mass_g = mass_of(masses_g, number, bags) if task.mass else None
        again = " again" if number in damaged else ""
        what = f"episode {number}: extracted{again} from {sources[number].name}"
        error = None if dry_run else _extract(sources[number], task, folder.root, mass_g, workers)
        if isinstance(error, DiskFullError):
            raise error
        if error is None:
            repairs.done.append(what)
        else:
            repairs.left.append(Fault(f"episode {number}", str(error), "mend or leave out the recording"))


def _extract(source: BagSource, task: TaskConfig, root: Path, mass_g: float | None, workers: int) -> LadleError | None:
    return run_job(Job(source=source, task=task, root=root, mass_g=mass_g, override=True,
                       processes=workers))


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
