"""What the fault injection hears of a run, and what it can tell the run: clock, diagnostics, the arm's condition."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from std_srvs.srv import Trigger

from app.benchmarks.fault_relay import FAULT_TOPIC, commands
from ladle_nodes.arm_conditions import ERRORS, MODE, SIMULATED_TOPIC, SUCCESS_RATE
from ladle_nodes.images import stamp_ns
from ladle_nodes.living_arm import COMMAND_TOPIC, RECOVER_SERVICE
from ladle_nodes.operator_services import COMMANDS, service_name
from ladle_nodes.qos import reliable
from ladle_nodes.run_diagnostics import STATUS_NAME, TOPIC

POLL_S = 0.002
SERVICE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class RunStatus:
    """One status of the deployment.

    Attributes:
        state, alarm: what the run does, and what stopped it (empty: nothing).
        since_s: ROS time at which the state was entered; bound_s: what the alarm promises at the most.
        heard_s: the simulator's time when this was heard.
    """

    state: str = ""
    alarm: str = ""
    since_s: float = 0.0
    bound_s: float = 0.0
    heard_s: float = 0.0


@dataclass
class Heard:
    """What has come, kept by the observer's thread.

    Attributes:
        now_s: the simulator's clock, not the one that the deployment is told.
        command_rate: control_command_success_rate of the arm's last report.
        statuses: of the run, each when it changed; conditions: (time, robot_mode, current_errors), the same.
    """

    now_s: float = 0.0
    command_rate: float = 0.0
    statuses: list[RunStatus] = field(default_factory=list)
    conditions: list[tuple[float, str, str]] = field(default_factory=list)


class FaultObserver:
    """A node in a thread of its own; `close` ends it."""

    def __init__(self, domain: int, clock_topic: str) -> None:
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("fault_observer", context=self._context)
        self.heard = Heard()
        self._node.create_subscription(Clock, clock_topic, self._see_clock, reliable(10))
        self._node.create_subscription(DiagnosticArray, TOPIC, self._see_run, reliable(100))
        self._node.create_subscription(DiagnosticStatus, SIMULATED_TOPIC, self._see_arm, reliable(100))
        self._faults: Publisher = self._node.create_publisher(String, FAULT_TOPIC, commands())
        self._commands: Publisher = self._node.create_publisher(String, COMMAND_TOPIC, reliable(10))
        self._services = {name: self._node.create_client(Trigger, name) for name in (
            RECOVER_SERVICE, *map(service_name, COMMANDS))}
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="fault-observer")
        self._thread.start()

    @property
    def status(self) -> RunStatus:
        """The newest of the run."""
        return self.heard.statuses[-1] if self.heard.statuses else RunStatus()

    def tell_relay(self, text: str) -> None:
        """A command for a relay: "STREAM MODE [NUMBER]"."""
        self._faults.publish(String(data=text))

    def tell_arm(self, text: str) -> None:
        """A command for the simulated arm."""
        self._commands.publish(String(data=text))

    def call(self, service: str) -> tuple[bool, str]:
        """Whether a service did what it is for, and its message; one that is not there has not."""
        client = self._services[service]
        if not client.service_is_ready():
            return False, "no such service"
        future = client.call_async(Trigger.Request())
        if not wait_until(future.done, SERVICE_TIMEOUT_S):
            client.remove_pending_request(future)
            return False, "no answer"
        answer: Any = future.result()
        return bool(answer.success), str(answer.message)

    def relays_hear(self, count: int) -> bool:
        """Whether so many relays listen to commands, and the arm."""
        return self._faults.get_subscription_count() >= count and self._commands.get_subscription_count() >= 1

    def close(self) -> None:
        """End the thread and the node."""
        self._context.try_shutdown()
        self._thread.join()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _see_clock(self, message: Clock) -> None:
        self.heard.now_s = stamp_ns(message.clock) * 1e-9

    def _see_run(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name != STATUS_NAME:
                continue
            values = {item.key: item.value for item in status.values}
            new = RunStatus(values["state"], values.get("alarm", ""), float(values.get("since_s") or 0.0),
                            float(values.get("detection_bound_s") or 0.0), self.heard.now_s)
            old = self.status
            if (new.state, new.alarm, new.since_s) != (old.state, old.alarm, old.since_s):
                self.heard.statuses.append(new)

    def _see_arm(self, message: DiagnosticStatus) -> None:
        values = {item.key: item.value for item in message.values}
        self.heard.command_rate = float(values[SUCCESS_RATE])
        seen = (values[MODE], values[ERRORS])
        if not self.heard.conditions or self.heard.conditions[-1][1:] != seen:
            self.heard.conditions.append((self.heard.now_s, *seen))


def wait_until(reached: Callable[[], bool], timeout_s: float) -> bool:
    """Whether something came true within the time of the wall clock."""
    until_s = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > until_s:
            return False
        time.sleep(POLL_S)
    return True
