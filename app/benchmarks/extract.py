"""`ladle bench extract`: our extraction, the straightforward one and the floor, on one generated recording a format."""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from app.benchmarks.recording import FILE_KINDS, HEIGHT_PX, WIDTH_PX, FileKind, benchmark_task, write_recording
from ladle.errors import BagError
from ladle.task import TaskConfig, load_task, task_from_text, task_text
from read_sensors_utils.find_bags import find_bags

DEFAULT_SECONDS = 30.0
MB = 1_000_000
ROUNDS = 3

Figures = dict[str, float]


def measure_extract(seconds: float = DEFAULT_SECONDS, *, full_resolution: bool = False,
                    kinds: tuple[FileKind, ...] = FILE_KINDS) -> dict[str, Figures]:
    """File kind -> ratio_vs_plain, ratio_vs_plain_same_codec, realtime_factor, mb_per_s, peak_mb, floor_share.

    Each run has a process of its own, and its clock starts when its imports are done. The recording is on the disk
    and has just been read once, so the file lies in memory for all of them where memory allows. They take turns, and
    the best of a few rounds counts for each: on a machine that is shared, the slower ones tell about its other guests.

    Args:
        seconds: length of the recording.
        full_resolution: keep 640x480 instead of the scoop task's size.
    """
    camera = load_task("scoop").cameras["camera_1"]
    size_px = (WIDTH_PX, HEIGHT_PX) if full_resolution else (camera.width_px, camera.height_px)
    task = benchmark_task(*size_px)
    return {kind: _measure_kind(kind, seconds, task) for kind in kinds}


def table(found: Mapping[str, Figures]) -> str:
    """The figures for people."""
    rows = [f"{'':6} {'vs plain':>9} {'same codec':>11} {'x real time':>12} {'MB/s':>7} {'peak MB':>8} "
            f"{'share of floor':>15}"]
    rows += [f"{kind:6} {row['ratio_vs_plain']:9.2f} {row['ratio_vs_plain_same_codec']:11.2f} "
             f"{row['realtime_factor']:12.2f} {row['mb_per_s']:7.0f} {row['peak_mb']:8.0f} {row['floor_share']:15.2f}"
             for kind, row in found.items()]
    return "\n".join(rows)


def _measure_kind(kind: FileKind, seconds: float, task: TaskConfig) -> Figures:
    with tempfile.TemporaryDirectory(prefix="ladle-bench-") as temporary:
        folder = Path(temporary)
        _in_child(_generate, folder / "bag", kind, seconds)
        [recording] = (folder / "bag").iterdir()
        [source] = find_bags(recording)
        n_bytes = sum(file.stat().st_size for file in source.files)
        text = task_text(task)
        _in_child(_read, list(source.files))
        runs = {
            "floor": (_floor, list(source.files), text, seconds), "ours": (_ours, recording, text, folder / "out"),
            "plain": (_plain, recording, text, folder / "out", False),
            "same_codec": (_plain, recording, text, folder / "out", True)}
        best_s, peak_bytes = dict.fromkeys(runs, math.inf), 0
        for _ in range(ROUNDS):
            for name, run in runs.items():
                taken_s, n_peak = _in_child(*run)
                shutil.rmtree(folder / "out", ignore_errors=True)
                best_s[name] = min(best_s[name], taken_s)
                peak_bytes = max(peak_bytes, n_peak) if name == "ours" else peak_bytes
    ours_s, plain_s, same_codec_s, floor_s = (best_s[name] for name in ("ours", "plain", "same_codec", "floor"))
    return {"ratio_vs_plain": plain_s / ours_s, "ratio_vs_plain_same_codec": same_codec_s / ours_s,
            "realtime_factor": seconds / ours_s, "mb_per_s": n_bytes / MB / ours_s, "peak_mb": peak_bytes / MB,
            "floor_share": floor_s / ours_s}


def _generate(folder: Path, kind: FileKind, seconds: float) -> float:
    """The recording, written through to the disk: what is still being written back would slow whoever comes first."""
    write_recording(folder, kind, seconds)
    os.sync()
    return 0.0


def _read(files: list[Path]) -> float:
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while opened.read(MB):
                pass
    return 0.0


def _ours(recording: Path, text: str, output: Path) -> float:
    from read_sensors_utils.extract_all import extract_all

    started_s = time.perf_counter()
    extract_all(recording, output, task_from_text(text), workers=os.cpu_count() or 1)
    return time.perf_counter() - started_s


def _plain(recording: Path, text: str, output: Path, same_codec: bool) -> float:
    from app.benchmarks.baselines import extract_plainly

    started_s = time.perf_counter()
    extract_plainly(recording, task_from_text(text), output, same_codec=same_codec)
    return time.perf_counter() - started_s


def _floor(files: list[Path], text: str, seconds: float) -> float:
    from app.benchmarks.floor import frames_of_cameras, run_floor

    frames = frames_of_cameras()
    started_s = time.perf_counter()
    run_floor(files, task_from_text(text), frames, seconds)
    return time.perf_counter() - started_s


def _in_child(function: Callable[..., float], *arguments: object) -> tuple[float, int]:
    """What the function returns in a fresh process, and the most memory that process ever held, in bytes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        raise BagError(f"the benchmark's {function.__name__.strip('_')} run died with exit code {process.exitcode}; "
                       "see its message above") from None
    finally:
        process.join()


def _child(pipe: Connection, function: Callable[..., float], arguments: tuple[object, ...]) -> None:
    taken_s = function(*arguments)
    pipe.send((taken_s, _peak_bytes()))


def _peak_bytes() -> int:
    """At most so much was held by this process and those that it forked for the frames, one a core.

    Pages that they share count for each of them. Of this process the kernel's ru_maxrss would still know the parent.
    """
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    largest_child_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (int(match.group(1)) + (os.cpu_count() or 1) * largest_child_kb) * 1024
