"""`ladle bench kills`: kill -9 at random moments, and nothing may be lost.

The real commands run in processes of their own, which have nothing left to import. At a moment drawn from the duration
of an undisturbed run, the whole process group is killed; then everything that is visible must be whole, labels must be
as people left them, and the next run must end in exactly the files of the undisturbed run, with nothing left behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.benchmarks.killing import Command, run, run_and_kill
from app.benchmarks.recording import benchmark_task, write_recording
from ladle.episode import LABELS_FILE, EpisodeFolder
from ladle.errors import LadleError
from ladle.replay_buffer import ReplayBuffer
from ladle.task import task_text
from read_sensors_utils.verification import verify_folder
from training.real_data_conversion import BUFFER_NAME

log = logging.getLogger("app.kills")

RECORDINGS = 4
SHORTEST_S, LONGER_BY_S = 1.2, 0.2
SIZE_PX, KEPT_PX = (96, 72), (64, 48)
POOL_SHARE, POOL_WORKERS = 0.25, 2  # of the extractions, these have worker processes, which must import anew
FRAME_WORKERS = 2 * RECORDINGS  # so many give every recording two processes for its frames
PARENT_SHARE = 0.5  # of the kills, these hit the first process alone: its children must end by themselves
FINISH_EVERY = 10  # kills in a row before a run may end: what goes on after a kill is killed again
LEFT_BEHIND = (".partial-*", ".ready-*", ".replaced-*", ".old-*")


@dataclass
class KillCount:
    """What the kills did. in_the_middle: kills that found something half-written; faults: what was lost or wrong."""

    kills: int = 0
    extraction: int = 0
    replacement: int = 0
    conversion: int = 0
    in_the_middle: int = 0
    finished_runs: int = 0
    faults: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


@dataclass(frozen=True)
class Scene:
    """The undisturbed results, and how long their making took; pool_s: with worker processes."""

    root: Path
    extract_s: float
    pool_s: float
    convert_s: float

    def shorter(self, seconds: float) -> Scene:
        """With durations of undisturbed runs corrected downwards, after all of some runs ended within `seconds`."""
        return replace(self, extract_s=min(self.extract_s, seconds), pool_s=min(self.pool_s, seconds),
                       convert_s=min(self.convert_s, seconds))

    @property
    def recordings(self) -> Path:
        return self.root / "recordings"

    @property
    def task(self) -> Path:
        return self.root / "task.yaml"

    @property
    def extracted(self) -> Path:
        """Episodes without labels."""
        return self.root / "extracted"

    @property
    def converted(self) -> Path:
        """The same with labels, and with the buffer made of them."""
        return self.root / "converted"

    @property
    def older(self) -> Path:
        """As `converted`, with the buffer of one episode less: what a conversion replaces."""
        return self.root / "older"

    def extract(self, folder: Path, *options: str, workers: int = 1) -> Command:
        """What extracts into a folder."""
        return Command("read_sensors_utils.format_data_replay_buffer",
                       ("--path-load", str(self.recordings), "--path-save", str(folder), "--task", str(self.task),
                        "--workers", str(workers), *options), self.root / "log.txt")

    def drawn(self, folder: Path, rng: random.Random, *options: str, n_complete: int = 0) -> tuple[Command, float]:
        """An extraction, with worker processes or without, and when to kill it in seconds; less is left to do of it
        where episodes are complete.
        """
        left = 1 - n_complete / (RECORDINGS + 1)
        if rng.random() < POOL_SHARE:
            workers = rng.choice((POOL_WORKERS, FRAME_WORKERS))
            return self.extract(folder, *options, workers=workers), rng.uniform(0, self.pool_s * left)
        return self.extract(folder, *options), rng.uniform(0, self.extract_s * left)

    def convert(self, folder: Path) -> Command:
        """What makes the buffer and its zip."""
        return Command("training.real_data_conversion", ("--dataset-path", str(folder), "--zip"), self.root / "log.txt")


def run_kills(folder: Path, kills: int = 200, seed: int = 0) -> KillCount:
    """Kill runs until `kills` have hit one, half of them extractions, the others replacements and conversions.

    Args:
        folder: an empty place for the recordings and results; nothing of it is removed.
    """
    started_s = time.monotonic()
    rng = random.Random(seed)
    scene = prepare(folder)
    log.info("undisturbed: %.1f s an extraction, %.1f s with %d workers, %.1f s a conversion", scene.extract_s,
             scene.pool_s, POOL_WORKERS, scene.convert_s)
    count = KillCount()
    shares: list[tuple[Callable[[Scene, int, random.Random, KillCount], int], str, int]] = [
        (_kill_extractions, "extraction", kills - kills // 4 - kills // 4),
        (_kill_replacements, "replacement", kills // 4),
        (_kill_conversions, "conversion", kills // 4),
    ]
    for kill, name, wanted in shares:
        done = 0
        while done < wanted:
            began_s = time.monotonic()
            hits = kill(scene, min(FINISH_EVERY, wanted - done), rng, count)
            if hits == 0:  # the machine is less busy than when the undisturbed run was measured
                scene = scene.shorter(time.monotonic() - began_s)
            done += hits
            log.info("%s: %d of %d kills, %d faults", name, done, wanted, len(count.faults))
        setattr(count, name, done)
        count.kills += done
    count.seconds = time.monotonic() - started_s
    return count


def prepare(folder: Path) -> Scene:
    """Write the recordings, and let the commands run undisturbed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(RECORDINGS):
        seconds = SHORTEST_S + LONGER_BY_S * number
        made = write_recording(folder / "made", "mcap", seconds, size_px=SIZE_PX, distinct_frames=8)
        (folder / "recordings").mkdir(exist_ok=True)
        made.rename(folder / "recordings" / f"rosbag_{number}")
    (folder / "task.yaml").write_text(task_text(benchmark_task(*KEPT_PX)))
    scene = Scene(folder, 0.0, 0.0, 0.0)
    run(scene.extract(folder / "first"))  # waits for the imports
    extract_s = run(scene.extract(scene.extracted))
    pool_s = run(scene.extract(folder / "first", "--override", workers=POOL_WORKERS))
    shutil.copytree(scene.extracted, scene.converted)
    for number in EpisodeFolder(scene.converted).numbers():
        np.save(EpisodeFolder(scene.converted).action_folder(number) / LABELS_FILE, _labels(scene, number))
    run(scene.extract(scene.converted))
    shutil.copytree(scene.converted, scene.older)
    convert_s = run(scene.convert(scene.converted))
    last = RECORDINGS - 1
    hidden = scene.older.with_name("hidden")
    shutil.copytree(scene.older, hidden)
    shutil.rmtree(hidden / "actions" / str(last))
    for part in ("videos", "numpy", "frames", "stamps"):
        for path in (hidden / part).glob(f"{last}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(scene.convert(hidden))
    for name in (BUFFER_NAME, f"{BUFFER_NAME}.zip"):
        (hidden / name).rename(scene.older / name)
    return Scene(folder, extract_s, pool_s, convert_s)


def _kill_extractions(scene: Scene, kills: int, rng: random.Random, count: KillCount) -> int:
    """A folder that grows: each run is killed and the next goes on; what was complete stays."""
    work = _fresh(scene, None)
    done, complete = 0, set[int]()
    while done < kills and _killed(*scene.drawn(work, rng, n_complete=len(complete)), work, rng, count):
        done += 1
        folder = EpisodeFolder(work)
        _expect(complete <= set(folder.numbers()), f"episodes {complete - set(folder.numbers())} vanished", count)
        complete = set(folder.numbers())
        for number in complete:
            _expect_equal(folder, number, scene, count)
    _finish(scene.extract(work) if done == kills else None, work, scene.extracted, count)
    return done


def _kill_replacements(scene: Scene, kills: int, rng: random.Random, count: KillCount) -> int:
    """Labelled episodes are extracted again with --override: labels and episodes must be there after every kill."""
    work = _fresh(scene, scene.converted)
    done = 0
    while done < kills and _killed(*scene.drawn(work, rng, "--override"), work, rng, count):
        done += 1
        folder = EpisodeFolder(work)
        for number in range(RECORDINGS):
            labels = folder.frame_labels(number)
            intact = labels is not None and np.array_equal(labels, _labels(scene, number))
            _expect(intact, f"the labels of episode {number} are lost", count)
        folder.recover()
        _expect(folder.numbers() == list(range(RECORDINGS)), f"only episodes {folder.numbers()} are left", count)
        for number in folder.numbers():
            _expect_equal(folder, number, scene, count)
    _finish(scene.extract(work, "--override") if done == kills else None, work, scene.converted, count)
    return done


def _kill_conversions(scene: Scene, kills: int, rng: random.Random, count: KillCount) -> int:
    """An older buffer is replaced: after a kill, the folder and the zip are each the old one or the new one."""
    work = _fresh(scene, scene.older)
    done = 0
    while done < kills and _killed(scene.convert(work), rng.uniform(0, scene.convert_s), work, rng, count):
        done += 1
        for name in (BUFFER_NAME, f"{BUFFER_NAME}.zip"):
            found = _digests(work / name)
            allowed = [_digests(scene.older / name), _digests(scene.converted / name)]
            _expect(found in allowed, f"{name} is neither the old nor the new one", count)
            with contextlib.suppress(LadleError):
                ReplayBuffer.open(work / name)
                continue
            _expect(False, f"{name} cannot be opened", count)
    _finish(scene.convert(work) if done == kills else None, work, scene.converted, count)
    return done


def _fresh(scene: Scene, like: Path | None) -> Path:
    work = scene.root / "work"
    shutil.rmtree(work, ignore_errors=True)
    if like is not None:
        shutil.copytree(like, work)
    return work


def _finish(command: Command | None, work: Path, expected: Path, count: KillCount) -> None:
    """The next run ends, or one did before it could be killed (None), and its result is that of the undisturbed run."""
    if command is not None:
        run(command)
    count.finished_runs += 1
    expect_undisturbed(work, expected, count)


def expect_undisturbed(work: Path, expected: Path, count: KillCount) -> None:
    """What lies there is the undisturbed run's result, byte for byte, and nothing else."""
    found, wanted = _digests(work), _digests(expected)
    differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    _expect(not differing, f"after the next run {differing[:5]} differ from the undisturbed run's", count)
    left = [path.name for pattern in LEFT_BEHIND for path in work.rglob(pattern)]
    _expect(not left, f"the next run left {left[:5]} behind", count)
    faults = verify_folder(work).faults
    _expect(not faults, f"after the next run: {faults[:3]}", count)


def _expect_equal(folder: EpisodeFolder, number: int, scene: Scene, count: KillCount) -> None:
    """A visible episode is the undisturbed run's; its labels may not have come to the ticks yet."""
    episode = {name: _digests(folder.root / name) for name in _parts(number)}
    expected = {name: _digests(scene.extracted / name) for name in _parts(number)}
    _expect(episode == expected, f"episode {number} is visible and not whole", count)


def _parts(number: int) -> list[str]:
    files = [f"actions/{number}/{name}" for name in
             ("episode.json", "checksums.json", "current_eef_pos_interpolated.npy",
              "target_end_effector_pos_interpolated.npy")]
    return [*files, f"videos/{number}", f"numpy/{number}", f"frames/{number}.zarr", f"stamps/{number}.npz"]


def _expect(holds: bool, otherwise: str, count: KillCount) -> None:
    if not holds:
        count.faults.append(otherwise)


def _labels(scene: Scene, number: int) -> np.ndarray:
    """(F,) stages of an episode, different in each."""
    n_frames = len(EpisodeFolder(scene.extracted).stamps(number)["header_ns_camera_1"])
    return (np.arange(n_frames, dtype=np.int64) * 3 // n_frames + number) % 3


def _digests(path: Path) -> dict[str, str]:
    """File below a path -> SHA-256."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _killed(command: Command, after_s: float, work: Path, rng: random.Random, count: KillCount) -> bool:
    """Run and kill; False when the run ended before."""
    if not run_and_kill(command, after_s, parent_only=rng.random() < PARENT_SHARE):
        return False
    count.in_the_middle += any(next(work.glob(pattern), None) is not None for pattern in LEFT_BEHIND)
    return True
