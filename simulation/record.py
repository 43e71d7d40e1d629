"""Demonstrations of the simulated expert as ROS 2 bags, with the scooped masses and the true stage of every frame.

    output/rosbag_<i>/rosbag_<i>_0.mcap   and metadata.yaml
    output/truth/<i>.npz                  header_ns (F,) and stage (F,) of the hand camera's colour frames, mass_g, seed
                                          and wished_g where the expert was asked for a mass
    output/data.csv                       columns index, mass (grams)
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.atomic import replace_file
from ladle.errors import SimulationError
from ladle.parent_death import end_with_parent
from ladle.pose import quaternion_to_matrix
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig, load_task
from simulation.bag_writer import BagWriter, Storage
from simulation.camera_clock import SIMULATED_CAMERA
from simulation.demonstration import ArmReading, Demonstration, Look, demonstrate
from simulation.renderer import Backend, Renderer
from simulation.scene import build_model
from simulation.scene_sampling import sample_scene
from simulation.wished_load import check_range, draw_wish

log = logging.getLogger(__name__)

LABELLED_CAMERA = "camera_1"
EPOCH_NS = 1_767_603_600 * 1_000_000_000  # bag 0 begins on 2026-01-05 at 09:00 UTC, the others a minute apart
SPACING_NS = 60 * 1_000_000_000
# A scene in which the expert fails is replaced by one this many seeds away, so that no index takes another's scene.
RETRY_STRIDE = 1_000_000
MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Recorded:
    """One bag on the disk."""

    index: int
    seed: int
    mass_g: float
    wished_g: float | None = None


@dataclass(frozen=True)
class _Job:
    output: Path
    index: int
    first_seed: int
    storage: Storage
    backend: Backend
    mass_range_g: tuple[float, float] | None


def record_demonstrations(
    output: Path, n: int, first_seed: int = 0, storage: Storage = "mcap", workers: int = 2, backend: Backend = "auto",
    mass_range_g: tuple[float, float] | None = None,
) -> list[Recorded]:
    """Record `n` successful demonstrations of training scenes; those already there are kept.

    Bag i shows the scene of seed `first_seed` + i; where the expert fails there, of that seed + 1 000 000, and so on.
    So the bags do not depend on the number of workers, and an interrupted run can be taken up again.

    Args:
        mass_range_g: in each scene the expert is asked for a mass from this range, uniform and drawn from the
            scene's seed; None lets it fill the spoon.

    Raises:
        SimulationError: `output` holds bags of other seeds or wishes, or the expert keeps failing.
    """
    if mass_range_g is not None:
        check_range(mass_range_g)
    output.mkdir(parents=True, exist_ok=True)
    done = _already_recorded(output)
    for record in done.values():
        if (record.seed - first_seed - record.index) % RETRY_STRIDE != 0:
            raise SimulationError(
                f"{output} holds rosbag_{record.index} of seed {record.seed}, which does not belong to first seed "
                f"{first_seed}; choose another folder or the same first seed"
            )
        if record.wished_g != (wished := _wish(record.seed, mass_range_g)):
            raise SimulationError(
                f"{output} holds rosbag_{record.index}, recorded with {_said(record.wished_g)}, and this recording has "
                f"{_said(wished)}; choose another folder or the same mass range"
            )
    jobs = [_Job(output, index, first_seed, storage, backend, mass_range_g) for index in range(n) if index not in done]
    _write_masses(output, done.values())
    for record in _run(jobs, workers):
        done[record.index] = record
        _write_masses(output, done.values())
        log.info("recorded rosbag_%d: seed %d, %.1f g (%d of %d)", record.index, record.seed, record.mass_g,
                 len(done), n)
    return [done[index] for index in sorted(done)]


def _run(jobs: list[_Job], workers: int) -> Iterator[Recorded]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_record, jobs)
        return
    # Spawned, because a forked process inherits a GL context that it cannot use.
    context = multiprocessing.get_context("spawn")
    with (_one_thread_each(),
          ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=end_with_parent) as pool):
        futures = [pool.submit(_record, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Generator[None, None, None]:
    """Processes started inside use one thread for numerics: they already share the cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _record(job: _Job) -> Recorded:
    """Find a scene in which the expert succeeds, and write its truth and then, as the sign of completeness, its bag."""
    task = load_task("scoop")
    for attempt in range(MAX_ATTEMPTS):
        seed = job.first_seed + job.index + attempt * RETRY_STRIDE
        wished_g = _wish(seed, job.mass_range_g)
        demonstration = _attempt(seed, task, wished_g)
        if demonstration is None:
            continue
        start_ns = EPOCH_NS + job.index * SPACING_NS
        _write_truth(_truth_path(job.output, job.index), demonstration, start_ns, seed, wished_g)
        _write_bag(_bag_path(job.output, job.index), demonstration, task, start_ns, job)
        return Recorded(job.index, seed, demonstration.mass_g, wished_g)
    raise SimulationError(
        f"the expert failed {MAX_ATTEMPTS} times for bag {job.index} (seeds {job.first_seed + job.index}, "
        f"and up in steps of {RETRY_STRIDE}); start from another seed"
    )


