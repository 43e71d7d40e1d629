"""episode.json: what an episode is made of, for people and for checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.task import TaskConfig, task_text
from read_sensors_utils.bags import Bag, file_checksums
from read_sensors_utils.camera_recorder import CameraRecorder

SCHEMA_VERSION = 1
UNITS = {"time": "s from the bag's start", "position": "m", "joints": "rad", "mass": "g",
         "depth": "ticks of depth_scale_m, 0 = invalid"}


def describe(bag: Bag, task: TaskConfig, joints_topic: str, cameras: Mapping[str, CameraRecorder],
             arrays: Mapping[str, NDArray[Any]], offsets_ns: Mapping[str, int], joints_receive_ns: NDArray[np.int64],
             mass_g: float | None) -> dict[str, Any]:
    """The content of episode.json."""
    age_s = arrays["age_s"]
    joints = {"topic": joints_topic, **_stream(bag, joints_topic, joints_receive_ns, offsets_ns["joints"])}
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
        "source": {"bag": bag.source.name, "sha256": file_checksums(bag.source), "start_ns": bag.start_ns,
                   "duration_s": (bag.end_ns - bag.start_ns) * 1e-9},
        "streams": {"joints": joints,
                    **{key: _camera(bag, camera, offsets_ns[key]) for key, camera in cameras.items()}},
        "age_s": {"min": float(np.min(age_s)), "median": float(np.median(age_s)), "max": float(np.max(age_s))},
        "action_source": task.action_source,
        "task_name": task.name,
        "task": task_text(task),
    }


def _camera(bag: Bag, recorder: CameraRecorder, offset_ns: int) -> dict[str, Any]:
    camera = recorder.camera
    source_px, kept_px = list(recorder.source_size_px), [camera.width_px, camera.height_px]
    told: dict[str, Any] = {"topic": recorder.topic, "kind": camera.kind, "source_size_px": source_px,
                            "size_px": kept_px, "latency_s": camera.latency_s}
    if camera.kind == "depth":
        told |= {"depth_scale_m": camera.depth_scale_m, "near_m": camera.near_m, "far_m": camera.far_m,
                 "ticks_key": camera.ticks_key}
    return told | _stream(bag, recorder.topic, np.array(recorder.receive_ns, np.int64), offset_ns)


def _stream(bag: Bag, topic: str, receive_ns: NDArray[np.int64], offset_ns: int) -> dict[str, Any]:
    gaps_s = np.diff(receive_ns) * 1e-9
    return {
        "type": bag.topics[topic].type_name,
        "n_samples": len(receive_ns),
        "measured_rate_hz": round(1.0 / float(np.mean(gaps_s)), 3) if len(gaps_s) and np.mean(gaps_s) > 0 else None,
        "longest_gap_s": round(float(np.max(gaps_s)), 6) if len(gaps_s) else None,
        "clock_offset_s": offset_ns * 1e-9,
    }
