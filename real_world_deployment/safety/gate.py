"""Deny by default: what must be known good before anything moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.safety.alarms import Trouble
from real_world_deployment.safety.joint_limits import MotionLimits
from real_world_deployment.safety.sampled import SampledMotion
from real_world_deployment.safety.self_checking import SelfChecking
from real_world_deployment.safety.start_region import StartRegion
from real_world_deployment.safety.watchdogs import Watchdogs
from real_world_deployment.trajectory import JointStates

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Denial:
    """One reason not to move.

    Attributes:
        what: clock, limits, frames, sensors, joints, arm, controller or start.
        why: what is missing or wrong; remedy: what to do about it.
    """

    what: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}; {self.remedy}"


class StartGate:
    """Asked before every run, and at every tick while it waits: no denial, or no motion.

    Args:
        controller: asked if it is `SelfChecking`.
        watchdogs: which know the clock, and what the arm says of itself.
        start_poses: (n, 7) where the policy's demonstrations began; None takes the task's home pose for it.
    """

    def __init__(self, task: TaskConfig, config: DeploymentConfig, chain: KinematicChain, limits: MotionLimits,
                 observations: ObservationBuffer, controller: object, watchdogs: Watchdogs,
                 start_poses: Array | None = None) -> None:
        self._task, self._config, self._chain, self._limits = task, config, chain, limits
        self._observations, self._controller, self._watchdogs = observations, controller, watchdogs
        self._start_poses = start_poses

    def denials(self, now_s: float, *, takes_over: bool = True) -> tuple[Denial, ...]:
        """Everything that is missing now; empty when a run may begin.

        Args:
            takes_over: whether a policy takes over; the way home alone may begin anywhere.
        """
        checks: tuple[Callable[[float], Denial | None], ...] = (
            self._clock, self._known_limits, self._frames, self._sensors, self._joints, self._ready_arm,
            self._known_controller)
        if takes_over:
            checks = (*checks, self._start)
        return tuple(denial for check in checks if (denial := check(now_s)) is not None)

    def _clock(self, now_s: float) -> Denial | None:
        why = self._watchdogs.clock.problem(now_s)
        return Denial("clock", why, "wait until it runs evenly; stop whatever sets it during a run") if why else None

    def _known_limits(self, now_s: float) -> Denial | None:
        limits = self._task.limits
        missing = [name for name, value in (("limits.tip_velocity_m_s", limits and limits.tip_velocity_m_s),
                                            ("workspace", self._task.workspace)) if value is None]
        if not self._config.real_robot or not missing:
            return None
        return Denial("limits", f"task {self._task.name} has no {' and no '.join(missing)}",
                      "a real robot needs them: complete the task file")

    def _frames(self, now_s: float) -> Denial | None:
        frames, chain = self._task.frames, self._chain
        if frames is not None and (frames.base, frames.tip) == (chain.base_frame, chain.tip_frame):
            return None
        wanted = "none" if frames is None else f"{frames.base} to {frames.tip}"
        return Denial("frames", f"the robot description was read from {chain.base_frame} to {chain.tip_frame}, the "
                                f"task has {wanted}", "make the task's frames those of the robot")

    def _sensors(self, now_s: float) -> Denial | None:
        why = self._observations.stale(now_s, self._config.joints_age_s, self._config.camera_age_s)
        return Denial("sensors", why, "check its driver, topic and clock") if why else None

    def _joints(self, now_s: float) -> Denial | None:
        q_rad = self._observations.newest_joints()
        if q_rad is None:
            return Denial("joints", "none received", "check the driver and the task's joint topic")
        if not np.all(np.isfinite(q_rad)):
            return Denial("joints", "not finite", "check the driver")
        rest = np.zeros((1, len(q_rad)))
        try:
            self._limits.check_places(SampledMotion(np.array([now_s]), JointStates(q_rad[None], rest, rest, rest)))
        except MotionError as error:
            return Denial("joints", str(error), "move the arm back by hand")
        return None

    def _ready_arm(self, now_s: float) -> Denial | None:
        trouble = self._watchdogs.arm.trouble(now_s)
        if trouble is None:
            why = self._watchdogs.arm.unready()
            return Denial("arm", why, "recover the arm from its error or stop, and activate the trajectory controller"
                          ) if why else None
        return Denial("arm", trouble.reason, _remedy(trouble))

    def _known_controller(self, now_s: float) -> Denial | None:
        trouble = self._controller.problem() if isinstance(self._controller, SelfChecking) else None
        return None if trouble is None else Denial("controller", trouble.reason, _remedy(trouble))

    def _start(self, now_s: float) -> Denial | None:
        """A policy takes over near to where its demonstrations began: at home, or where the arm is without homing."""
        q_rad, home = self._observations.newest_joints(), self._task.home
        if home is None or (q_rad is None and not self._config.home):
            return None
        home_pose = np.array(home.pose.xyz_xyzw)
        begin = home_pose if q_rad is None or self._config.home else self._chain.forward(q_rad)
        known = self._start_poses is not None and len(self._start_poses) > 0
        region = StartRegion("the nearest start of the training episodes" if known else "the task's home pose",
                             self._start_poses if self._start_poses is not None and known else home_pose[None],
                             self._config.start_within_m, self._config.start_within_rad)
        why = region.problem(begin)
        remedy = ("the run homes to the task's home pose: make it the one of the demonstrations" if self._config.home
                  else "let the run home, or move the arm there by hand")
        return Denial("start", why, remedy) if why else None


def _remedy(trouble: Trouble) -> str:
    """What to do, without what would follow in a run."""
    return trouble.reaction.remedy.partition(", then")[0].partition("; it")[0]
