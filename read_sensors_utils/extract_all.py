"""All recordings of a folder -> episodes, spread over the cores of this machine or over a Ray cluster."""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2

from ladle.episode import EpisodeFolder
from ladle.errors import BagError, EpisodeError, LadleError
from ladle.parent_death import end_with_parent
from ladle.script import one_line, set_up_logging
from ladle.task import TaskConfig
from ladle.unfinished import require_no_other_program
from read_sensors_utils.annotations import interpolate_labels
from read_sensors_utils.cluster import results_on_ray
from read_sensors_utils.extract import extract_bag, require_extractable
from read_sensors_utils.find_bags import BagSource, find_bags
from read_sensors_utils.made_before import correct_masses, require_same_origin
from read_sensors_utils.masses import FILE as MASSES_FILE
from read_sensors_utils.masses import mass_of, read_masses

log = logging.getLogger("ladle.extract")

DEFAULT_WORKERS = os.cpu_count() or 1
NO_PATH_LOAD = "--path-load is missing; it names the folder of recordings"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)  # numpy gives no number when a write falls short


Results = Generator[tuple[int, LadleError | None], None, None]


class DiskFullError(EpisodeError):
    """There is no room for the episode."""


@dataclass(frozen=True)
class Summary:
    """Numbers of the episodes that were made, that were there already, and that have tick labels now.

    damaged: those of the made ones whose recordings had lost something.
    corrected_g: those that were there with another mass than data.csv has: the mass before and now in grams.
    """

    extracted: tuple[int, ...]
    skipped: tuple[int, ...]
    labelled: tuple[int, ...]
    damaged: tuple[int, ...] = ()
    corrected_g: Mapping[int, tuple[float, float]] = field(default_factory=dict[int, tuple[float, float]])


@dataclass(frozen=True)
class Job:
    """One recording to extract. Plain data: it travels to another process.

    Attributes:
        definitions: folders or .msg files of types that the recording does not define.
        processes: how many processes work on its frames beside the one that reads; 1: the same does both.
    """

    source: BagSource
    task: TaskConfig
    root: Path
    mass_g: float | None
    override: bool
    definitions: tuple[Path, ...] = ()
    processes: int = 1


def extract_all(path_load: Path, path_save: Path, task: TaskConfig, *, override: bool = False,
                workers: int = DEFAULT_WORKERS, on_done: Callable[[int, int], None] | None = None,
                ray_address: str | None = None, definitions: Iterable[Path] = ()) -> Summary:
    """Extract every recording that has no complete episode yet, then bring existing labels to the ticks.

    A complete episode whose mass in data.csv has been corrected gets the new one; nothing else of it changes.
    Recordings are independent: one that fails costs none of the others, and is named at the end.

    Args:
        override: extract again what is complete; people's labels are kept.
        workers: cores to use: one process a recording, and so many for its frames where there are fewer recordings.
        ray_address: a Ray cluster that does the work instead, "local" for one on this machine.
        definitions: folders or .msg files of types that the recordings do not define.
        on_done: called with (done, total) after each recording.

    Raises:
        EpisodeError: a complete episode is of another recording or for another task, or another program's data lie
            where an episode would go; nothing was done.
        LadleError: a recording could not be extracted; all others were.
    """
    require_extractable(task)
    if path_save.exists() and not path_save.is_dir():
        raise EpisodeError(f"{path_save} is a file; --path-save names the folder of episodes, which is made if need be")
    sources = find_bags(path_load)
    folder = EpisodeFolder(path_save)
    masses_g = _masses_g(sources, task, path_load)
    folder.recover()
    require_no_other_program(path_save, (source.number for source in sources))
    complete = set[int]() if override else {source.number for source in sources} & set(folder.numbers())
    require_same_origin({source.number: source for source in sources if source.number in complete}, folder, task)
    corrected_g = correct_masses(folder, {number: masses_g[number] for number in complete})
    jobs = [Job(source, task, path_save, masses_g[source.number], override, tuple(definitions))
            for source in sources if source.number not in complete]
    extracted: list[int] = []
    failures: dict[int, LadleError] = {}
    for number, error in _stop_when_full(_results(jobs, workers, ray_address)):
        if error is None:
            extracted.append(number)
        else:
            failures[number] = error
            if len(jobs) > 1 and not isinstance(error, DiskFullError):
                log.warning("recording %d was not extracted: %s", number, one_line(error))
        if on_done is not None:
            on_done(len(extracted) + len(failures), len(jobs))
    labelled = interpolate_labels(folder, task, required=False) if _has_color(task) else []
    if failures:
        raise _summed_up(failures, len(jobs))
    return Summary(tuple(sorted(extracted)), tuple(sorted(complete)), tuple(labelled),
                   _damaged(folder, extracted), corrected_g)


