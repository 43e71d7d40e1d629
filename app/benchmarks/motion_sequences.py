"""Random runs of a policy's chunks, as messages with the instants at which they reach the controller.

Planned once by the parts that drive a robot (splicer, limits, receding plan, controller), for every controller model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle import pose as poses
from ladle.errors import MotionError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig, load_task
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.homing import Homing
from real_world_deployment.receding import RecedingPlan
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.splice import Splice, Splicer
from real_world_deployment.trajectory import at_rest

Array = NDArray[np.float64]

LATENCY_S = 0.3        # from a decision to its chunk, at most
TRANSPORT_S = 0.02     # from publisher to controller, at most; jitter included
CLOCK_OFFSET_S = 0.05  # of the controller's clock against ours, at most
PERIOD_S = 0.1         # of the task
REPLAN_S = 0.4
CHUNK_STEPS = 15
LOOP_S = 0.005         # the loop looks this often whether something is due
LOOP_JITTER_S = 0.01   # and is sometimes this much late
STALLS_S = (0.05, 0.5) # every fifth run the loop stands still once for so long
START_S = 1.0


@dataclass(frozen=True)
class Arm:
    """What a run needs of the arm and the task.

    Attributes:
        limits: all of the task's.
        joint_limits: without tip and workspace, which keep a motion far from the joints' limits.
    """

    task: TaskConfig
    chain: KinematicChain
    limits: MotionLimits
    joint_limits: MotionLimits
    home_rad: Array
    config: DeploymentConfig

    @classmethod
    def scoop(cls) -> Arm:
        """The Panda of the scoop task at its home pose, with the default settings."""
        task, config = load_task("scoop"), DeploymentConfig()
        if task.frames is None or task.limits is None or task.joints is None or task.home is None:
            raise MotionError("the scoop task must have frames, limits, joints and a home pose")
        chain = KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)
        limits = limits_of(task, config.limits, chain)
        home_rad = Homing(chain, task.home, limits, config.home_speed_share).home_rad
        return cls(task, chain, limits, limits_of(task, config.limits, None), home_rad, config)


@dataclass(frozen=True)
class Arrival:
    """A message at the controller: when, on our clock, and when what it changes begins, on the plan's."""

    at_s: float
    switch_s: float
    message: JtcMessage


@dataclass(frozen=True)
class Sequence:
    """One run.

    Attributes:
        clock_offset_s: how far the controller's clock is ahead of ours.
        arrivals: in order.
        rest_s: when the last plan ends.
        chunks: how many there were.
        refused: how many of them gave no safe motion: the running plan went on to its rest.
    """

    clock_offset_s: float
    arrivals: tuple[Arrival, ...]
    rest_s: float
    chunks: int
    refused: int


def random_sequence(arm: Arm, seed: int) -> Sequence:
    """Two to eight chunks about a random path, each late by its own latency, then none; the loop may stall."""
    rng = np.random.default_rng(seed)
    targets = _Targets(arm, rng)
    kind = targets.kind
    limits = arm.limits if rng.uniform() < 0.5 else arm.joint_limits
    splicer = Splicer(arm.chain, limits, arm.config, kind, kind, arm.home_rad, PERIOD_S)
    network = _Network(arm, rng)
    receding = RecedingPlan(limits, arm.config, network.follow)
    receding.stand(at_rest(arm.home_rad, START_S + arm.config.lead_in_s))
    decision_s, now_s = START_S, START_S
    due: list[tuple[float, float]] = []
    chunks = int(rng.integers(2, 9))
    for _ in range(chunks):
        due.append((decision_s + rng.uniform(0.0, LATENCY_S), decision_s))
        decision_s = max(decision_s + REPLAN_S, due[-1][0])
    refused = 0
    stall_s, stall_at_s = rng.uniform(*STALLS_S), rng.uniform(START_S, decision_s) if rng.uniform() < 0.2 else np.inf
    while due or receding.plan is None or now_s < receding.plan.end_s:
        receding.refresh(now_s)
        if due and now_s >= due[0][0]:
            _, asked_s = due.pop(0)
            assert receding.plan is not None
            try:
                receding.follow(splicer.join(targets.chunk(asked_s), receding.plan, now_s), now_s)
            except MotionError:
                refused += 1
        if now_s >= stall_at_s:
            now_s, stall_at_s = now_s + stall_s, np.inf
        now_s += LOOP_S + rng.uniform(0.0, LOOP_JITTER_S) * (rng.uniform() < 0.2)
    assert receding.plan is not None
    return Sequence(float(rng.uniform(-CLOCK_OFFSET_S, CLOCK_OFFSET_S)), tuple(network.arrivals),
                    receding.plan.end_s, chunks, refused)


