"""Jerk-limited set-points: plans from the policy node; to a position controller as Float64MultiArray at 1 kHz, or to a
JointTrajectoryController as short overlapping trajectories.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import DeploymentError, MotionError
from ladle.task import load_task
from ladle_nodes.controller_parameters import check_fed_controller
from ladle_nodes.lockstep import DEPTH
from ladle_nodes.process import (
    Spinner,
    noted_interrupts,
    parameter,
    run_node,
    text_parameter,
    waiting_messages,
)
from ladle_nodes.promptness import STREAM_PRIORITY, become_prompt
from ladle_nodes.qos import fresh_command, reliable, sensor_reader
from ladle_nodes.ruckig_lockstep import RuckigLockstep, positions_rad
from ladle_nodes.setpoint_bytes import SetpointBytes
from ladle_nodes.stream_clock import StreamClock
from ladle_nodes.trajectories import TrajectoryBytes
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.ruckig_trajectories import RuckigTrajectories
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.setpoint_stream import Pace, SetpointStream
from real_world_deployment.trajectory import CYCLE_S

log = logging.getLogger("ladle.ruckig")

CLOCK_TIMEOUT_S = 60.0
# How often the executor has its turn, for all but plans and joints; for simulated time it must be often.
TURN_S, SIMULATED_TURN_S = 0.2, 0.005
# A simulated arm takes its set-points in steps of simulation time; they must be there before the step, and one that
# comes late is not lost.
SIMULATION_LEAD_S = 0.05
SIMULATED_AT_ONCE = round(2.0 * SIMULATION_LEAD_S / CYCLE_S)
# Of the wall clock, for an arm that is to be at rest before the node goes.
BRAKE_TIMEOUT_S = 2.0


class RuckigNode:
    """Plans in, set-points out; time is the simulator's tick in lockstep, else an even clock of its own."""

    def __init__(self, node: Node) -> None:
        task = load_task(text_parameter(node, "task"))
        if task.joints is None or task.limits is None:
            raise DeploymentError(f"task {task.name} has no joints or no limits; set-points need both")
        self._node, self._joint_names, self._joint_topic = node, task.joints.names, task.joints.live_topic
        self._is_simulated = bool(parameter(node, "use_sim_time"))
        self._config = DeploymentConfig(speed=float(parameter(node, "speed")))
        limits = limits_of(task, self._config.stream_limits, None, self._config.speed)
        self._plan_bytes = TrajectoryBytes(self._joint_names)
        self._setpoint_bytes = SetpointBytes(len(self._joint_names))
        self._spinner = Spinner(node)
        self._said_refused = False
        self._lead_s = SIMULATION_LEAD_S if self._is_simulated else 0.0
        lockstep = bool(parameter(node, "lockstep"))
        at_most = None if lockstep else SIMULATED_AT_ONCE if self._is_simulated else 1
        self._stream = SetpointStream(limits, self._config, at_most, lets_go=not lockstep)
        self._trajectories = self._trajectory_stream(limits, lockstep)
        self._setpoints = node.create_publisher(Float64MultiArray, text_parameter(node, "setpoint_topic"),
                                                reliable(DEPTH))
        self._plan_topic = text_parameter(node, "plan_topic")
        self._in_step: RuckigLockstep | None = None
        if lockstep:
            self._in_step = RuckigLockstep(node, self._spinner, self._joint_names, self._joint_topic,
                                           self._plan_topic, self._stream, self._follow, self._publish)


    def run(self) -> None:
        """Until the simulator quits, or for ever."""
        if self._in_step is not None:
            self._in_step.run()
            return
        clock = self._node.get_clock()
        self._spinner.until(lambda: clock.now().nanoseconds > 0, CLOCK_TIMEOUT_S, lambda: "/clock")
        if self._trajectories is not None:
            self._check_controller()
        self._clock, self._now_s = StreamClock(lambda: clock.now().nanoseconds, self._is_simulated), 0.0
        self._listen()
        if not self._is_simulated:
            become_prompt(STREAM_PRIORITY)
        with noted_interrupts() as interrupted:  # never between a set-point that was computed and its sending
            self._stream_by_the_clock(interrupted)
        raise KeyboardInterrupt

    def close(self) -> None:
        """Bring the arm to rest: a position controller would stop at the last set-point as if it hit a wall."""
        if self._in_step is None and self._trajectories is None and self._node.context.ok():
            try:
                self._brake()
            except MotionError as error:
                log.warning("set-points end without braking: %s", error)
        self._spinner.close()

    @property
    def _source(self) -> SetpointStream | RuckigTrajectories:
        return self._trajectories or self._stream

    def _listen(self) -> None:
        """Nobody reads plans before they can be carried out; of the joints the newest is enough."""
        self._plan_reader = self._node.create_subscription(JointTrajectory, self._plan_topic, self._keep_plan,
                                                           reliable(100), raw=True)
        self._joints = self._node.create_subscription(JointState, self._joint_topic, self._keep_joints,
                                                      sensor_reader(1, lockstep=False))

    def _stream_by_the_clock(self, interrupted: Callable[[], bool]) -> None:
        """One cycle after the other on the wall's clock. A set-point is sent first; what costs more comes after it.

        Callbacks run in the same thread: another would keep this one waiting for the interpreter's lock.
        """
        pace, turn_s = Pace(time.monotonic()), time.monotonic()
        turn_period_s = SIMULATED_TURN_S if self._is_simulated else TURN_S
        while not interrupted():
            self._now_s = self._clock.at_s(pace.cycle_s(time.monotonic()))
            was_streaming = self._source.is_streaming
            if self._trajectories is None:
                self._publish(self._stream.setpoints(self._now_s + self._lead_s))
            else:
                self._trajectories.refresh(self._now_s)
            self._follow_clock()
            if was_streaming and not self._source.is_streaming:
                self._forget_joints()
            self._take_messages()
            if time.monotonic() >= turn_s:
                self._spinner.everything(0.0)
                turn_s = time.monotonic() + turn_period_s
            pace.advance()
            time.sleep(max(pace.due_s - time.monotonic(), 0.0))

    def _follow_clock(self) -> None:
        """A controller of trajectories has a clock of its own: nobody knows what it makes of stamps after a step."""
        if self._clock.was_set():
            log.warning("the clock was set")
            if self._trajectories is not None and self._trajectories.is_streaming:
                self._trajectories.let_go(self._now_s)

    def _forget_joints(self) -> None:
        """What was measured while set-points were sent is old."""
        log.info("the arm rests, no set-points are sent")
        for _ in waiting_messages(self._joints):
            pass

    def _take_messages(self) -> None:
        """Plans, and joints as long as they are wanted, without a turn of the executor."""
        if not self._source.is_streaming:
            for message in waiting_messages(self._joints):
                self._keep_joints(message)
        for message in waiting_messages(self._plan_reader):
            self._keep_plan(message)
        if self._trajectories is None:
            self._stream.prepare()

    def _keep_plan(self, message: Any) -> None:  # bytes, which the types of rclpy do not know of
        self._follow(message, self._clock.start_ns, self._now_s)

    def _keep_joints(self, message: JointState) -> None:
        q_rad = None if self._source.is_streaming else positions_rad(message, self._joint_names)
        if q_rad is not None:
            self._source.see_joints(q_rad, self._now_s)

    def _follow(self, message: bytes, start_ns: int, now_s: float) -> None:
        """A plan that cannot be followed leaves the one in force, which ends at rest."""
        try:
            self._source.follow_plan(self._plan_bytes.plan(message, start_ns).to_trajectory(), now_s)
            self._said_refused = False
        except (MotionError, ValueError) as error:
            # Plans come thirty times a second, and what is wrong with one is so with the next.
            log.log(logging.DEBUG if self._said_refused else logging.WARNING, "plan refused: %s", error)
            self._said_refused = True

    def _publish(self, rows: NDArray[np.float64]) -> None:
        for row in rows:
            self._setpoints.publish(self._setpoint_bytes.of(row))

    def _trajectory_stream(self, limits: MotionLimits, lockstep: bool) -> RuckigTrajectories | None:
        """For arms that take trajectories only."""
        form = text_parameter(self._node, "setpoint_form")
        if form == "array":
            return None
        if form != "trajectory" or lockstep:
            raise DeploymentError(f"setpoint_form:={form} with lockstep:={lockstep}; known are array, and "
                                  "trajectory without lockstep")
        lead_s = self._config.switch_lead_s / float(parameter(self._node, "pace"))
        publisher = self._node.create_publisher(JointTrajectory, text_parameter(self._node, "trajectory_topic"),
                                                fresh_command(lead_s))

        def send(message: JtcMessage) -> None:
            publisher.publish(self._plan_bytes.of(message, self._clock.start_ns))

        return RuckigTrajectories(limits, self._config, send, lambda: (
            publisher.get_subscription_count() > 0 and publisher.wait_for_all_acked(Duration())))

    def _check_controller(self) -> None:
        """As the policy's node does where it feeds the controller itself."""
        topic = text_parameter(self._node, "trajectory_topic")
        check_fed_controller(self._node, self._spinner, topic, self._joint_names, self._config.following_error_rad,
                             text_parameter(self._node, "jtc_distribution"))

    def _brake(self) -> None:
        """Set-points to rest, at the wall's pace: nobody runs callbacks any more, so the node's clock may stand."""
        self._stream.brake()
        give_up_s = time.monotonic() + BRAKE_TIMEOUT_S
        while (row := self._stream.next_setpoint()) is not None and time.monotonic() < give_up_s:
            self._publish(row[None])
            time.sleep(CYCLE_S)


def main() -> None:
    """Entry point of ladle_nodes ruckig_node."""
    def make() -> tuple[Node, RuckigNode]:
        node = Node("ladle_ruckig", automatically_declare_parameters_from_overrides=True)
        return node, RuckigNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
