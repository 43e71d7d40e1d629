"""The simulated robot: cameras, joints, description, clock and an arm that follows a controller.

It is the only process of the simulator that talks ROS; physics, renderer and JTC are processes joined to it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from ladle.task import load_task
from ladle_nodes.arm_condition_publisher import ArmConditionPublisher
from ladle_nodes.living_arm import LivingArm
from ladle_nodes.lockstep_master import START_TIMEOUT_S, LockstepMaster
from ladle_nodes.motion_log import MotionLog
from ladle_nodes.no_real_arm import refuse_real_arm
from ladle_nodes.process import Spinner, parameter, run_node, text_parameter
from ladle_nodes.sensor_publisher import SensorPublisher
from ladle_nodes.setpoint_sources import JtcSource, SetpointSource, TopicSource
from real_world_deployment.loop_state import LoopState
from simulation.judge import Judge
from simulation.reflex_model import CYCLE_S
from simulation.scene_sampling import SceneConfig, sample_scene
from simulation.scene_video import SceneVideo
from simulation.served import Sample, ServedSimulation
from simulation.served_state import ArmState
from simulation.smoothness import JerkMeter

log = logging.getLogger("ladle.simulator")

# Every scene has its own stretch of the clock, so that ROS time never runs backwards.
SCENE_STRIDE_NS = 1_000_000_000_000
# The clock's ticks: never longer than the first, and finer where simulated time is slow, in wall time.
FREE_RUNNING_STEP_S, SLOW_STEP_S = 0.01, 0.02
# After the policy has stopped, the arm gets this long to come to rest and to be judged.
AFTER_STOP_S = 1.5
RESULTS_FILE = "scenes.jsonl"
VIDEO_FILE = "scenes.mp4"


@dataclass(frozen=True)
class SceneResult:
    """How a scene ended.

    Attributes:
        delivered: whether a load was held still over the rim; only then mass_g is what the policy brought.
        succeeded: it was delivered, and is enough, or close to the wished mass.
        duration_s: simulation time; wall_s: time that it took.
        trajectories: sent by the policy node; -1 outside lockstep, where nobody counts.
        state, detail: the policy node's last words.
        homing_s: simulation time until the policy took over; all of it where it never did, None outside lockstep.
        jerk_rms_rad_s3: of the set-points while the policy moved the arm; outside lockstep homing is included.
        setpoints_sha256: of all set-points; equal runs have equal ones.
    """

    index: int
    seed: int
    split: str
    delivered: bool
    succeeded: bool
    mass_g: float
    stage: int
    reflex: str | None
    duration_s: float
    homing_s: float | None
    wall_s: float
    trajectories: int
    state: str
    detail: str
    jerk_rms_rad_s3: float
    setpoints_sha256: str


class SimulatorNode:
    """Runs the scenes one after the other, in lockstep with the policy or at the pace of the wall clock."""

    def __init__(self, node: Node) -> None:
        self._node, self._task = node, load_task(text_parameter(node, "task"))
        self._lockstep = bool(parameter(node, "lockstep"))
        self._controller = text_parameter(node, "controller")
        self._time_limit_s, self._pace = float(parameter(node, "time_limit_s")), float(parameter(node, "pace"))
        output = text_parameter(node, "output")
        self._output = Path(output) if output else None
        self._scenes, self._judge = _scenes(node), judge_of(node)
        self._spinner = Spinner(node)
        cameras = self._cameras(bool(parameter(node, "video")), bool(parameter(node, "only_needed_frames")))
        self._publisher = SensorPublisher(node, self._task, cameras)
        self._source = self._setpoint_source(node)
        self._master = LockstepMaster(node, self._spinner)
        self._video: SceneVideo | None = None
        if self._output is not None:
            self._output.mkdir(parents=True, exist_ok=True)
            if bool(parameter(node, "video")):
                self._video = SceneVideo(self._output / VIDEO_FILE, self._task.rate_hz, self._filmed(cameras))
        self._simulation = ServedSimulation(
            self._task, text_parameter(node, "renderer"), cameras,
            only_newest_frames=self._lockstep and bool(parameter(node, "only_needed_frames")),
            keeps_motion=bool(text_parameter(node, "motion_log")))
        self._motion_log = MotionLog(text_parameter(node, "motion_log"))

    def run(self) -> None:
        """All scenes, then tell the others to end."""
        self._source.connect()
        if self._lockstep:
            self._master.wait_for_peers(self._peers(), self._publisher, ("joints", *self._task.extracted_cameras))
        else:
            # Time that runs while a policy is being loaded would be taken from the scene.
            self._spinner.until(self._has_readers, START_TIMEOUT_S, lambda: "a reader of the cameras (policy_node)")
        assert self._task.joints is not None
        refuse_real_arm(self._node, self._task.joints.live_topic)
        for index, scene in enumerate(self._scenes):
            start_ns = (index + 1) * SCENE_STRIDE_NS
            if self._video is not None:
                self._video.restart()
            self._digest, self._jerk = hashlib.sha256(), JerkMeter()
            self._homing_s: float | None = None
            begun_s = time.monotonic()
            result = self._in_lockstep(scene, start_ns) if self._lockstep else self._free_running(scene, start_ns)
            state, trajectories = result
            self._report(SceneResult(
                index, scene.seed, scene.split, state.delivered, state.succeeded, round(state.mass_g, 3), state.stage,
                state.reflex, round(state.time_s, 3), self._homing_s, round(time.monotonic() - begun_s, 2),
                trajectories, self._master.peer_state, self._master.peer_detail, round(self._jerk.rms_rad_s3, 3),
                self._digest.hexdigest()))
        if self._lockstep:
            self._master.quit()

    def close(self) -> None:
        """End the processes, finish the video."""
        if self._video is not None:
            self._video.close()
        self._source.close()
        self._simulation.close()
        self._spinner.close()

    def _in_lockstep(self, scene: SceneConfig, start_ns: int) -> tuple[ArmState, int]:
        """One decision a period; the arm stands still while the policy thinks."""
        cycles = round(self._task.period_s / CYCLE_S)
        state = self._simulation.reset(scene, self._judge)
        self._publisher.clock(start_ns)
        self._source.reset(start_ns, self._master.sent, state)
        self._master.reset(start_ns, cycles, scene.seed)
        stopped_s: float | None = None
        has_begun = False
        while not state.delivered and state.time_s < self._time_limit_s:
            now_ns = start_ns + round(state.time_s * 1e9)
            setpoints = self._source.setpoints(now_ns, cycles, self._master.sent, state)
            samples = self._advance(setpoints)
            state = self._simulation.state
            now_ns = start_ns + round(state.time_s * 1e9)
            self._master.tick(now_ns, cycles, self._publish(samples, start_ns))
            self._film(samples)
            if not has_begun:
                has_begun = self._master.peer_state == LoopState.RUNNING.value
                self._jerk, self._homing_s = JerkMeter(), round(state.time_s, 3)
            if state.reflex is not None or self._master.stopped:
                stopped_s = state.time_s if stopped_s is None else stopped_s
                if state.reflex is not None or state.time_s > stopped_s + AFTER_STOP_S:
                    break
        return state, self._master.trajectories

    def _free_running(self, scene: SceneConfig, start_ns: int) -> tuple[ArmState, int]:
        """Simulation time at its share of the wall clock's, or slower where the machine is, never faster."""
        step_s = min(FREE_RUNNING_STEP_S, SLOW_STEP_S * self._pace)
        cycles = max(round(step_s / CYCLE_S), 1)
        state = self._simulation.reset(scene, self._judge)
        self._source.reset(start_ns, -1, state)
        arm = LivingArm(self._node, self._simulation, self._source, bool(parameter(self._node, "arm_recovers")))
        condition = ArmConditionPublisher(self._node)
        due_s = time.monotonic()
        while not state.delivered and not arm.has_ended and state.time_s < self._time_limit_s:
            now_ns = start_ns + round(state.time_s * 1e9)
            self._publisher.clock(now_ns)
            samples = self._advance(arm.setpoints(now_ns, cycles))
            self._motion_log.add(self._simulation.motion, now_ns)
            state = self._simulation.state
            condition.note(state, arm.is_commanded)
            self._publish(samples, start_ns)
            self._film(samples)
            due_s = max(due_s + cycles * CYCLE_S / self._pace, time.monotonic())
            self._spin_for(due_s - time.monotonic())
        return state, -1

    def _advance(self, setpoints_rad: NDArray[np.float64]) -> list[Sample]:
        self._digest.update(np.ascontiguousarray(setpoints_rad).tobytes())
        self._jerk.add(setpoints_rad)
        return self._simulation.advance(setpoints_rad)

    def _publish(self, samples: list[Sample], start_ns: int) -> dict[str, list[int]]:
        """Publish in order of arrival; receive times by stream. The clock tells the last one."""
        received_ns: dict[str, list[int]] = {}
        for sample in samples:
            received_ns.setdefault(sample.event.stream, []).append(self._publisher.publish(sample, start_ns))
        self._publisher.clock(start_ns + round(self._simulation.state.time_s * 1e9))
        return received_ns

    def _spin_for(self, duration_s: float) -> None:
        """Serve callbacks for a while, at least once."""
        until_s = time.monotonic() + duration_s
        self._spinner.once(0.0)
        while (left_s := until_s - time.monotonic()) > 0:
            self._spinner.once(left_s)

    def _film(self, samples: list[Sample]) -> None:
        if self._video is not None:
            self._video.add({s.event.stream: s.image for s in samples if s.image is not None},
                            self._simulation.state.time_s)

    def _report(self, result: SceneResult) -> None:
        how = "success" if result.succeeded else result.reflex or f"no success ({result.state} {result.detail})"
        log.info("scene %d (%s seed %d): %s, %.1f g after %.1f s, %.1f s of wall time", result.index, result.split,
                 result.seed, how, result.mass_g, result.duration_s, result.wall_s)
        if self._output is not None:
            with (self._output / RESULTS_FILE).open("a") as lines:
                lines.write(json.dumps(result.__dict__) + "\n")

    def _has_readers(self) -> bool:
        return all(self._publisher.readers(key) > 0 for key in self._task.extracted_cameras)

    def _peers(self) -> tuple[str, ...]:
        return ("policy",) if self._controller == "jtc" else ("policy", "ruckig")

    def _setpoint_source(self, node: Node) -> SetpointSource:
        if self._controller == "jtc":
            return JtcSource(text_parameter(node, "arm_socket"))
        return TopicSource(node, text_parameter(node, "setpoint_topic"), self._spinner)

    def _filmed(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key for key in cameras if self._task.cameras[key].kind == "color")

    def _cameras(self, video: bool, only_needed: bool) -> tuple[str, ...]:
        """Cameras outside episodes are for people: they are served unless frames are to be saved."""
        return tuple(key for key, camera in self._task.cameras.items() if camera.extract or video or not only_needed)


def _scenes(node: Node) -> list[SceneConfig]:
    split, seed0 = text_parameter(node, "split"), int(parameter(node, "seed0"))
    assert split in ("train", "eval")
    return [sample_scene(seed0 + offset, split) for offset in range(int(parameter(node, "scenes")))]


def judge_of(node: Node) -> Judge:
    """By the wished mass, else by any load, else by the ordinary 2 g."""
    if node.has_parameter("wished_mass_g"):
        return Judge.of_wish(float(parameter(node, "wished_mass_g")))
    return Judge.of_any_load() if bool(parameter(node, "any_load")) else Judge()


def main() -> None:
    """Entry point of ladle_nodes simulator_node."""
    def make() -> tuple[Node, SimulatorNode]:
        node = Node("ladle_simulator", automatically_declare_parameters_from_overrides=True)
        return node, SimulatorNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
