"""What the arrays of an episode must satisfy beyond having one length; each check yields a sentence per fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import Episode
from ladle.episode_files import MASS_FILE
from ladle.task import TaskConfig

UNIT_TOLERANCE = 1e-3  # float32 on the disk
TIME_TOLERANCE_S = 1e-9
TICKS_A_READ = 64


def motion_faults(episode: Episode) -> Iterator[str]:
    """Joints and poses are finite, quaternions continuous, observation times in order."""
    arrays = {"joints": episode.joints, "target_joints": episode.target_joints, "eef": episode.eef,
              "target": episode.target, "decision_s": episode.decision_s, "observation_s": episode.observation_s}
    for name, values in arrays.items():
        if values is not None and not np.all(np.isfinite(values)):
            yield f"{name} is not finite at tick {_first(~np.isfinite(values))}"
    for name, poses in (("eef", episode.eef), ("target", episode.target)):
        if poses is not None:
            yield from quaternion_faults(poses[:, 3:], name)
    back = np.diff(episode.observation_s) < -TIME_TOLERANCE_S
    if np.any(back):
        yield f"observation times go back after tick {_first(back)}"


def quaternion_faults(quaternions: NDArray[Any], name: str) -> Iterator[str]:
    """(T, 4) xyzw: of unit length, and no jump to the other hemisphere from one row to the next."""
    wrong = ~(np.abs(np.linalg.norm(quaternions.astype(np.float64), axis=1) - 1.0) <= UNIT_TOLERANCE)
    if np.any(wrong):
        yield f"the quaternion of {name} is not of unit length at tick {_first(wrong)}"
    flips = np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0
    if np.any(flips):
        yield f"the quaternion of {name} changes its sign after tick {_first(flips)}"


def stamp_faults(stamps: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Frames were received in order, and each tick shows a frame that is there and no older than the tick before."""
    for key in [name.removeprefix("receive_ns_") for name in stamps if name.startswith("receive_ns_")]:
        receive, header = stamps[f"receive_ns_{key}"], stamps.get(f"header_ns_{key}")
        back = np.diff(receive) < 0
        if np.any(back):
            yield f"receive stamps of {key} go back after frame {_first(back)}"
        if header is not None and len(header) != len(receive):
            yield f"{key} has {len(header)} header stamps and {len(receive)} receive stamps"
        shown = stamps.get(f"frame_index_{key}")
        if shown is None:
            continue
        if len(shown) != len(stamps["decision_s"]):
            yield f"{key} has frames for {len(shown)} of {len(stamps['decision_s'])} ticks"
        elif len(shown) and (shown.min() < 0 or shown.max() >= len(receive) or np.any(np.diff(shown) < 0)):
            yield f"the ticks show frames {shown.min()} to {shown.max()} of {key} out of order or beyond {len(receive)}"


def mass_faults(actions: Path, episode: Episode, task: TaskConfig | None) -> Iterator[str]:
    """Where the task has a mass: one finite value, repeated at every tick."""
    if task is None or not task.mass:
        return
    if not (actions / MASS_FILE).is_file():
        yield f"{MASS_FILE} is missing"
        return
    rows = np.loadtxt(actions / MASS_FILE, ndmin=2)
    if len(rows) != len(episode) or not np.all(np.isfinite(rows[:, 1])) or np.ptp(rows[:, 1]) > 0:
        yield f"{MASS_FILE} holds {len(rows)} rows, expected one finite mass repeated {len(episode)} times"


def decoding_faults(episode: Episode, task: TaskConfig) -> Iterator[str]:
    """The frames of the ticks are there at the task's size, and every chunk of them can be decoded."""
    for key, camera in task.extracted_cameras.items():
        name = camera.ticks_key or key
        if name not in episode.frames:
            yield f"frames {name!r} are missing"
            continue
        frames = episode.frames[name]
        expected = (len(episode), camera.height_px, camera.width_px, *((3,) if camera.kind == "color" else ()))
        if tuple(frames.shape) != expected:
            yield f"frames {name!r} have shape {tuple(frames.shape)}, expected {expected}"
        yield from _undecodable(frames, name)


def _undecodable(frames: Any, name: str) -> Iterator[str]:
    for start in range(0, frames.shape[0], TICKS_A_READ):
        try:
            np.asarray(frames[start : start + TICKS_A_READ])
        except (OSError, ValueError, RuntimeError) as error:  # noqa: PERF203  (the tick is to be named)
            yield f"frames {name!r} from tick {start} on cannot be decoded: {error}"
            return


def _first(wrong: NDArray[Any]) -> int:
    return int(np.argwhere(wrong)[0, 0])
