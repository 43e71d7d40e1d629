"""What the arm is told: the plan in force, the way home, the way to rest."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError, MotionError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from ladle.task import TaskConfig
from real_world_deployment.chunking import REST_S, rested, waits_for_rest
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import Controller
from real_world_deployment.homing import Homing
from real_world_deployment.loop_state import LoopCounts
from real_world_deployment.receding import RecedingPlan
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.speed import homing_share, stretched_chunk, stretched_config
from real_world_deployment.splice import Splice, Splicer
from real_world_deployment.trajectory import JointTrajectory, at_rest

log = logging.getLogger(__name__)

Array = NDArray[np.float64]
FOLLOWED = {"pose", "joints"}
SETTLED_S = 0.5


class ArmMotion:
    """One arm's motion. Every plan ends at rest, and the controller never holds more than its next part.

    Attributes:
        counts: what has happened.
        home_rad: (J,) joints of the home pose.
    """

    def __init__(self, task: TaskConfig, chain: KinematicChain, limits: MotionLimits, config: DeploymentConfig,
                 controller: Controller) -> None:
        """Raises KinematicsError for an unreachable home pose."""
        assert task.home is not None, "check_task first"
        followed = [part for part in task.action if part.kind in FOLLOWED]
        self._config = config
        self._receding = RecedingPlan(limits, config, controller.follow)
        self._homing = Homing(chain, task.home, limits, homing_share(config))
        self.home_rad = self._homing.home_rad
        self._splicer = Splicer(chain, limits, _splicing(config), followed[0].name, followed[0].kind,
                                self.home_rad, task.period_s / config.speed)
        self.counts = LoopCounts()

    @property
    def plan(self) -> JointTrajectory | None:
        """The plan in force; None before the first."""
        return self._receding.plan

    @property
    def is_interrupted(self) -> bool:
        """Whether a refresh came too late, so that the arm comes to rest before the plan's end."""
        return self._receding.is_interrupted

    def is_at_rest(self, now_s: float) -> bool:
        """Whether the plan in force has ended."""
        return self.plan is None or now_s >= self.plan.end_s

    def is_settled(self, now_s: float) -> bool:
        """Whether it ended so long ago that the joints are where the controller's set-point is.

        A new run begins at the measured joints: on an arm that still catches up, that would be a step of its set-point.
        """
        return self.plan is None or now_s >= self.plan.end_s + SETTLED_S

    def distance_from_home(self, q_rad: Array) -> float:
        """The largest of any joint."""
        return float(np.max(np.abs(q_rad - self.home_rad)))

    def refresh(self, now_s: float) -> None:
        """Keep the controller supplied with the plan in force."""
        self._receding.refresh(now_s)

    def stand(self, q_rad: Array, now_s: float) -> None:
        """The arm stands at q_rad (J,): what comes next begins there, after the lead-in."""
        self._receding.stand(at_rest(q_rad, now_s + self._config.lead_in_s))

    def go_home(self, q_rad: Array, now_s: float) -> None:
        """From standing at q_rad (J,). Raises LadleError: there is no safe way."""
        plan = self._homing.plan(q_rad, now_s + self._config.lead_in_s)
        self._send(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), now_s)

    def follow(self, chunk: ActionChunk, caution_speed: float, now_s: float) -> None:
        """Join a chunk to the plan in force, at a share of the run's speed.

        Raises:
            MotionError: no safe motion can be made of it; the plan in force goes on.
        """
        assert self.plan is not None
        slow = stretched_chunk(chunk, self._config.speed * caution_speed)
        if waits_for_rest(self._config.chunking):
            slow = rested(slow, REST_S)
        self._send(self._splicer.join(slow, self.plan, now_s), now_s)

    def rest(self, now_s: float) -> None:
        """Brake; where no way to do so is safe nothing more is sent, and the arm rests where its controller has been
        told to all along.
        """
        self.refresh(now_s)
        if self.plan is None or self.is_at_rest(now_s):
            return
        try:
            self._send(self._splicer.stop(self.plan, now_s), now_s)
        except MotionError as error:
            log.warning("no stop can be sent, so the arm comes to rest where the controller leaves its plan: %s", error)
            self.let_go()

    def let_go(self) -> None:
        """Send nothing more: what the controller holds ends at rest."""
        self._receding.let_go()

    def forget(self) -> None:
        """Forget the plan in force, without braking."""
        self._receding.clear()

    def _send(self, splice: Splice, now_s: float) -> None:
        self._receding.follow(splice, now_s)
        self.counts.sent += 1
        self.counts.slowed += int(splice.slowed)


def _splicing(config: DeploymentConfig) -> DeploymentConfig:
    """In the machine's time; where the next chunk waits for the end of this one, all of it is followed, to its rest."""
    stretched = stretched_config(config)
    if not waits_for_rest(config.chunking):
        return stretched
    return replace(stretched, held_motion_s=math.inf, tail_s=config.tail_s - REST_S)


def check_task(task: TaskConfig, chain: KinematicChain) -> None:
    """Raise DeploymentError for a task that cannot move an arm, or not this one."""
    followed = [part for part in task.action if part.kind in FOLLOWED]
    if task.joints is None or task.limits is None or task.home is None or len(followed) != 1:
        raise DeploymentError(f"task {task.name} cannot move an arm: its file needs joints, limits, home and one "
                              "action part of kind pose or joints")
    if chain.joint_names != task.joints.names:
        raise DeploymentError(f"task {task.name} names the joints {', '.join(task.joints.names)}, the robot "
                              f"description has {', '.join(chain.joint_names)} between its frames; make the task fit "
                              "the robot")
