"""Is the age that an episode stores the true age of what the policy sees, and does it stay so?

The simulator's sensor clocks say when every sample was really taken. A bag is written by them, each image spelling the
number of its capture, and is extracted as any other; then every tick is held against the truth.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ladle.episode import Episode, EpisodeFolder
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig, load_task
from read_sensors_utils.extract import extract_bag
from read_sensors_utils.find_bags import find_bags
from simulation.bag_writer import BagWriter
from simulation.camera_clock import JOINTS, SensorEvent, SensorSchedule

log = logging.getLogger("ladle.bench")

WIDTH_PX, HEIGHT_PX = 32, 16  # the images only have to spell a number
START_NS = 1_767_603_600 * 1_000_000_000
POSTURE_RAD = np.array([0.0, -0.4, 0.0, -2.2, 0.0, 1.8, 0.785])
CLOCK_RAD_S = 1e-3  # the first joint turns by this, so that joints tell their time
TICKS_RANGE = 2**16

Floats = NDArray[np.float64]
Events = Mapping[str, list[SensorEvent]]


@dataclass(frozen=True)
class AgeResult:
    """How far stored ages are from true ones.

    Attributes:
        minutes, camera_hz, latency_s: the recording.
        ticks: ticks of the episode.
        max_error_ms: of the stored age at any tick.
        first_minute_error_ms, last_minute_error_ms: mean of stored minus true age there.
        joints_max_error_ms: of the time that the joints at a tick tell, against the capture that the tick shows.
        wrong_frames: stored frames that are not the newest capture received by their tick.
        median_age_ms, max_age_ms: the true ages.
    """

    minutes: float
    camera_hz: float
    latency_s: float
    ticks: int
    max_error_ms: float
    first_minute_error_ms: float
    last_minute_error_ms: float
    joints_max_error_ms: float
    wrong_frames: int
    median_age_ms: float
    max_age_ms: float


def measure_age(minutes: float = 10.0, camera_hz: float = 14.2, latency_s: float = 0.04, *, joints_hz: float = 200.0,
                seed: int = 0) -> AgeResult:
    """Record by the simulator's sensor clocks, extract, and compare every tick with the truth.

    Args:
        camera_hz: rate of the two cameras on the hand.
        latency_s: how much later than the light their header stamps are; stated in the task file.
    """
    task = _task(camera_hz, latency_s, joints_hz)
    events = _events(task, minutes * 60.0, seed)
    with tempfile.TemporaryDirectory(prefix="ladle-age-") as scratch:
        root = Path(scratch)
        _record(root / "bags" / "rosbag_0", task, events)
        [source] = find_bags(root / "bags")
        episodes = EpisodeFolder(root / "episodes")
        extract_bag(source, task, episodes, None)
        result = _compare(episodes.load(0), task, events, minutes)
    log.info("%d ticks in %g minutes: stored ages are off by at most %.6f ms, on average by %.6f ms in the first and "
             "%.6f ms in the last minute; %d wrong frames", result.ticks, minutes, result.max_error_ms,
             result.first_minute_error_ms, result.last_minute_error_ms, result.wrong_frames)
    return result


def _task(camera_hz: float, latency_s: float, joints_hz: float) -> TaskConfig:
    task = load_task("scoop")
    assert task.joints is not None
    cameras = {key: dataclasses.replace(camera, width_px=WIDTH_PX, height_px=HEIGHT_PX, rate_hz=camera_hz,
                                        latency_s=latency_s)
               for key, camera in task.extracted_cameras.items()}
    return dataclasses.replace(task, cameras=cameras, joints=dataclasses.replace(task.joints, rate_hz=joints_hz))


def _events(task: TaskConfig, duration_s: float, seed: int) -> dict[str, list[SensorEvent]]:
    events: dict[str, list[SensorEvent]] = {JOINTS: [], **{key: [] for key in task.cameras}}
    for event in SensorSchedule(seed, task).events(duration_s):
        events[event.stream].append(event)
    return events


def _record(folder: Path, task: TaskConfig, events: Events) -> None:
    still = np.zeros(7)
    with BagWriter(folder, task, START_NS) as bag:
        bag.write_description(panda_urdf(), 0.0)
        for event in sorted(event for stream in events.values() for event in stream):
            if event.stream == JOINTS:
                q_rad = POSTURE_RAD + np.array([CLOCK_RAD_S * event.capture_s, 0, 0, 0, 0, 0, 0])
                bag.write_joints(q_rad, still, still, np.eye(4), event.header_s, event.receive_s)
            elif task.cameras[event.stream].kind == "depth":
                ticks = np.full((HEIGHT_PX, WIDTH_PX), event.index % TICKS_RANGE, np.uint16)
                bag.write_depth(event.stream, ticks, event.header_s, event.receive_s)
            else:
                bag.write_color(event.stream, _spell(event.index), event.header_s, event.receive_s)
            bag.flush(event.capture_s)


def _spell(number: int) -> NDArray[np.uint8]:
    image = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    image[:] = number >> 16, (number >> 8) & 255, number & 255
    return image


def _compare(episode: Episode, task: TaskConfig, events: Events, minutes: float) -> AgeResult:
    decision_ns = np.rint(episode.decision_s * 1e9).astype(np.int64)
    shown = {key: _newest(events[key], decision_ns) for key in task.cameras}
    wrong = sum(int(np.sum(_numbers(episode, key, task) != index % _range(key, task))) for key, index in shown.items())
    captured_s = {key: np.array([event.capture_s for event in events[key]])[index] for key, index in shown.items()}
    taken_s = np.min(np.stack(list(captured_s.values())), axis=0)
    age_s = episode.decision_s - taken_s
    error_ms = ((episode.decision_s - episode.observation_s) - age_s) * 1e3
    told_s = (episode.joints[:, 0] - POSTURE_RAD[0]) / CLOCK_RAD_S
    rate_hz = task.rate_hz
    minute = round(60 * rate_hz)
    camera = next(iter(task.cameras.values()))
    return AgeResult(
        minutes=minutes, camera_hz=camera.rate_hz, latency_s=camera.latency_s, ticks=len(episode),
        max_error_ms=float(np.max(np.abs(error_ms))), first_minute_error_ms=float(np.mean(error_ms[:minute])),
        last_minute_error_ms=float(np.mean(error_ms[-minute:])),
        joints_max_error_ms=float(np.max(np.abs(told_s - taken_s))) * 1e3, wrong_frames=wrong,
        median_age_ms=float(np.median(age_s)) * 1e3, max_age_ms=float(np.max(age_s)) * 1e3,
    )


def _newest(events: list[SensorEvent], decision_ns: NDArray[np.int64]) -> NDArray[np.intp]:
    """(T,) number of the newest capture received by each decision, event by event as a bystander would note it."""
    arrivals = sorted((round(event.receive_s * 1e9), event.index) for event in events)
    newest, shown, k = -1, np.empty(len(decision_ns), np.intp), 0
    for tick, at_ns in enumerate(decision_ns):
        while k < len(arrivals) and arrivals[k][0] <= at_ns:
            newest = max(newest, arrivals[k][1])
            k += 1
        shown[tick] = newest
    return shown


def _numbers(episode: Episode, key: str, task: TaskConfig) -> NDArray[np.int64]:
    """(T,) what the stored frames spell."""
    camera = task.cameras[key]
    pixels = np.asarray(episode.frames[camera.ticks_key or key][:, 0, 0]).astype(np.int64)
    return pixels if camera.kind == "depth" else pixels @ np.array([65536, 256, 1])


def _range(key: str, task: TaskConfig) -> int:
    return TICKS_RANGE if task.cameras[key].kind == "depth" else TICKS_RANGE * 256
