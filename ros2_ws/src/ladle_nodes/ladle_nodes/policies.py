"""The policies that the policy node can run: a checkpoint, and the controls that tell whether it sees anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk, Guidance, ObservationWindow, Policy
from ladle.resample import interpolate_poses
from ladle.task import TaskConfig, load_task

Floats = NDArray[np.float64]

# How far ahead the controls answer, in ticks; longer than any pause between two decisions.
CONTROL_HORIZON = 16
SWAY_RADIUS_M, SWAY_PERIOD_S = 0.09, 1.6


class ReplayPolicy:
    """A recorded demonstration, played back by the time since the first decision, whatever is seen."""

    n_obs_steps = 1
    observation_keys = ("eef",)

    def __init__(self, observation_s: Floats, targets: Floats, period_s: float) -> None:
        """Episode with observation times (T,) and targets (T, 7), each to be reached one period after its time."""
        self._reached_s = observation_s + period_s - observation_s[0]
        self._targets = targets
        self._period_s = period_s
        self._begun_s: float | None = None

    def reset(self, seed: int) -> None:
        """Start from the episode's beginning at the next decision."""
        self._begun_s = None

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """The poses that were recorded this long after the beginning."""
        if self._begun_s is None:
            self._begun_s = window.time_s
        times_s: Floats = window.time_s + self._period_s * np.arange(1, CONTROL_HORIZON + 1, dtype=np.float64)
        return ActionChunk(window.time_s, times_s, {
            "pose": interpolate_poses(self._reached_s, self._targets, times_s - self._begun_s)})


class HoldPolicy:
    """Stays at the pose of the first decision."""

    n_obs_steps = 1

    def __init__(self, cameras: tuple[str, ...], period_s: float) -> None:
        """Cameras are read and checked, though not looked at."""
        self.observation_keys = ("eef", *cameras)
        self._period_s = period_s
        self._pose: Floats | None = None

    def reset(self, seed: int) -> None:
        """Hold the next pose that is seen."""
        self._pose = None

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """The same pose for the whole horizon."""
        if self._pose is None:
            self._pose = np.asarray(window.streams["eef"][-1], np.float64)
        times_s: Floats = window.time_s + self._period_s * np.arange(1, CONTROL_HORIZON + 1, dtype=np.float64)
        return ActionChunk(window.time_s, times_s, {"pose": np.tile(self._pose, (CONTROL_HORIZON, 1))})


class SwayPolicy:
    """Circles without end about the pose of the first decision: to try an arm's stops and faults while it moves."""

    n_obs_steps = 1

    def __init__(self, cameras: tuple[str, ...], period_s: float) -> None:
        """Cameras are read and checked, though not looked at."""
        self.observation_keys = ("eef", *cameras)
        self._period_s = period_s
        self._first: tuple[float, Floats] | None = None

    def reset(self, seed: int) -> None:
        """Circle about the next pose that is seen."""
        self._first = None

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """The circle from now on; its radius grows in the first second."""
        if self._first is None:
            self._first = window.time_s, np.asarray(window.streams["eef"][-1], np.float64)
        begun_s, pose = self._first
        times_s: Floats = window.time_s + self._period_s * np.arange(1, CONTROL_HORIZON + 1, dtype=np.float64)
        angle = 2.0 * np.pi * (times_s - begun_s) / SWAY_PERIOD_S
        radius_m = SWAY_RADIUS_M * np.clip(times_s - begun_s, 0.0, 1.0)
        poses = np.tile(pose, (CONTROL_HORIZON, 1))
        poses[:, 1] += radius_m * np.cos(angle)
        poses[:, 2] += radius_m * np.sin(angle)
        return ActionChunk(window.time_s, times_s, {"pose": poses})


@dataclass(frozen=True)
class PolicyRecipe:
    """All that a policy is made from, as plain values: for the process that it runs in, and for a run's recording.

    Attributes:
        kind: checkpoint, blind, replay, hold or sway; or remote, one that another process serves on topics.
        task: name or path of the task file.
        checkpoint, episodes, episode, threads: as in the run's description.
        guidance: the mass to ask for.
    """

    kind: str
    task: str
    checkpoint: str = ""
    episodes: str = ""
    episode: int = -1
    threads: int = 1
    guidance: Guidance | None = None

    def make(self) -> Policy:
        """Raises LadleError: the checkpoint or the episode cannot be used."""
        return make_policy(self.kind, load_task(self.task), self.checkpoint, self.episodes, self.episode, self.threads,
                           self.guidance)

    def with_checkpoint(self, checkpoint: Path) -> PolicyRecipe:
        """The same questions to another checkpoint."""
        kind = self.kind if self.kind in ("checkpoint", "blind") else "checkpoint"
        return replace(self, kind=kind, checkpoint=str(checkpoint.absolute()))

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> PolicyRecipe:
        """The inverse of to_json."""
        values = json.loads(text)
        guidance = values.pop("guidance")
        return PolicyRecipe(**values, guidance=None if guidance is None else Guidance(**guidance))


def from_json(text: str) -> Policy:
    """The policy of a recipe: what `real_world_deployment.policy_process` calls."""
    return PolicyRecipe.from_json(text).make()


def make_policy(kind: str, task: TaskConfig, checkpoint: str, episodes: str, episode: int, threads: int,
                guidance: Guidance | None = None) -> Policy:
    """The policy that a run's description names; a checkpoint is asked for the mass of the guidance.

    Raises:
        LadleError: the checkpoint or the episode cannot be used.
    """
    makers: dict[str, Callable[[], Policy]] = {
        "checkpoint": lambda: _load(checkpoint, task, threads, guidance, blind=False),
        "blind": lambda: _load(checkpoint, task, threads, guidance, blind=True),
        "replay": lambda: _replay(Path(episodes), episode, task),
        "hold": lambda: HoldPolicy(_color_cameras(task), task.period_s),
        "sway": lambda: SwayPolicy(_color_cameras(task), task.period_s),
        "remote": _remote,
    }
    return makers[kind]()


def _remote() -> Policy:
    # Only this policy needs a node of its own.
    from ladle_nodes.remote_policy import RemotePolicy

    return RemotePolicy()


def _color_cameras(task: TaskConfig) -> tuple[str, ...]:
    return tuple(key for key, camera in task.extracted_cameras.items() if camera.kind == "color")


def _load(checkpoint: str, task: TaskConfig, threads: int, guidance: Guidance | None, *, blind: bool) -> Policy:
    # torch takes seconds to import, and a replay does not need it.
    import torch

    from training.inference import load_policy

    torch.set_num_threads(threads)
    return load_policy(Path(checkpoint), task=task, blind=blind, guidance=guidance)


def _replay(folder: Path, number: int, task: TaskConfig) -> Policy:
    # Episodes need zarr 3, which a robot PC on Python 3.10 cannot have.
    from ladle.episode import EpisodeFolder

    episodes = EpisodeFolder(folder)
    numbers = episodes.numbers()
    if not numbers:
        raise DeploymentError(f"{folder} holds no complete episode; policy:=replay needs one")
    episode = episodes.load(numbers[0] if number < 0 else number)
    if episode.target is None:
        raise DeploymentError(f"episode {episode.index} in {folder} has no poses; a replay follows poses")
    return ReplayPolicy(episode.observation_s, np.asarray(episode.target, np.float64), task.period_s)
