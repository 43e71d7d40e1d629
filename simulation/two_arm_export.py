"""A replay buffer of two simulated arms with three cameras, for configurations of the ALOHA kind.

The arms do not meet: left and right are two scooping scenes that run side by side, each with a Panda and its expert.
Camera images are drawn at a camera's pace and held in between; they are stretched to the size that the task gives.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import SimulationError
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import TaskConfig, load_task, task_text
from simulation import expert
from simulation.record import MAX_ATTEMPTS, RETRY_STRIDE
from simulation.reflex_model import CYCLE_S
from simulation.renderer import Backend, Camera, Renderer
from simulation.scene_sampling import SceneConfig, sample_scene
from simulation.world import RenderState, ScoopWorld

log = logging.getLogger(__name__)

ARMS = ("left", "right")
JOINT_NAMES = tuple(f"{arm}_panda_joint{number}" for arm in ARMS for number in range(1, 8))
WRIST_CAMERA = {"left": "cam_left_wrist", "right": "cam_right_wrist"}
HIGH_CAMERA = "cam_high"
SIMULATED = ("two simulated Pandas, each alone in a scooping scene of its own; columns are 7 joints of the left arm, "
             "then 7 of the right one, no gripper")

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class _Track:
    """What one arm did: measured and commanded joints (T, 7), and what its cameras are to draw every so many ticks."""

    scene: SceneConfig
    q_rad: Floats
    commanded_rad: Floats
    states: tuple[RenderState, ...]


def export_two_arms(output: Path, n_episodes: int, *, first_seed: int = 0, seconds: float = expert.DURATION_S,
                    camera_rate_hz: float = 10.0, backend: Backend = "auto") -> Path:
    """Write a replay buffer that training/config/aloha.yaml reads.

    Streams: cam_high (both scenes from the front, side by side), cam_left_wrist and cam_right_wrist in the task's
    size, joints (T, 14) as measured and action (T, 14) as commanded for the next tick, rad.

    Args:
        seconds: how much of each demonstration is kept, from its beginning.
        camera_rate_hz: of the simulated cameras; drawing takes nearly all of the time.

    Raises:
        SimulationError: the output exists, an argument does not fit, or the expert keeps failing.
    """
    task = two_arm_task()
    stride = round(task.rate_hz / camera_rate_hz) if camera_rate_hz > 0 else 0
    if stride < 1 or abs(stride * camera_rate_hz - task.rate_hz) > 1e-6:
        raise SimulationError(f"a camera rate of {camera_rate_hz:g} Hz must divide the task's {task.rate_hz:g} Hz")
    ticks = round(min(seconds, expert.DURATION_S) * task.rate_hz) - 1
    if ticks < 1:
        raise SimulationError(f"{seconds:g} s are less than two ticks of {task.rate_hz:g} Hz; keep more")
    if output.exists():
        raise SimulationError(f"{output} exists already; remove it or choose another name")
    meta = {"task": task_text(task), "episodes": list(range(n_episodes)), "simulated": SIMULATED,
            "camera_rate_hz": camera_rate_hz}
    with ReplayBufferWriter(output, meta) as writer:
        for episode in range(n_episodes):
            tracks = {arm: _track(first_seed + len(ARMS) * episode + i, task, ticks, stride)
                      for i, arm in enumerate(ARMS)}
            writer.append_episode(_streams(tracks, task, ticks, stride, backend))
            log.info("episode %d: %d ticks (%d of %d)", episode, ticks, episode + 1, n_episodes)
    return output


def two_arm_task() -> TaskConfig:
    """The aloha task with the joints that are simulated in place of its own."""
    task = load_task("aloha")
    assert task.joints is not None
    return replace(task, joints=replace(task.joints, names=JOINT_NAMES))


def _track(seed: int, task: TaskConfig, ticks: int, stride: int) -> _Track:
    """One arm's demonstration; where the expert fails, another scene takes its place."""
    for attempt in range(MAX_ATTEMPTS):
        scene = sample_scene(seed + attempt * RETRY_STRIDE, "train")
        try:
            track = _demonstrated(scene, task, ticks, stride)
        except SimulationError as error:
            log.debug("seed %d: %s", scene.seed, error)
            continue
        if track is not None:
            return track
    raise SimulationError(f"the expert failed {MAX_ATTEMPTS} times from seed {seed} on; start from another seed")


def _demonstrated(scene: SceneConfig, task: TaskConfig, ticks: int, stride: int) -> _Track | None:
    """None where the expert does not succeed, which shows only at the end."""
    setpoints = expert.plan(scene)
    world = ScoopWorld(scene)
    cycles = np.rint(np.arange(ticks + 1) * task.period_s / CYCLE_S).astype(np.int64)
    measured: list[Floats] = []
    states: list[RenderState] = []
    for tick in range(ticks):
        measured.append(world.q_rad)
        if tick % stride == 0:
            states.append(world.render_state())
        world.step(setpoints[cycles[tick]:cycles[tick + 1]])
    world.step(setpoints[cycles[ticks]:])
    if not world.succeeded:
        return None
    return _Track(scene, np.stack(measured), setpoints[cycles[1:] - 1], tuple(states))


def _streams(tracks: dict[str, _Track], task: TaskConfig, ticks: int, stride: int,
             backend: Backend) -> dict[str, NDArray[np.generic]]:
    """An episode's arrays, key -> (ticks, ...)."""
    drawn = {arm: _drawn(track, backend) for arm, track in tracks.items()}
    images = {WRIST_CAMERA[arm]: views["hand"] for arm, views in drawn.items()}
    images[HIGH_CAMERA] = np.concatenate([drawn[arm]["front"] for arm in ARMS], axis=2)
    held = np.arange(ticks) // stride
    streams: dict[str, NDArray[np.generic]] = {}
    for key, frames in images.items():
        size = (task.cameras[key].width_px, task.cameras[key].height_px)
        streams[key] = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])[held]
    streams["joints"] = np.concatenate([tracks[arm].q_rad for arm in ARMS], axis=1).astype(np.float32)
    streams["action"] = np.concatenate([tracks[arm].commanded_rad for arm in ARMS], axis=1).astype(np.float32)
    return streams


def _drawn(track: _Track, backend: Backend) -> dict[Camera, Images]:
    """Both cameras of one scene: (n, H, W, 3)."""
    cameras: tuple[Camera, ...] = ("hand", "front")
    with Renderer(track.scene, backend) as renderer:
        return {camera: np.stack([renderer.render(state, camera)[0] for state in track.states]) for camera in cameras}
