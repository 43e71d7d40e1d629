"""Jerk-limited set-points in step with the simulator: so many a tick, when all that the tick speaks of has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from ladle_nodes.lockstep import ACK_TOPIC, DEPTH, TICK_TOPIC, Ack, Tick
from ladle_nodes.process import Spinner
from ladle_nodes.qos import reliable, sensor_reader
from real_world_deployment.setpoint_stream import SetpointStream
from real_world_deployment.trajectory import CYCLE_S

Floats = NDArray[np.float64]

NS = 1e-9
READY_PERIOD_S = 0.2


class RuckigLockstep:
    """Answers the simulator's ticks.

    Args:
        follow: gives the stream a plan, out of its bytes, the ROS time of second 0, and the time since.
        publish: sends set-points (n, J).
    """

    def __init__(self, node: Node, spinner: Spinner, joint_names: tuple[str, ...], joint_topic: str, plan_topic: str,
                 stream: SetpointStream, follow: Callable[[bytes, int, float], None],
                 publish: Callable[[Floats], None]) -> None:
        self._spinner, self._joint_names, self._stream = spinner, joint_names, stream
        self._follow, self._publish = follow, publish
        self._acks = node.create_publisher(String, ACK_TOPIC, reliable(100))
        node.create_subscription(JointTrajectory, plan_topic, self._keep_plan, reliable(100), raw=True)
        node.create_subscription(JointState, joint_topic, self._keep_joints, sensor_reader(DEPTH, lockstep=True))
        node.create_subscription(String, TICK_TOPIC, self._keep_tick, reliable(100))
        node.create_subscription(String, ACK_TOPIC, self._keep_ack, reliable(100))
        self._tick: Tick | None = None
        self._policy: Ack | None = None
        self._forget(0)

    def run(self) -> None:
        """Until the simulator quits."""
        while not self._begun:
            self._acks.publish(String(data=Ack("ruckig", -1).to_json()))
            self._spinner.once(READY_PERIOD_S)
            self._answer()
        while not self._quit:
            self._spinner.once()
            self._answer()

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
            self._stream_on((tick.time_ns - self._start_ns) * NS, tick.cycles)
        self._tick = None
        self._acks.publish(String(data=Ack("ruckig", tick.number, self._sent).to_json()))

    def _stream_on(self, now_s: float, cycles: int) -> None:
        while self._plans:
            self._follow(self._plans.popleft(), self._start_ns, now_s)
        rows = self._stream.setpoints(now_s + cycles * CYCLE_S)
        self._publish(rows)
        self._sent += len(rows)

    def _forget(self, start_ns: int) -> None:
        """A scene begins."""
        self._start_ns = start_ns
        self._plans: deque[bytes] = deque()
        self._plans_seen = self._joints_seen = self._announced = self._sent = 0
        self._stream.forget()
        self._quit = False
        self._begun = start_ns > 0

    def _keep_plan(self, message: Any) -> None:  # bytes, which the types of rclpy do not know of
        self._plans.append(message)
        self._plans_seen += 1

    def _keep_joints(self, message: JointState) -> None:
        q_rad = positions_rad(message, self._joint_names)
        if q_rad is not None:
            self._stream.see_joints(q_rad, 0.0)  # they stay good: time waits for whoever is late
        self._joints_seen += 1

    def _keep_tick(self, message: String) -> None:
        self._tick = Tick.from_json(message.data)

    def _keep_ack(self, message: String) -> None:
        ack = Ack.from_json(message.data)
        if ack.node == "policy":
            self._policy = ack


def positions_rad(message: JointState, joint_names: tuple[str, ...]) -> Floats | None:
    """(J,) in the arm's order; None if the message lacks one of them, or one is no number."""
    position = dict(zip(message.name, message.position, strict=False))
    if not all(name in position for name in joint_names):
        return None
    q_rad = np.array([position[name] for name in joint_names])
    return q_rad if np.all(np.isfinite(q_rad)) else None
