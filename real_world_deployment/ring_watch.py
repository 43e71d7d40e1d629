"""The gate and the watchdogs over an arm whose sensors come through rings."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np

from ladle.errors import ImplausibleJointsError, MotionError, ObservationError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.frame_ring import RingReader
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.gate import StartGate
from real_world_deployment.safety.watchdogs import Watchdogs
from real_world_deployment.sensor_rings import JOINTS
from real_world_deployment.trajectory import JointTrajectory

LOOK_BACK_S = 0.1


class RingWatch:
    """Asks them; joints are read from their ring, and of frames only when the newest came: to copy them a hundred times
    a second would cost more than it tells.

    Args:
        start_ns: where the run's times count from.
    """

    def __init__(self, task: TaskConfig, chain: KinematicChain, limits: MotionLimits, config: DeploymentConfig,
                 controller: object, joints: RingReader, cameras: Mapping[str, RingReader], start_ns: int) -> None:
        assert task.joints is not None, "the task moves an arm"
        self._names, self._count = task.joints.names, ceil(task.joints.rate_hz * LOOK_BACK_S)
        self._joints, self._cameras, self._bounds, self._start_ns = joints, cameras, config.bounds, start_ns
        self._observations, self._seen = ObservationBuffer(task, chain, ()), -1
        self.watchdogs = Watchdogs(config, self._observations, controller, {})
        self._gate = StartGate(task, config, chain, limits, self._observations, controller, self.watchdogs)

    def take_joints(self, now_s: float) -> None:
        """Those that are new; to be called at every turn, which is also what the clock is judged by."""
        self.watchdogs.clock.note(now_s)
        for record in self._joints.last(self._count):
            if record.number <= self._seen:
                continue
            self._seen = record.number
            q_rad = np.asarray(record.arrays[JOINTS], np.float64)
            try:
                self._observations.add_joints(self._seconds(record.header_ns), self._seconds(record.receive_ns),
                                              self._names, q_rad.tolist())
            except ImplausibleJointsError as error:
                self.watchdogs.report(Trouble(Alarm.JOINTS_NOT_FINITE, str(error)))
            except ObservationError:  # the clock went back, and its own watchdog says so
                continue

    def look(self, now_s: float, plan: JointTrajectory) -> Trouble | None:
        """What is wrong now; None if nothing is."""
        return self.watchdogs.look(now_s, plan) or self._silent_camera(now_s)

    def expect_good(self, now_s: float) -> None:
        """Before the arm begins to move. Raises MotionError with everything that is in the way."""
        missing = [str(denial) for denial in self._gate.denials(now_s, takes_over=False)]
        silent = self._silent_camera(now_s)
        if silent is not None:
            missing.append(str(silent))
        if self.watchdogs.button is not None and not self.watchdogs.button.is_held(now_s):
            missing.append("hold the button to let the arm move")
        if missing:
            raise MotionError("; ".join(missing))
        self.watchdogs.reset()

    def _silent_camera(self, now_s: float) -> Trouble | None:
        for key, reader in self._cameras.items():
            newest_ns, allowed_s = reader.newest_receive_ns(), self._bounds.camera_stale_s - self._bounds.tick_s
            if newest_ns is None or now_s - self._seconds(newest_ns) > allowed_s:
                return Trouble(Alarm.CAMERA_STALE, f"{key}: nothing comes")
        return None

    def _seconds(self, stamp_ns: int) -> float:
        return (stamp_ns - self._start_ns) * 1e-9