def extract_and_tell(path_load: Path, path_save: Path, task: TaskConfig, *, override: bool, workers: int,
                     ray_address: str | None, definitions: Iterable[Path]) -> Summary:
    """`extract_all`, which logs how far it is and in the end what was done."""
    started_s = time.monotonic()
    summary = extract_all(path_load, path_save, task, override=override, workers=workers, ray_address=ray_address,
                          definitions=definitions,
                          on_done=lambda done, total: log.info("%d of %d recordings", done, total))
    for number, (before_g, now_g) in summary.corrected_g.items():
        log.warning("episode %d: its mass is %g g now, as data.csv says, and was %g g; make the replay buffer again",
                    number, now_g, before_g)
    damaged = ", ".join(map(str, summary.damaged))
    log.info("%d episodes extracted%s, %d were complete, %d have labels: %s in %.1f s", len(summary.extracted),
             f" (of damaged recordings, as far as they go: {damaged})" if damaged else "", len(summary.skipped),
             len(summary.labelled), path_save, time.monotonic() - started_s)
    return summary


def _damaged(folder: EpisodeFolder, numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number in sorted(numbers) if folder.load(number).description["source"]["losses"])


def _masses_g(sources: list[BagSource], task: TaskConfig, path_load: Path) -> dict[int, float | None]:
    """Looked up for all recordings before any work begins."""
    if not task.mass:
        return {source.number: None for source in sources}
    known = read_masses(path_load)
    without = sorted(set(known) - {source.number for source in sources})
    if without and (path_load / MASSES_FILE).is_file():  # beside a single recording it has rows for all others
        log.warning("%s has a row for %s, and there is no such recording in %s", MASSES_FILE,
                    ", ".join(map(str, without)), path_load)
    return {source.number: mass_of(known, source.number, path_load) for source in sources}


def _results(jobs: list[Job], workers: int, ray_address: str | None) -> Results:
    """(number, error or None) as they come."""
    if ray_address is not None:
        yield from results_on_ray(jobs, run_job, ray_address, workers)
        return
    processes = min(workers, len(jobs))
    jobs = [replace(job, processes=max(1, workers // max(1, processes))) for job in jobs]
    if processes <= 1:
        for job in jobs:
            yield job.source.number, run_job(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker) as pool:
        futures: dict[Future[LadleError | None], int] = {pool.submit(run_job, job): job.source.number for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise BagError("a worker process was killed, perhaps for want of memory; finished episodes are kept: run "
                           "the same command again with --workers 1") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stop_when_full(results: Results) -> Results:
    """A full disk ends the work at once: the rest would fail too."""
    with contextlib.closing(results):
        for number, error in results:
            yield number, error
            if isinstance(error, DiskFullError):
                raise error


def run_job(job: Job) -> LadleError | None:
    """Extract one recording; the user's errors come back as values, so that other recordings go on."""
    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the frames are spread over the cores, not the pixels of a frame
    try:
        extract_bag(job.source, job.task, EpisodeFolder(job.root), job.mass_g,
                    override=job.override, definitions=job.definitions, processes=job.processes)
    except LadleError as error:
        return error
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return DiskFullError(f"no space left in {job.root} while writing episode {job.source.number}; finished "
                             "episodes are kept: free some space and run the same command again")
    finally:
        cv2.setNumThreads(opencv_threads)
    return None


def _start_worker() -> None:
    set_up_logging()
    end_with_parent()


def _has_color(task: TaskConfig) -> bool:
    return any(camera.kind == "color" for camera in task.extracted_cameras.values())


def _summed_up(failures: dict[int, LadleError], n_jobs: int) -> LadleError:
    first = failures[min(failures)]
    if len(failures) == 1 and n_jobs == 1:
        return first
    others = [str(number) for number in sorted(failures)[1:]]
    also = f" (also failed: {', '.join(others[:20])}{', ...' if len(others) > 20 else ''})" if others else ""
    return BagError(f"{len(failures)} of {n_jobs} recordings could not be extracted, the others were: "
                    f"recording {min(failures)}: {one_line(first)}{also}")
