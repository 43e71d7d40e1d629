"""One recording -> one episode.

The messages are replayed once; what depends on the whole recording (clock offsets, joints at the ticks, forward
kinematics) is computed at the end from the stamps and joints alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import (
    DESCRIPTION_FILE,
    EEF_FILE,
    LABELS_FILE,
    MASS_FILE,
    TARGET_FILE,
    TICK_LABELS_FILE,
    EpisodeFolder,
    EpisodeWriter,
)
from ladle.errors import TaskError
from ladle.joints_at import joints_measured, joints_seen
from ladle.kinematics import KinematicChain
from ladle.observation_time import StreamStamps, observation_times_s
from ladle.poses_at import poses_of
from ladle.task import TaskConfig
from read_sensors_utils.annotations import labels_at_ticks, require_same_frames
from read_sensors_utils.bags import Bag
from read_sensors_utils.coverage import check_coverage
from read_sensors_utils.description import describe
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.masses import save_mass
from read_sensors_utils.recording_check import check_recording
from read_sensors_utils.replay import JOINTS, Replay, seconds
from read_sensors_utils.storage.sqlite_rows import LeftRowError
from read_sensors_utils.streams import find_topics, read_chain

log = logging.getLogger("ladle.extract")

STALE_S = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """The ticks of an episode: (T,) decision and observation times in seconds from the bag's start."""

    decision_s: Floats
    observation_s: Floats


def extract_bag(source: BagSource, task: TaskConfig, folder: EpisodeFolder, mass_g: float | None, *,
                override: bool = False, definitions: Iterable[Path] = (), processes: int = 1) -> int:
    """Extract one recording into the folder; returns the number of ticks.

    The episode appears whole or not at all. Labels that people made stay, if they still fit the frames. The number of
    processes that work on the frames changes nothing in the files.

    Raises:
        BagError: the recording cannot be read or lacks what the task needs.
        KinematicsError: the robot description lacks the task's frames.
    """
    require_extractable(task)
    extract = partial(_extract, source, task, folder, mass_g, override=override, definitions=definitions,
                      processes=processes)
    try:
        return extract(may_leave=True)
    except LeftRowError as error:
        log.info("%s: %s; reading the recording once more, no message is left in the file now", source.name, error)
    return extract(may_leave=False)


def _extract(source: BagSource, task: TaskConfig, folder: EpisodeFolder, mass_g: float | None, *, override: bool,
             definitions: Iterable[Path], processes: int, may_leave: bool) -> int:
    with Bag(source, definitions) as bag:
        topics = find_topics(bag, task)
        chain = read_chain(bag, task)
        labels = folder.frame_labels(source.number)
        with folder.writer(source.number, override=override) as writer, closing(FrameWorkers(processes)) as workers:
            replay = Replay(bag, task, topics, writer, workers, may_leave=may_leave)
            replay.run()
            check_recording(source.name, task, replay.health())
            require_same_frames(folder, source.number, task, replay.received_ns())
            check_coverage(source.name, task, replay.received_ns(), (bag.start_ns, bag.end_ns),
                           len(replay.schedule.decisions_ns))
            n_ticks = write_episode(replay, chain, mass_g, labels, writer)  # while the last frames are worked on
            replay.wait()
            return n_ticks


def timeline(stamps: dict[str, StreamStamps], decisions_ns: list[int], start_ns: int) -> Timeline:
    """Observation times of the decisions, by the rule that holds on the robot too."""
    decision_s = seconds(np.array(decisions_ns, np.int64) - start_ns)
    cameras = {name: stream for name, stream in stamps.items() if name != JOINTS}
    observation_s = observation_times_s(decision_s, cameras, {JOINTS: stamps[JOINTS]})
    assert not np.any(np.isnan(observation_s)), "a tick before the first sample"
    return Timeline(decision_s, observation_s)


def require_extractable(task: TaskConfig) -> None:
    """Raise TaskError for a task whose episodes cannot come from a recording."""
    if task.joints is None:
        raise TaskError(f"task {task.name} has no joints, so there is nothing to extract from a recording")
    if task.action_source != "next_measured":
        raise TaskError(f"task {task.name}: action_source {task.action_source} cannot be extracted; use next_measured")


def write_episode(replay: Replay, chain: KinematicChain | None, mass_g: float | None, labels: NDArray[np.int64] | None,
                  writer: EpisodeWriter) -> int:
    """Write what a replay that has run tells beside the frames; returns the number of ticks.

    Args:
        mass_g: what belongs to the recording in data.csv; None without.
        labels: (N,) stages of the labelled camera's frames that people made before; None without.

    Raises:
        EpisodeError: the labels do not fit the frames.
    """
    task, stamps = replay.task, replay.stamps()
    assert task.joints is not None
    ticks = timeline(stamps, replay.schedule.decisions_ns, replay.bag.start_ns)
    joints = replay.joints_rad()
    seen = joints_seen(stamps[JOINTS], joints, ticks.decision_s, ticks.observation_s)
    target = joints_measured(stamps[JOINTS], joints, ticks.observation_s + task.period_s)
    arrays: dict[str, NDArray[Any]] = {
        "decision_s": ticks.decision_s, "observation_s": ticks.observation_s,
        "age_s": ticks.decision_s - ticks.observation_s, "joints": seen, "target_joints": target,
    }
    for key, camera in replay.cameras.items():
        arrays[f"frame_index_{key}"] = np.array(camera.tick_frames, np.int64)
        arrays[f"header_ns_{key}"] = np.array(camera.header_ns, np.int64)
        arrays[f"receive_ns_{key}"] = np.array(camera.receive_ns, np.int64)
    _warn_if_stale(replay.bag.source.name, arrays["age_s"])
    np.savez(writer.stamps, allow_pickle=False, **arrays)
    actions = writer.folder("actions")
    if chain is not None:
        eef = poses_of(chain, seen, task.joints.names)
        target_eef = poses_of(chain, target, task.joints.names)
        # Both arrays belong to one motion, so they start on the same hemisphere.
        target_eef[:, 3:] *= 1.0 if np.dot(eef[0, 3:], target_eef[0, 3:]) >= 0 else -1.0
        np.save(actions / EEF_FILE, eef)
        np.save(actions / TARGET_FILE, target_eef)
    if mass_g is not None:
        save_mass(actions / MASS_FILE, mass_g, len(seen))
    if labels is not None:
        _keep_labels(labels, arrays, task, writer.number, actions)
    description = describe(replay, arrays, mass_g)
    (actions / DESCRIPTION_FILE).write_text(json.dumps(description, indent=1) + "\n")
    return len(seen)


def _keep_labels(labels: NDArray[np.int64], arrays: dict[str, NDArray[Any]], task: TaskConfig, number: int,
                 actions: Path) -> None:
    """Labels are people's work: a new extraction of the same recording takes them over."""
    at_ticks = labels_at_ticks(labels, arrays, task, number)
    np.save(actions / LABELS_FILE, labels)
    np.save(actions / TICK_LABELS_FILE, at_ticks)


def _warn_if_stale(name: str, age_s: Floats) -> None:
    oldest_s = float(np.max(age_s))
    if oldest_s > STALE_S:
        log.warning("%s: at %d ticks the newest camera frame was older than %.1f s (up to %.2f s); the recording "
                    "has gaps", name, int(np.sum(age_s > STALE_S)), STALE_S, oldest_s)
