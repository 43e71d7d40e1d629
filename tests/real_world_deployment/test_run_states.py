"""Whatever comes in whatever order: the states keep their word."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.arm_condition import ArmCondition
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import MOVING, LoopState, RunState
from real_world_deployment.safety.alarms import Alarm, Trouble
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
TICK_MS = 20
REPORTED = [Alarm.JOINTS_NOT_FINITE, Alarm.CONTROLLER_DEAD, Alarm.CAMERA_FROZEN, Alarm.POLICY_FAILED,
            Alarm.ARM_UNKNOWN, Alarm.OUT_OF_DISTRIBUTION]
ACTIONS = st.one_of(
    st.sampled_from(["start", "stop", "home", "resume", "clear_fault", "camera off", "camera on", "guiding", "move",
                     "joints off", "joints on"]),
    st.sampled_from(REPORTED), st.integers(1, 40))


class World:
    """Loop, arm and sensors; every message and every change of state is looked at as it happens."""

    def __init__(self, task: TaskConfig, chain: KinematicChain, loop_bench: Any, home_rad: Array) -> None:
        self.task, self.start_rad = task, home_rad + np.array([0.03, 0, 0, 0.04, 0, 0, 0])
        self.arm = loop_bench.PerfectArm(self.start_rad)
        self.loop = DeploymentLoop(task, loop_bench.DownwardPolicy(), self, chain, DeploymentConfig(latency_s=0.0))
        self.has_camera = self.has_joints = True

    def follow(self, splice: Any, now_s: float) -> None:
        """What is sent while the arm must not move brings it to rest."""
        plan, state = splice.trajectory, self.loop.state
        if state not in MOVING and state is not LoopState.IDLE:
            speeds = np.abs(plan.sample(np.arange(now_s, plan.end_s + 0.01, 0.01)).dq_rad_s).max(axis=1)
            assert not (state is LoopState.FAULT and self.lets_go), "an arm that does not follow is sent nothing"
            assert plan.end_s - now_s < 1.0
            assert speeds[-1] == 0.0
        self.arm.follow(splice, now_s)

    @property
    def lets_go(self) -> bool:
        """Whether the fault is one at which nothing more is sent."""
        alarm = self.loop.run.alarm
        return alarm is not None and not Trouble(alarm, "").reaction.brakes

    def tick(self) -> None:
        before = self.loop.state
        self.arm.advance(self.arm.now_ms + TICK_MS)
        at = self.arm.now_ms / 1000
        if self.has_joints:
            q = self.arm.q_rad([at])[0]
            self.loop.observations.add_joints(at, at, self.task.joints.names, q.tolist())  # type: ignore[union-attr]
        if self.has_camera:
            self.loop.observations.add_frame("camera_1", at - 0.02, at, np.zeros((120, 240, 3), np.uint8))
            self.loop.observations.add_frame("camera_0", at - 0.02, at, np.zeros((120, 240), np.uint16))
        after = self.loop.tick(at)
        if before is LoopState.FAULT:
            assert after is LoopState.FAULT, "time does not clear a fault"
        if before is LoopState.STOPPED:
            assert after is LoopState.STOPPED, "nor does it start a run"
        if after in MOVING and before not in MOVING:
            assert before in {LoopState.IDLE, LoopState.HOLD}

    def do(self, action: str | Alarm | int) -> None:
        now_s, before = self.arm.now_ms / 1000, self.loop.state
        if isinstance(action, Alarm):
            self.loop.watchdogs.report(Trouble(action, "planted"))
        elif isinstance(action, int):
            for _ in range(action):
                self.tick()
            return
        elif action in {"camera off", "camera on"}:
            self.has_camera = action == "camera on"
        elif action in {"joints off", "joints on"}:
            self.has_joints = action == "joints on"
        elif action in {"guiding", "move"}:
            self.loop.watchdogs.arm.see(ArmCondition(action, (), 1.0, now_s))
        else:
            self._command(action, now_s)
            if before is LoopState.FAULT and action != "clear_fault":
                assert self.loop.state is LoopState.FAULT
        self.tick()

    def _command(self, action: str, now_s: float) -> None:
        loop = self.loop
        commands = {"start": lambda: loop.start(0), "home": loop.home, "stop": lambda: loop.stop(now_s, "asked"),
                    "resume": lambda: loop.resume(now_s), "clear_fault": lambda: loop.clear_fault(now_s)}
        with suppress(DeploymentError):  # refused: the states say when
            commands[action]()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=5, max_size=25))
def test_states_keep_their_word(task: TaskConfig, chain: KinematicChain, loop_bench: Any, home_rad: Array,
                                actions: list[str | Alarm | int]) -> None:
    """FAULT is left by clearing alone, STOPPED by an operator; no limit is broken; afterwards everything is at rest."""
    world = World(task, chain, loop_bench, home_rad)
    world.do(5)
    for action in ["start", 12, *actions]:
        world.do(action)
    world.loop.stop(world.arm.now_ms / 1000, "the end")
    world.do(75)
    assert world.loop.state in {LoopState.STOPPED, LoopState.FAULT}
    assert world.loop.is_at_rest(world.arm.now_ms / 1000)
    rows = np.concatenate(world.arm.setpoints)
    assert np.array_equal(rows[-1], rows[-20])
    assert ReflexModel(world.start_rad).check(rows) == (len(rows), None)


def test_nobody_leaves_a_fault_unnoticed() -> None:
    """Entering another state from there is a bug and not a transition."""
    run = RunState()
    run.enter(LoopState.FAULT, "planted", 1.0, Alarm.ARM_REFLEX)
    with pytest.raises(AssertionError, match="only clearing"):
        run.enter(LoopState.IDLE, "sneaking out", 2.0)
    run.clear("cleared", 3.0)
    assert (run.state, run.alarm, run.since_s) == (LoopState.IDLE, None, 3.0)
