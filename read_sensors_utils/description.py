"""episode.json: what an episode is made of, for people and for checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.task import task_text
from read_sensors_utils.bags import Bag
from read_sensors_utils.camera_recorder import CameraRecorder
from read_sensors_utils.checksums import file_stats
from read_sensors_utils.clocks import ClockMap
from read_sensors_utils.recording_check import JOINTS, episode_clock
from read_sensors_utils.replay import JointRecorder, Replay
from read_sensors_utils.stream_health import StreamHealth

SCHEMA_VERSION = 1
UNITS = {"time": "s from the bag's start", "position": "m", "joints": "rad", "mass": "g",
         "depth": "ticks of depth_scale_m, 0 = invalid"}


def describe(replay: Replay, arrays: Mapping[str, NDArray[Any]], mass_g: float | None) -> dict[str, Any]:
    """The content of episode.json."""
    bag, task, age_s = replay.bag, replay.task, arrays["age_s"]
    health, clocks = replay.health(), replay.clocks()
    streams = {JOINTS: {"topic": replay.topics.joints, **_skipped(bag, replay.joints, replay.topics.joints)},
               **{key: _camera(camera) | _skipped(bag, camera, camera.topic) for key, camera in replay.cameras.items()}}
    for name, told in streams.items():
        told |= _stream(bag.topics[told["topic"]].type_name, health[name], clocks[name])
    return {
        "schema_version": SCHEMA_VERSION,
        "index": bag.source.number,
        "n_ticks": len(age_s),
        "rate_hz": task.rate_hz,
        "quaternion_order": "xyzw",
        "frames": {"base": task.frames.base, "tip": task.frames.tip} if task.frames else None,
        "joint_names": list(task.joints.names) if task.joints else [],
        "units": UNITS,
        "mass_g": mass_g,
        "source": {"bag": bag.source.name, **replay.checksums, "files": file_stats(bag.source),
                   "losses": bag.losses.reasons,
                   "start_ns": bag.start_ns,
                   "duration_s": (bag.end_ns - bag.start_ns) * 1e-9},
        "clock": episode_clock(health),
        "streams": streams,
        "age_s": {"min": float(np.min(age_s)), "median": float(np.median(age_s)), "max": float(np.max(age_s))},
        "action_source": task.action_source,
        "checksums": True,
        "task_name": task.name,
        "task": task_text(task),
    }


def _camera(recorder: CameraRecorder) -> dict[str, Any]:
    camera = recorder.camera
    source_px, kept_px = list(recorder.source_size_px), [camera.width_px, camera.height_px]
    told: dict[str, Any] = {"topic": recorder.topic, "kind": camera.kind, "source_size_px": source_px,
                            "size_px": kept_px, "latency_s": camera.latency_s}
    if camera.kind == "depth":
        told |= {"depth_scale_m": camera.depth_scale_m, "near_m": camera.near_m, "far_m": camera.far_m,
                 "ticks_key": camera.ticks_key}
    return told


def _skipped(bag: Bag, recorder: CameraRecorder | JointRecorder, topic: str) -> dict[str, Any]:
    """How many messages were left out, and why one of them was."""
    undecodable = bag.skipped.get(topic)
    if undecodable is None:
        return {"skipped": recorder.skipped, "skipped_reason": recorder.reason}
    return {"skipped": recorder.skipped + undecodable.count, "skipped_reason": recorder.reason or undecodable.reason}


def _stream(type_name: str, health: StreamHealth, clock: ClockMap) -> dict[str, Any]:
    return {"type": type_name, "n_samples": health.count, "clock_offset_s": clock.offset_ns * 1e-9,
            "clock_rate": clock.rate, "health": health.to_json()}
