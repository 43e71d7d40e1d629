"""What `RealEnv` sees: the last frames and joints, from rings that other processes write."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ObservationError
from ladle.kinematics import KinematicChain
from ladle.pose import rotation_vector
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.frame_ring import Record, RingReader
from real_world_deployment.sensor_rings import IMAGE, JOINTS, camera_ring, joints_ring

Array = NDArray[np.float64]
JOINTS_KEY = "joints"


class RingSight:
    """Reads the rings of an arm and its cameras.

    Args:
        camera_rings, joints, n_obs_steps, frequency, clock_ns: as `RealEnv` takes them.

    Attributes:
        cameras, joints: the readers.
        frequency, n_obs_steps, dt: as in the Diffusion Policy code.
    """

    def __init__(self, task: TaskConfig, chain: KinematicChain, config: DeploymentConfig,
                 camera_rings: Mapping[str, str] | None, joints: str | None, n_obs_steps: int,
                 frequency: float | None, clock_ns: Callable[[], int]) -> None:
        assert task.joints is not None, "check the task first"
        self.frequency = task.rate_hz if frequency is None else frequency
        self.dt, self.n_obs_steps = 1.0 / self.frequency, n_obs_steps
        self._task, self._chain, self._config, self._clock_ns = task, chain, config, clock_ns
        if camera_rings is None:
            camera_rings = {key: camera_ring(task, key) for key in task.extracted_cameras}
        self.cameras = {key: RingReader(name) for key, name in camera_rings.items()}
        self.joints = RingReader(joints or joints_ring(task))
        self._joints_rate_hz = task.joints.rate_hz

    @property
    def is_whole(self) -> bool:
        """Whether every camera and the joints have been seen."""
        return all(reader.last(1) for reader in (*self.cameras.values(), self.joints))

    def wait(self, timeout_s: float) -> None:
        """Until it is whole. Raises ObservationError naming what stays away."""
        give_up_s = time.monotonic() + timeout_s
        while not self.is_whole:
            if time.monotonic() > give_up_s:
                readers = {**self.cameras, JOINTS_KEY: self.joints}
                missing = [f"{key} (ring {reader.name})" for key, reader in readers.items() if not reader.last(1)]
                raise ObservationError(f"nothing came from {', '.join(missing)} for {timeout_s:g} s; is its process "
                                       "running?")
            time.sleep(0.01)

    def window(self) -> dict[str, NDArray[Any]]:
        """What `RealEnv.get_obs` returns and raises."""
        frames = {key: self._records(key, reader, self._task.cameras[key].rate_hz)
                  for key, reader in self.cameras.items()}
        joints = self._newest_joints()
        self._refuse_stale({**frames, JOINTS_KEY: joints})
        newest_ns = max((records[-1].receive_ns for records in frames.values()), default=joints[-1].receive_ns)
        instants_ns = [newest_ns - round(age * self.dt * 1e9) for age in reversed(range(self.n_obs_steps))]
        obs = {key: np.stack([_at(records, instant).arrays[IMAGE] for instant in instants_ns])
               for key, records in frames.items()}
        q_rad = np.stack([_at(joints, instant).arrays[JOINTS] for instant in instants_ns])
        eef = self._chain.forward(q_rad)
        return {**obs, "robot_joint": q_rad, "robot_eef_pose": _vectors(eef), "eef": eef,
                "timestamp": np.array(instants_ns) * 1e-9}

    def robot_state(self) -> dict[str, NDArray[Any]]:
        """What `RealEnv.get_robot_state` returns."""
        joints = self._newest_joints()
        q_rad = np.asarray(joints[-1].arrays[JOINTS], np.float64)
        return {"robot_joint": q_rad, "robot_eef_pose": _vectors(self._chain.forward(q_rad[None]))[0],
                "timestamp": np.array(joints[-1].receive_ns * 1e-9)}

    def fresh_joints(self) -> Record:
        """The newest. Raises ObservationError: older than allowed."""
        joints = self._newest_joints()
        self._refuse_stale({JOINTS_KEY: joints})
        return joints[-1]

    def _newest_joints(self) -> list[Record]:
        return self._records(JOINTS_KEY, self.joints, self._joints_rate_hz)

    def _records(self, key: str, reader: RingReader, rate_hz: float) -> list[Record]:
        """Enough of the newest to look back over the window."""
        records = reader.last(ceil(self.n_obs_steps * rate_hz / self.frequency) + 1)
        if not records:
            raise ObservationError(f"{key}: nothing in ring {reader.name!r} yet; is its process running?")
        return records

    def _refuse_stale(self, streams: Mapping[str, list[Record]]) -> None:
        now_ns = self._clock_ns()
        for key, records in streams.items():
            allowed_s = self._config.joints_age_s if key == JOINTS_KEY else self._config.camera_age_s
            age_s = (now_ns - records[-1].receive_ns) * 1e-9
            if age_s > allowed_s:
                raise ObservationError(f"{key}: newest sample is {age_s:.3f} s old, at most {allowed_s} s are allowed")


def _at(records: list[Record], instant_ns: int) -> Record:
    """The newest record received by the instant; the oldest there is where all are younger."""
    return next((record for record in reversed(records) if record.receive_ns <= instant_ns), records[0])


def _vectors(poses: Array) -> Array:
    """(n, 6) metres and rotation vector, as that code has it, of poses (n, 7)."""
    return np.hstack([poses[:, :3], rotation_vector(poses[:, 3:])])
