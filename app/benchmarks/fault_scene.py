"""The processes of a run that faults are done to: simulator, relays, controller, policy; each alone in its session."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from app.benchmarks.fault_motion import Floats, LogJudge, Motion
from app.benchmarks.fault_observer import FaultObserver, wait_until
from app.domain import free_domain
from app.processes import ChildProcess, interrupted_by_sigterm, remove_orphaned_shared_memory, stop
from app.up import command
from ladle.errors import DeploymentError
from ladle.task import load_task
from ladle_bringup.description import JTC_TOPIC, NodeDescription, describe
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings
from ladle_nodes.motion_log import newest_motion, read_motion
from ladle_nodes.operator_services import service_name
from real_world_deployment.loop_state import LoopState

TASK = "scoop"
SIMULATOR, CONTROLLER, RUCKIG, POLICY = "simulator_node", "jtc_node", "ruckig_node", "policy_node"
POLICY_PROCESS = "real_world_deployment.policy_process"
BEFORE, BEHIND = "/driver", "/behind"  # name spaces of what a relay reads and writes
START_TIMEOUT_S, MOVING_TIMEOUT_S, HOLD_PATIENCE_S = 90.0, 240.0, 60.0
# A policy that has been silent for 3 s of the wall clock counts as gone: 0.75 s of a clock at a quarter of its pace.
RENEW_AFTER_S = 30.0
MOVING_RAD_S = 0.35
ACT_EVERY_S = 1.0
ENDLESS_S = 1e6
SHORTER_THAN_A_TICK_S = 1e-3


Route = Literal["jtc", "ruckig"]
"""How the policy's plans reach the trajectory controller: straight, or as Ruckig's short overlapping trajectories."""


@dataclass(frozen=True)
class RelayDescription:
    """One relay: which node's topic is renamed so that it passes through."""

    stream: str
    kind: str
    topic: str
    renamed_of: str  # executable of the node that uses the other name
    prefix: str = BEFORE

    @property
    def topics(self) -> tuple[str, str]:
        """From and to."""
        other = self.prefix + self.topic
        return (other, self.topic) if self.prefix == BEFORE else (self.topic, other)


def relays() -> dict[str, RelayDescription]:
    """By stream."""
    task = load_task(TASK)
    assert task.joints is not None
    return {relay.stream: relay for relay in (
        RelayDescription("clock", "clock", "/clock", SIMULATOR),
        RelayDescription("joints", "joints", task.joints.live_topic, SIMULATOR),
        *(RelayDescription(key, "image", camera.topic, SIMULATOR) for key, camera in task.extracted_cameras.items()),
        RelayDescription("trajectories", "trajectory", JTC_TOPIC, CONTROLLER, BEHIND))}


