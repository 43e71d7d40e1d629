"""The Ruckig node's process beside an arm that is moved by hand between two plans."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from app.domain import free_domain
from app.up import command
from ladle.task import load_task
from ladle_bringup.description import JTC_TOPIC, PLAN_TOPIC, SETPOINT_TOPIC, describe
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings
from ladle_nodes.qos import reliable
from ladle_nodes.trajectories import to_message, to_plan
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory as Plan
from simulation.jtc_messages import JtcParameters
from simulation.jtc_parameters import declared_parameters

pytestmark = pytest.mark.slow
Array = NDArray[np.float64]
TASK = load_task("scoop")
PATIENCE_S, SILENT_S = 60.0, 0.5
SPEED = 0.1
MOVED_RAD = 0.3 * np.array([1, 0, 0, 1, 0, 0, 0])


class Arm:
    """Driver and controller of an arm, and who plans for it; every turn publishes the joints where they are held."""

    def __init__(self, context: Context, form: str) -> None:
        assert TASK.joints is not None
        assert TASK.home is not None
        self.names = TASK.joints.names
        self.q_rad: Array = np.array(TASK.home.posture_rad)
        self.heard: list[Any] = []
        self.heard_s = 0.0
        # The controller's node has the name that its topic says, and answers for its parameters.
        self.node = Node(JTC_TOPIC.split("/")[1], context=context)
        for name, value in declared_parameters("jazzy", self.names, JtcParameters(False)).items():
            self.node.declare_parameter(name, value)
        self._joints = self.node.create_publisher(JointState, TASK.joints.live_topic, reliable(10))
        self.plans = self.node.create_publisher(JointTrajectory, PLAN_TOPIC, reliable(10))
        kind, topic = (Float64MultiArray, SETPOINT_TOPIC) if form == "array" else (JointTrajectory, JTC_TOPIC)
        self.controller = self.node.create_subscription(kind, topic, self._hear, reliable(5000))
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def _hear(self, message: Any) -> None:
        self.heard.append(message)
        self.heard_s = time.monotonic()

    def turn(self) -> None:
        """The joints once, and what has come."""
        message = JointState(name=list(self.names), position=self.q_rad.tolist())
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(message)
        self._executor.spin_once(timeout_sec=0.002)

    def until(self, reached: Callable[[], bool], each_s: float = 0.0, do: Callable[[], None] = lambda: None) -> None:
        """Turns until it is so; in between something is done again and again."""
        give_up_s, do_s = time.monotonic() + PATIENCE_S, 0.0
        while not reached():
            assert time.monotonic() < give_up_s, "it did not come to that"
            if time.monotonic() >= do_s:
                do()
                do_s = time.monotonic() + each_s
            self.turn()

    def until_silent(self) -> None:
        """Nothing was heard for a while."""
        self.until(lambda: time.monotonic() > self.heard_s + SILENT_S)

    def plan(self, from_rad: Array, by_rad: float, lasts_s: float) -> None:
        """Send a motion of two joints that begins in a moment."""
        start_s = 0.4
        to_rad = from_rad + by_rad * np.array([1, 0, 0, 0, 1, 0, 0])
        still = np.zeros((2, 7))
        motion = Plan(np.array([start_s, start_s + lasts_s]), np.stack([from_rad, to_rad]), still, still)
        now_ns = self.node.get_clock().now().nanoseconds
        JtcController(self.names, lambda message: self.plans.publish(to_message(message, now_ns))).follow(
            Splice(motion, start_s, 0, slowed=False, unreachable=0), 0.0)

    def rows(self, messages: list[Any]) -> Array:
        """(n, 7) positions, in order."""
        return np.concatenate([np.array([m.data]) if isinstance(m, Float64MultiArray) else to_plan(m, 0).positions
                               for m in messages])

    def speeds(self, messages: list[Any]) -> Array:
        """(7,) the largest of each joint."""
        if isinstance(messages[0], Float64MultiArray):
            return np.abs(np.diff(self.rows(messages), axis=0)).max(axis=0) / 0.001
        return np.max([np.abs(to_plan(m, 0).velocities).max(axis=0) for m in messages], axis=0)


@pytest.fixture
def beside_the_node(tmp_path: Path) -> Iterator[Callable[[str], tuple[Arm, subprocess.Popen[bytes], Path]]]:
    """Starts a node of a run at a tenth of the speed, on a robot's clock, with the arm; ends it."""
    started: list[subprocess.Popen[bytes]] = []
    contexts: list[Context] = []
    with free_domain() as domain, pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment("sim"), "ROS_DOMAIN_ID": str(domain)}.items():
            patch.setenv(name, value)

        def start(form: str) -> tuple[Arm, subprocess.Popen[bytes], Path]:
            settings = BringupSettings(policy="hold", robot="franka", controller="ruckig", setpoint_form=form,
                                       driver_limits=True)
            node = next(node for node in describe(settings) if node.executable == "ruckig_node")
            log = tmp_path / "log"
            with log.open("wb") as output:
                started.append(subprocess.Popen(command(node), stderr=output, env=os.environ))
            contexts.append(Context())
            rclpy.init(context=contexts[0], domain_id=domain)
            return Arm(contexts[0], form), started[0], log

        yield start
        for process in started:
            process.kill()
            process.wait()
        for context in contexts:
            context.try_shutdown()