def _wish(seed: int, mass_range_g: tuple[float, float] | None) -> float | None:
    return None if mass_range_g is None else draw_wish(sample_scene(seed, "train"), mass_range_g)


def _said(wished_g: float | None) -> str:
    return "no wished mass" if wished_g is None else f"a wished mass of {wished_g:.3f} g"


def _attempt(seed: int, task: TaskConfig, wished_g: float | None) -> Demonstration | None:
    try:
        demonstration = demonstrate(sample_scene(seed, "train"), task, wished_g)
    except SimulationError as error:
        log.warning("seed %d is not recorded: %s", seed, error)
        return None
    if not demonstration.succeeded:
        why = demonstration.reflex or f"{demonstration.mass_g:.1f} g on the spoon"
        log.warning("seed %d is not recorded: the expert failed (%s)", seed, why)
        return None
    return demonstration


def _write_bag(folder: Path, demonstration: Demonstration, task: TaskConfig, start_ns: int, job: _Job) -> None:
    scene = demonstration.scene
    model = build_model(scene)
    fov_rad = {key: float(np.deg2rad(model.camera(name).fovy[0])) for key, name in SIMULATED_CAMERA.items()}
    with (
        Renderer(scene, job.backend) as renderer,
        BagWriter(folder, task, start_ns, job.storage, fov_rad) as bag,
    ):
        bag.write_description(panda_urdf(), 0.0)
        images: dict[str, tuple[float, NDArray[np.uint8], NDArray[np.uint16]]] = {}
        for look in demonstration.looks:
            if look.arm is not None:
                _write_joints(bag, look, look.arm)
            else:
                _write_image(bag, look, task, renderer, images)
            bag.flush(look.event.capture_s)


def _write_joints(bag: BagWriter, look: Look, arm: ArmReading) -> None:
    o_t_ee = np.eye(4)
    o_t_ee[:3, :3] = quaternion_to_matrix(arm.tip_pose[3:])
    o_t_ee[:3, 3] = arm.tip_pose[:3]
    bag.write_joints(arm.q_rad, arm.dq_rad_s, arm.tau_nm, o_t_ee, look.event.header_s, look.event.receive_s)


def _write_image(
    bag: BagWriter,
    look: Look,
    task: TaskConfig,
    renderer: Renderer,
    images: dict[str, tuple[float, NDArray[np.uint8], NDArray[np.uint16]]],
) -> None:
    """Colour and depth of one camera are taken together, so they are drawn once and kept in `images`."""
    event = look.event
    assert event.camera in ("hand", "front")
    assert look.view is not None
    if event.camera not in images or images[event.camera][0] != event.capture_s:
        images[event.camera] = (event.capture_s, *renderer.render(look.view, event.camera))
    _, color, ticks = images[event.camera]
    if task.cameras[event.stream].kind == "depth":
        bag.write_depth(event.stream, ticks, event.header_s, event.receive_s)
    else:
        compressed = event.stream == LABELLED_CAMERA
        bag.write_color(event.stream, color, event.header_s, event.receive_s, compressed)


def _write_truth(path: Path, demonstration: Demonstration, start_ns: int, seed: int, wished_g: float | None) -> None:
    frames = [look for look in demonstration.looks if look.event.stream == LABELLED_CAMERA]
    header_ns = np.array([start_ns + round(look.event.header_s * 1e9) for look in frames], np.int64)
    stage = np.array([look.stage for look in frames], np.int64)
    path.parent.mkdir(exist_ok=True)
    with replace_file(path) as partial, partial.open("wb") as file:
        wish: dict[str, Any] = {} if wished_g is None else {"wished_g": wished_g}
        np.savez(file, header_ns=header_ns, stage=stage, mass_g=demonstration.mass_g, seed=seed, **wish)


def _write_masses(output: Path, records: Iterable[Recorded]) -> None:
    rows = [f"{record.index},{record.mass_g:.3f}\n" for record in sorted(records, key=lambda record: record.index)]
    with replace_file(output / "data.csv") as partial:
        partial.write_text("index,mass\n" + "".join(rows))


def _already_recorded(output: Path) -> dict[int, Recorded]:
    """Bags with their truth. A truth without a bag was cut off and is made again."""
    found: dict[int, Recorded] = {}
    for path in sorted((output / "truth").glob("[0-9]*.npz")):
        index = int(path.stem)
        if (_bag_path(output, index) / "metadata.yaml").is_file():
            with np.load(path) as truth:
                wished_g = float(truth["wished_g"]) if "wished_g" in truth else None
                found[index] = Recorded(index, int(truth["seed"]), float(truth["mass_g"]), wished_g)
    return found


def _bag_path(output: Path, index: int) -> Path:
    return output / f"rosbag_{index}"


def _truth_path(output: Path, index: int) -> Path:
    return output / "truth" / f"{index}.npz"