class FaultScene:
    """A run that keeps its arm moving; leaving the block ends every process.

    Attributes:
        observer: what is heard of it.
        children: its processes by executable or by "relay STREAM".
        starts: how many processes have been started.
    """

    def __init__(self, pace: float, route: Route = "jtc") -> None:
        self._pace, self._route = pace, route
        self._resources = ExitStack()
        self.children: dict[str, ChildProcess] = {}

    def __enter__(self) -> FaultScene:
        self._begun_s = time.time()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        for child in self.children.values():
            child.send(signal.SIGCONT)
        for number in self.policy_processes():
            os.kill(number, signal.SIGCONT)
        gentle = stop([self.children[name] for name in sorted(self.children, key=_end_order)])
        self._resources.close()
        if not gentle or self._has_killed:
            remove_orphaned_shared_memory(self._begun_s)

    def start(self, name: str) -> None:
        """Start a process, or one in the place of another that is gone."""
        if name.startswith("relay "):
            relay = self._relays[name.removeprefix("relay ")]
            line = [sys.executable, "-m", "app.benchmarks.fault_relay", relay.stream, relay.kind, *relay.topics]
        else:
            node = self._nodes[name]
            line = [*command(node), *(part for relay in self._relays.values() if relay.renamed_of == name
                                      for part in ("-r", f"{relay.topic}:={relay.prefix}{relay.topic}"))]
        self.starts += 1
        log_path = self.folder / f"{self.starts:02d} {name.replace(' ', '_')}.log"
        self.children[name] = ChildProcess(name, line, self._variables, log_path)

    def kill(self, *names: str) -> None:
        """kill -9."""
        self._has_killed = True
        for name in names:
            self.children[name].send(signal.SIGKILL)
        for name in names:
            self.children[name].wait(10.0)

    def end(self, name: str) -> None:
        """As Ctrl-C would."""
        stop([self.children[name]])

    def signal(self, number: signal.Signals, *names: str) -> None:
        """SIGSTOP or SIGCONT."""
        for name in names:
            self.children[name].send(number)

    def policy_processes(self) -> list[int]:
        """Process ids of what the policy's node has started for its policy."""
        policy = self.children.get(POLICY)
        return [] if policy is None else _children_named(policy.pid, POLICY_PROCESS)

    def motion(self, from_s: float) -> Motion:
        """The log from an instant on."""
        rows = read_motion(self._log)
        return Motion(rows[np.searchsorted(rows[:, 0], from_s):])

    def new_violations(self) -> list[str]:
        """What has been violated since the last look."""
        rows = read_motion(self._log, self._judged_rows)
        self._judged_rows += len(rows)
        return self._judge.violations(rows)

    def is_moving(self) -> bool:
        """Whether the policy moves the arm fast enough for a fault to matter."""
        if self.observer.status.state != LoopState.RUNNING.value:
            return False
        rows = self._newest_rows(3)
        return len(rows) > 1 and Motion(rows).fastest_rad_s() > MOVING_RAD_S

    def wait_until_moving(self) -> str:
        """Keep asking the run to move until it does; how it was brought to that.

        Raises:
            DeploymentError: it does not, or the simulator has ended.
        """
        how, begun_s = "", time.monotonic()
        act_s, until_s, self._has_renewed = begun_s, begun_s + MOVING_TIMEOUT_S, False
        while not self.is_moving():
            self._expect_simulator()
            if time.monotonic() > until_s:
                raise DeploymentError(f"the arm does not move {MOVING_TIMEOUT_S:.0f} s after a fault; the run says "
                                      f"{self.observer.status}; logs: {self.folder}")
            if time.monotonic() >= act_s:
                act_s = time.monotonic() + ACT_EVERY_S
                how = self._urge(time.monotonic() - begun_s) or how
            time.sleep(0.02)
        return how or "by itself"

    def next_tick_s(self) -> float:
        """The simulator's clock, as soon as it has gone on. Raises DeploymentError when it stands."""
        self.wait_simulated(SHORTER_THAN_A_TICK_S)
        return self.observer.heard.now_s

    def wait_simulated(self, duration_s: float) -> None:
        """Let the simulator's clock run on. Raises DeploymentError when it stands."""
        end_s = self.observer.heard.now_s + duration_s
        if not wait_until(lambda: self.observer.heard.now_s >= end_s, START_TIMEOUT_S + duration_s / self._pace):
            raise DeploymentError(f"the simulator's clock stands at {self.observer.heard.now_s:.2f} s")

    def expect(self, service: str) -> None:
        """Call a service until it does what it is for. Raises DeploymentError when it goes on refusing."""
        answer = ""

        def called() -> bool:
            nonlocal answer
            done, answer = self.observer.call(service)
            return done

        if not wait_until(called, MOVING_TIMEOUT_S):
            raise DeploymentError(f"{service} refuses: {answer}")

    def _start(self) -> None:
        self._resources.enter_context(interrupted_by_sigterm())
        self.folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ladle-faults-")))
        self._log, self._judge, self._judged_rows = self.folder / "motion.raw", LogJudge(), 0
        self.starts, self._has_killed, self._relays = 0, False, relays()
        settings = BringupSettings(
            task=TASK, policy="sway", controller=self._route,
            setpoint_form="array" if self._route == "jtc" else "trajectory",
            arm_socket=str(self.folder / "arm.sock"), pace=self._pace, arm_recovers=True,
            motion_log=str(self._log), time_limit_s=ENDLESS_S, frozen_camera_check="on")
        self._nodes: dict[str, NodeDescription] = {node.executable: node for node in describe(settings)}
        domain = self._resources.enter_context(free_domain())
        ours = {**environment("sim"), "ROS_DOMAIN_ID": str(domain)}
        self._variables = {**os.environ, **ours}
        self._resources.callback(_restore_environment, {name: os.environ.get(name) for name in ours})
        os.environ.update(ours)
        self.observer = FaultObserver(domain, BEFORE + "/clock")
        self._resources.callback(self.observer.close)
        for name in (*self._nodes, *(f"relay {stream}" for stream in self._relays)):
            self.start(name)
        self.wait_for_relays()

    def wait_for_relays(self) -> None:
        """Until every relay listens. Raises DeploymentError."""
        if not wait_until(lambda: self.observer.relays_hear(len(self._relays)), START_TIMEOUT_S):
            self._expect_simulator()
            raise DeploymentError(f"the relays do not listen after {START_TIMEOUT_S:.0f} s; logs: {self.folder}")

    def wait_for_controller(self) -> None:
        """Until all of its commands reach the arm. Raises DeploymentError."""
        if not wait_until(lambda: self.observer.heard.command_rate > 0.99, START_TIMEOUT_S):
            raise DeploymentError(f"the controller has not connected after {START_TIMEOUT_S:.0f} s; see {self.folder}")

    def _urge(self, waited_s: float) -> str:
        """Do what the run's state asks for; what it was, or nothing. HOLD ends by itself, if it does."""
        if waited_s > RENEW_AFTER_S and not self._has_renewed and self.observer.status.state in ("IDLE", "STOPPED"):
            self._has_renewed = True
            self.end(POLICY)
        if self.children[POLICY].exit_code is not None:
            self.start(POLICY)
            return "new process"
        service = {"FAULT": "clear_fault", "STOPPED": "start", "IDLE": "start",
                   "HOLD": "resume" if waited_s > HOLD_PATIENCE_S else None}.get(self.observer.status.state)
        if service is not None and self.observer.call(service_name(service))[0]:
            return service
        return ""

    def _expect_simulator(self) -> None:
        simulator = self.children[SIMULATOR]
        if simulator.exit_code is not None:
            raise DeploymentError(f"the simulator ended with {simulator.exit_code}: {simulator.last_words()}")

    def _newest_rows(self, count: int) -> Floats:
        return newest_motion(self._log, count)


def _end_order(name: str) -> int:
    """The policy first, the controller after the simulator."""
    order = (POLICY, SIMULATOR, CONTROLLER)
    return order.index(name) if name in order else len(order)


def _children_named(parent: int, module: str) -> list[int]:
    """Of a process, by what they run."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()
                  if module in Path(f"/proc/{child}/cmdline").read_text().split("\0")]
    return found


def _restore_environment(before: Mapping[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