class _Network:
    """Between loop and controller: carries messages in order, each with its own delay about one of the run."""

    def __init__(self, arm: Arm, rng: np.random.Generator) -> None:
        self._rng = rng
        self._base_s = rng.uniform(0.0, TRANSPORT_S)
        self._jitter_s = min(self._base_s, TRANSPORT_S - self._base_s)
        self._sent: list[JtcMessage] = []
        self._controller = JtcController(arm.chain.joint_names, self._sent.append)
        self.arrivals: list[Arrival] = []

    def follow(self, splice: Splice, now_s: float) -> None:
        """Send it."""
        self._controller.follow(splice, now_s)
        delay_s = self._base_s + self._rng.uniform(-self._jitter_s, self._jitter_s)
        earliest_s = self.arrivals[-1].at_s if self.arrivals else 0.0
        self.arrivals.append(Arrival(max(now_s + delay_s, earliest_s), splice.switch_s, self._sent.pop()))


class _Targets:
    """A random path of the tip or of the joints, up to brisk, seen by a policy with an offset and noise per chunk."""

    def __init__(self, arm: Arm, rng: np.random.Generator) -> None:
        self.kind = "pose" if rng.uniform() < 0.5 else "joints"
        self._arm, self._rng = arm, rng
        self._home = arm.chain.forward(arm.home_rad)
        self._size = rng.uniform(0.2, 3.0)
        self._hz = rng.uniform(0.1, 0.5, (2, 7))
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (2, 7))

    def _wave(self, times_s: Array, row: int, width: int) -> Array:
        angle: Array = 2.0 * np.pi * times_s[:, None] * self._hz[row, :width] + self._phase[row, :width]
        return np.asarray(np.sin(angle) - np.sin(self._phase[row, :width]), np.float64)

    def chunk(self, asked_s: float) -> ActionChunk:
        """Targets from one period after an observation that was 0 to 50 ms old when the policy was asked."""
        observed_s = asked_s - self._rng.uniform(0.0, 0.05)
        times: Array = observed_s + PERIOD_S * np.arange(1, CHUNK_STEPS + 1, dtype=np.float64)
        since: Array = times - START_S
        n, rng = len(times), self._rng
        if self.kind == "joints":
            noise = rng.normal(0.0, 0.005, 7) + rng.normal(0.0, 0.002, (n, 7))
            return ActionChunk(observed_s, times, {"joints": self._arm.home_rad + 0.15 * self._size
                                                   * self._wave(since, 0, 7) + noise})
        pose = np.tile(self._home, (n, 1))
        pose[:, :3] += (0.05 * self._size * self._wave(since, 0, 3) + rng.normal(0.0, 0.004, 3)
                        + rng.normal(0.0, 0.002, (n, 3)))
        turn = 0.1 * self._size * self._wave(since, 1, 3) + rng.normal(0.0, 0.009, (n, 3))
        pose[:, 3:] = poses.quaternion_multiply(poses.quaternion_from_rotation_vector(turn), pose[:, 3:])
        return ActionChunk(observed_s, times, {"pose": pose})
