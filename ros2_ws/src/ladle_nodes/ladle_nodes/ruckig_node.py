"""Jerk-limited set-points: plans from the policy node; to a position controller as Float64MultiArray at 1 kHz, or to a
JointTrajectoryController as short overlapping trajectories.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import DeploymentError, MotionError
from ladle.task import TaskConfig, load_task
from ladle_nodes.controller_parameters import check_fed_controller
from ladle_nodes.lockstep import ACK_TOPIC, DEPTH, TICK_TOPIC, Ack, Tick
from ladle_nodes.process import (
    Spinner,
    noted_interrupts,
    parameter,
    run_node,
    text_parameter,
    waiting_messages,
)
from ladle_nodes.promptness import STREAM_PRIORITY, become_prompt
from ladle_nodes.qos import reliable, sensor_reader
from ladle_nodes.trajectories import TrajectoryBytes, to_message
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.ruckig_stream import RuckigController
from real_world_deployment.ruckig_trajectories import RuckigTrajectories
from real_world_deployment.safety import MotionLimits
from real_world_deployment.trajectory import CYCLE_S

log = logging.getLogger("ladle.ruckig")

NS = 1e-9
READY_PERIOD_S = 0.2
CLOCK_TIMEOUT_S = 60.0
# How often the executor has its turn, for all but plans and joints; for simulated time it must be often.
TURN_S, SIMULATED_TURN_S = 0.2, 0.005
# A simulated arm takes its set-points in steps of simulation time; they must be there before the step.
SIMULATION_LEAD_S = 0.05


class RuckigNode:
    """Plans in, set-points out; time is the simulator's tick in lockstep, the node's clock otherwise."""

    def __init__(self, node: Node) -> None:
        task = load_task(text_parameter(node, "task"))
        if task.joints is None or task.limits is None:
            raise DeploymentError(f"task {task.name} has no joints or no limits; set-points need both")
        self._node, self._joint_names = node, task.joints.names
        self._lockstep = bool(parameter(node, "lockstep"))
        self._is_simulated = bool(parameter(node, "use_sim_time"))
        self._lead_s, self._turn_s = (SIMULATION_LEAD_S, SIMULATED_TURN_S) if self._is_simulated else (0.0, TURN_S)
        config = DeploymentConfig()
        self._stream = RuckigController(MotionLimits(task.limits, config.stream_limits, task.joints.names),
                                        config.stream_period_s)
        self._trajectories = self._trajectory_stream(task, config)
        self._setpoints = node.create_publisher(Float64MultiArray, text_parameter(node, "setpoint_topic"),
                                                reliable(DEPTH))
        self._acks = node.create_publisher(String, ACK_TOPIC, reliable(100))
        plan_topic = text_parameter(node, "plan_topic")
        self._bytes = TrajectoryBytes(self._joint_names)
        self._plan_reader = node.create_subscription(JointTrajectory, plan_topic, self._keep_plan, reliable(100),
                                                     raw=True)
        self._joints = node.create_subscription(JointState, task.joints.live_topic, self._keep_joints,
                                                sensor_reader(DEPTH, self._lockstep))
        self._tick: Tick | None = None
        self._policy: Ack | None = None
        if self._lockstep:
            node.create_subscription(String, TICK_TOPIC, self._keep_tick, reliable(100))
            node.create_subscription(String, ACK_TOPIC, self._keep_ack, reliable(100))
        self._spinner = Spinner(node)
        self._forget(0)

    def run(self) -> None:
        """Until the simulator quits, or for ever."""
        if not self._lockstep:
            self._run_by_the_clock()
        while not self._begun:
            self._acks.publish(String(data=Ack("ruckig", -1).to_json()))
            self._spinner.once(READY_PERIOD_S)
            self._answer()
        while not self._quit:
            self._spinner.once()
            self._answer()

    def _run_by_the_clock(self) -> None:
        """Set-points and callbacks from one thread: another would keep this one waiting for the interpreter's lock."""
        clock = self._node.get_clock()
        self._spinner.until(lambda: clock.now().nanoseconds > 0, CLOCK_TIMEOUT_S, lambda: "/clock")
        if self._trajectories is not None:
            self._check_controller()
        self._start_ns = clock.now().nanoseconds  # small numbers: a float holds the ROS clock only to 0.2 us
        if not self._is_simulated:
            become_prompt(STREAM_PRIORITY)
        with noted_interrupts() as interrupted:  # never between a set-point that was computed and its sending
            self._stream_by_the_clock(interrupted)
        raise KeyboardInterrupt

    def _stream_by_the_clock(self, interrupted: Callable[[], bool]) -> None:
        """One cycle after the other on the wall's clock. A set-point is sent first; what costs more comes after it."""
        due_s = turn_s = time.monotonic()
        while not interrupted():
            now_s = (self._node.get_clock().now().nanoseconds - self._start_ns) * NS
            if self._trajectories is None:
                self._stream_until(now_s + self._lead_s)
            else:
                self._refresh(self._trajectories, now_s)
            self._take_messages()
            if time.monotonic() >= turn_s:
                self._spinner.everything(0.0)
                turn_s = time.monotonic() + self._turn_s
            due_s = max(due_s + CYCLE_S, time.monotonic() - CYCLE_S)
            time.sleep(max(due_s - time.monotonic(), 0.0))

    def _take_messages(self) -> None:
        """Plans, and joints as long as they are wanted, without a turn of the executor."""
        if not self._streaming:
            for message in waiting_messages(self._joints):
                self._keep_joints(message)
        for message in waiting_messages(self._plan_reader):
            self._keep_plan(message)
        if self._streaming and self._trajectories is None:
            self._follow_plans()
            self._stream.prepare()

    def _refresh(self, trajectories: RuckigTrajectories, now_s: float) -> None:
        """Overlapping trajectories around now; none before the arm's position and a first plan are known."""
        if self._measured is None or (not self._streaming and not self._plans):
            return
        if not self._streaming:
            trajectories.start(self._measured, now_s)
            self._streaming = True
        self._follow_plans()
        trajectories.refresh(now_s)

    def _trajectory_stream(self, task: TaskConfig, config: DeploymentConfig) -> RuckigTrajectories | None:
        """For arms that take trajectories only."""
        form = text_parameter(self._node, "setpoint_form")
        if form == "array":
            return None
        if form != "trajectory" or self._lockstep:
            raise DeploymentError(f"setpoint_form:={form} with lockstep:={self._lockstep}; known are array, and "
                                  "trajectory without lockstep")
        topic = text_parameter(self._node, "trajectory_topic")
        publisher = self._node.create_publisher(JointTrajectory, topic, reliable(100))
        assert task.limits is not None
        limits = MotionLimits(task.limits, config.stream_limits, self._joint_names)
        return RuckigTrajectories(limits, config,
                                  lambda message: publisher.publish(to_message(message, self._start_ns)))

    def _check_controller(self) -> None:
        """As the policy's node does where it feeds the controller itself."""
        topic = text_parameter(self._node, "trajectory_topic")
        check_fed_controller(self._node, self._spinner, topic, self._joint_names,
                             DeploymentConfig().following_error_rad, text_parameter(self._node, "jtc_distribution"))

    def close(self) -> None:
        """Bring the arm to rest: a position controller would stop at the last set-point as if it hit a wall."""
        if self._streaming and not self._lockstep and self._trajectories is None and self._node.context.ok():
            try:
                self._brake()
            except MotionError as error:
                log.warning("set-points end without braking: %s", error)
        self._spinner.close()

    def _brake(self) -> None:
        """Set-points to rest, at the wall's pace: nobody runs callbacks any more, so the node's clock may stand."""
        self._plans.clear()
        begun_s, from_s = time.monotonic(), self._streamed_until_s
        end_s = from_s + self._stream.brake() + CYCLE_S
        while self._streamed_until_s < end_s:
            time.sleep(CYCLE_S)
            self._stream_until(min(from_s + time.monotonic() - begun_s, end_s))

    def _answer(self) -> None:
        """Answer a tick when everything it speaks of has come."""
        tick = self._tick
        if tick is None:
            return
        self._begun = True
        if tick.kind == "quit":
            self._quit = True
            return
        if tick.kind == "reset":
            self._forget(tick.time_ns)
        else:
            due = self._announced + len(tick.received_ns.get("joints", []))
            policy = self._policy
            if policy is None or policy.number != tick.number:
                return
            if self._joints_seen < due or self._plans_seen < policy.sent:
                return
            self._announced = due
            self._stream_until((tick.time_ns - self._start_ns) * NS + tick.cycles * CYCLE_S)
        self._tick = None
        self._acks.publish(String(data=Ack("ruckig", tick.number, self._sent).to_json()))

    def _stream_until(self, until_s: float) -> None:
        """Set-points up to an instant; none before the arm's position and a first plan are known."""
        if self._measured is None or (not self._streaming and not self._plans):
            return
        if not self._streaming:
            self._stream.start(self._measured, until_s - self._since_last(until_s))
            self._streaming = True
        self._follow_plans()
        for row in self._stream.setpoints(until_s):
            self._setpoints.publish(Float64MultiArray(data=array("d", np.ascontiguousarray(row).tobytes())))
            self._sent += 1
        self._streamed_until_s = until_s

    def _follow_plans(self) -> None:
        """In order."""
        while self._plans:
            self._follow(self._plans.popleft())

    def _follow(self, message: bytes) -> None:
        """A plan that cannot be followed leaves the one in force, which ends at rest."""
        try:
            (self._trajectories or self._stream).follow_plan(self._bytes.plan(message, self._start_ns).to_trajectory())
        except (MotionError, ValueError) as error:
            log.warning("plan refused: %s", error)

    def _since_last(self, until_s: float) -> float:
        """How far back a stream begins: with the tick's own period in lockstep, now otherwise."""
        return self._tick.cycles * CYCLE_S if self._tick is not None else self._lead_s

    def _forget(self, start_ns: int) -> None:
        """A scene begins."""
        self._start_ns = start_ns
        self._plans: deque[bytes] = deque()
        self._plans_seen = self._joints_seen = self._announced = self._sent = 0
        self._measured: NDArray[np.float64] | None = None
        self._streaming = self._quit = False
        self._streamed_until_s = 0.0
        self._begun = start_ns > 0

    def _keep_plan(self, message: Any) -> None:  # bytes, which the types of rclpy do not know of
        self._plans.append(message)
        self._plans_seen += 1

    def _keep_joints(self, message: JointState) -> None:
        position = dict(zip(message.name, message.position, strict=False))
        if all(name in position for name in self._joint_names):
            self._measured = np.array([position[name] for name in self._joint_names])
        self._joints_seen += 1
        if self._streaming and not self._lockstep:
            # The stream goes on from its own set-points; a thousand messages a second would only disturb it.
            self._node.destroy_subscription(self._joints)

    def _keep_tick(self, message: String) -> None:
        self._tick = Tick.from_json(message.data)

    def _keep_ack(self, message: String) -> None:
        ack = Ack.from_json(message.data)
        if ack.node == "policy":
            self._policy = ack


def main() -> None:
    """Entry point of ladle_nodes ruckig_node."""
    def make() -> tuple[Node, RuckigNode]:
        node = Node("ladle_ruckig", automatically_declare_parameters_from_overrides=True)
        return node, RuckigNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