@pytest.mark.parametrize("form", ["array", "trajectory"])
def test_it_lets_go_of_an_arm_at_rest_and_begins_anew_where_a_person_has_left_it(
        form: str, beside_the_node: Callable[[str], tuple[Arm, subprocess.Popen[bytes], Path]]) -> None:
    """Silent once the plan is over. The arm moved by hand: a plan from the old place moves nothing, one from the new
    place begins there; and at 10 % nothing is faster than 10 %, however fast the plan is.
    """
    arm, process, log = beside_the_node(form)
    home_rad = arm.q_rad
    arm.until(lambda: bool(arm.heard), 1.0, lambda: arm.plan(home_rad, 0.1, 1.5))
    arm.until_silent()
    end_rad = arm.rows(arm.heard[-1:])[-1]
    np.testing.assert_allclose(end_rad, home_rad + 0.1 * np.array([1, 0, 0, 0, 1, 0, 0]), atol=1e-6)

    arm.q_rad = end_rad + MOVED_RAD
    for _ in range(50):
        arm.turn()
    count, reached_rad = len(arm.heard), arm.q_rad
    arm.plan(end_rad, 0.1, 1.5)
    arm.until(lambda: "from where the arm stands" in log.read_text())
    arm.until(lambda: len(arm.heard) > count, 1.0, lambda: arm.plan(reached_rad, 0.25, 0.5))
    arm.until_silent()
    np.testing.assert_allclose(arm.rows(arm.heard[count:])[0], reached_rad, atol=1e-9)
    assert TASK.limits is not None
    assert (arm.speeds(arm.heard[count:]) <= SPEED * np.array(TASK.limits.velocity_rad_s)).all()
    assert process.poll() is None


def test_trajectories_expire_and_end_when_nobody_acknowledges_them(
        beside_the_node: Callable[[str], tuple[Arm, subprocess.Popen[bytes], Path]]) -> None:
    """As those of the policy's node; the controller dies in mid motion, and nothing is sent into the void."""
    arm, _, log = beside_the_node("trajectory")
    home_rad = arm.q_rad
    arm.until(lambda: bool(arm.heard), 1.0, lambda: arm.plan(home_rad, 0.5, 8.0))
    (writer,) = arm.node.get_publishers_info_by_topic(JTC_TOPIC)
    assert writer.qos_profile.lifespan.nanoseconds == round(DeploymentConfig().switch_lead_s * 1e9)
    arm.node.destroy_subscription(arm.controller)
    arm.until(lambda: "does not acknowledge" in log.read_text())
