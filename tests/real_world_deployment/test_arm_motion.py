"""A stop beside a plane: the way to rest is straight, the plan was not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from ladle.task import TaskConfig
from ladle.workspace import PlaneConfig, WorkspaceConfig, WorkspacePointConfig
from real_world_deployment.arm_motion import ArmMotion
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import JointTrajectory

Array = NDArray[np.float64]
CONFIG = DeploymentConfig(held_motion_s=1.2)
START_S, TICK_S, LEFT_OUT_S = 1.0, 0.005, 0.02


@dataclass
class Bench:
    """A circle of the hand about its home, with a plane below."""

    motion: ArmMotion
    arm: Any
    now_s: float

    def run(self, until_s: float) -> None:
        while self.now_s < until_s:
            self.now_s += TICK_S
            self.motion.refresh(self.now_s)


def circling(task: TaskConfig, chain: KinematicChain, home_rad: Array, arm: Any) -> Bench:
    """The plan in force is a circle of 8 cm in 1.2 s, to begin at START_S."""
    motion = ArmMotion(task, chain, limits_of(task, CONFIG.limits, chain), CONFIG, arm)
    motion.stand(home_rad, START_S - CONFIG.lead_in_s)
    times_s = START_S + 0.1 * np.arange(1, 16)
    angle = 2.0 * np.pi * (times_s - START_S) / 1.2
    poses = np.tile(chain.forward(home_rad), (len(times_s), 1))
    poses[:, 1] += 0.08 * np.sin(angle)
    poses[:, 2] += 0.08 * (np.cos(angle) - 1.0)
    now_s = START_S - CONFIG.switch_lead_s
    motion.follow(ActionChunk(START_S - 0.1, times_s, {"pose": poses}), 1.0, now_s)
    return Bench(motion, arm, now_s)


def lowest_m(chain: KinematicChain, plan: JointTrajectory, from_s: float) -> float:
    """Height of the hand's lowest place from an instant on."""
    at_s = np.append(np.arange(from_s, plan.end_s, 0.002), plan.end_s)
    return float(chain.forward(plan.sample(at_s).q_rad)[:, 2].min())


def with_plane(task: TaskConfig, height_m: float) -> TaskConfig:
    """The task with the hand above a plane and nothing else about its workspace."""
    plane = PlaneConfig(name="board", point_m=(0.0, 0.0, height_m), normal=(0.0, 0.0, 1.0))
    hand = WorkspacePointConfig(name="hand", link="panda_hand", offset_m=(0.0, 0.0, 0.0), radius_m=0.0)
    return replace(task, workspace=WorkspaceConfig(box=None, planes=(plane,), points=(hand,)))


def test_a_stop_that_would_cross_a_plane_ends_what_the_controller_holds(
    task: TaskConfig, chain: KinematicChain, home_rad: Array, loop_bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing more is sent, and the arm rests soon and above the plane, though its plan goes on for long."""
    free = circling(replace(task, workspace=None), chain, home_rad, loop_bench.PerfectArm(home_rad))
    plan, limits = free.motion.plan, limits_of(replace(task, workspace=None), CONFIG.limits, chain)
    assert plan is not None
    at_s = np.arange(START_S + 0.1, START_S + 1.0, 0.005).round(3)
    braked_m = np.array([lowest_m(chain, braking_tail(plan.state(at), limits), at) for at in at_s])
    deepest = int(braked_m.argmin())
    beside = round(LEFT_OUT_S / 0.005)
    # Only the ways to rest within 20 ms of the deepest one cross the plane.
    height_m = float(min(braked_m[deepest - beside], braked_m[deepest + beside]))
    assert braked_m[deepest] < height_m < lowest_m(chain, plan, START_S)

    bench = circling(with_plane(task, height_m), chain, home_rad, loop_bench.PerfectArm(home_rad))
    bench.run(float(at_s[deepest]) - CONFIG.switch_lead_s - TICK_S / 2)
    assert bench.motion.plan is not None
    assert bench.motion.plan.end_s > bench.now_s + 0.9
    bench.motion.rest(bench.now_s)
    assert "no stop can be sent" in caplog.text
    sent, stopped_s = len(bench.arm.messages), bench.now_s
    bench.run(stopped_s + 1.5)
    assert len(bench.arm.messages) == sent
    held = bench.arm.messages[-1][1]
    assert bench.motion.plan is held
    assert held.end_s < stopped_s + CONFIG.look_ahead_s + 0.25
    assert lowest_m(chain, held, stopped_s) >= height_m - 1e-6
    assert bench.motion.is_at_rest(held.end_s)
