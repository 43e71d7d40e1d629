"""Who reads and writes the trajectories' topic, and whether they arrive: readers and writers are processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory as TrajectoryMessage

from app.domain import free_domain
from app.processes import remove_orphaned_shared_memory
from ladle_bringup.environment import environment
from ladle_nodes.qos import fresh_command
from ladle_nodes.trajectories import to_message
from ladle_nodes.watched_controller import LOOK_EVERY_S, WatchedJtc
from real_world_deployment.config import WatchdogBounds
from real_world_deployment.safety.alarms import Alarm
from real_world_deployment.splice import Splice
from real_world_deployment.trajectory import JointTrajectory

PEER = Path(__file__).with_name("trajectory_peer.py")
TOPIC = "/arm_controller/joint_trajectory"
PATIENCE_S, AGAIN_S = 60.0, 3.0


class Bench:
    """The node that commands, its neighbours, and a run's clock that is the wall's."""

    def __init__(self, node: Node, lifespan_s: float) -> None:
        self.node, self.sent, self.followed_s = node, 0, 0.0
        self.publisher = node.create_publisher(TrajectoryMessage, TOPIC, fresh_command(lifespan_s))
        self.controller = WatchedJtc(("a", "b"), self._send, node, self.publisher,
                                     WatchdogBounds(unacknowledged_s=0.5))
        self.peers: dict[str, subprocess.Popen[bytes]] = {}

    def _send(self, message: object) -> None:
        self.publisher.publish(to_message(message, 0))  # type: ignore[arg-type]
        self.sent += 1

    def start(self, role: str, name: str) -> None:
        self.peers[name] = subprocess.Popen([sys.executable, str(PEER), role, name, TOPIC])

    def end(self, name: str) -> None:
        self.peers[name].send_signal(signal.SIGINT)
        self.peers[name].wait(30)

    def follow(self) -> None:
        """A plan that is under way."""
        now_s = time.monotonic()
        self.followed_s, rows = now_s, np.zeros((2, 2))
        plan = JointTrajectory(np.round([now_s - 0.1, now_s + 0.3], 3), rows, rows, rows)
        self.controller.follow(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), now_s)

    def alarm(self) -> Alarm | None:
        time.sleep(LOOK_EVERY_S)  # it does not look more often
        trouble = self.controller.problem()
        return None if trouble is None else trouble.alarm

    def is_unheard(self) -> bool:
        return self.controller.unheard(time.monotonic()) is not None


def until(reached: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """In a domain of its own."""
    begun_s = time.time()
    with free_domain() as domain:
        for name, value in {**environment("sim"), "ROS_DOMAIN_ID": str(domain)}.items():
            monkeypatch.setenv(name, value)
        context = Context()
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node("commander", context=context)
        yield node
        node.destroy_node()
        context.try_shutdown()
    remove_orphaned_shared_memory(begun_s)


@pytest.fixture(params=[60.0], ids=["plans live"])
def bench(node: Node, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """With a controller that reads, and a recorder beside it."""
    bench = Bench(node, request.param)
    assert bench.alarm() is Alarm.CONTROLLER_DEAD
    bench.start("reader", "arm_controller")
    bench.start("reader", "recorder")
    until(lambda: {reader.node_name for reader in node.get_subscriptions_info_by_topic(TOPIC)} == set(bench.peers))
    until(lambda: bench.publisher.get_subscription_count() == 2 and bench.alarm() is None)
    yield bench
    for peer in bench.peers.values():
        peer.kill()
        peer.wait()


def test_a_second_writer_is_told_by_name_until_it_has_gone(bench: Bench) -> None:
    """Its trajectories would be steps between ours."""
    bench.start("writer", "rqt")
    until(lambda: bench.alarm() is Alarm.OTHER_COMMANDER)
    until(lambda: bench.alarm() is not None and "/rqt commands the arm too" in str(bench.controller.problem()))
    bench.end("rqt")
    until(lambda: bench.alarm() is None)


def test_a_recorder_is_no_controller(bench: Bench) -> None:
    """The controller reads no more; that somebody still does is no comfort."""
    bench.end("arm_controller")
    until(lambda: bench.alarm() is Alarm.CONTROLLER_DEAD)
    assert "/arm_controller reads" in str(bench.controller.problem())
    assert [reader.node_name for reader in bench.node.get_subscriptions_info_by_topic(TOPIC)] == ["recorder"]


@pytest.mark.parametrize("bench", [60.0, 0.2], indirect=True, ids=["plans live", "plans expire"])
def test_a_controller_that_hears_nothing_is_noticed_and_sent_no_more(bench: Bench) -> None:
    """It stands still (SIGSTOP), also where what was sent has expired; afterwards only a motion that begins anew."""
    for _ in range(3):
        bench.follow()
        until(lambda: bench.publisher.wait_for_all_acked(Duration(nanoseconds=0)))
        assert not bench.is_unheard()

    def misses() -> bool:
        bench.peers["arm_controller"].send_signal(signal.SIGSTOP)  # again: somebody may let everything go on
        if time.monotonic() > bench.followed_s + AGAIN_S:  # it was not quite stopped yet
            bench.follow()
        return bench.is_unheard()

    misses()
    bench.follow()
    until(misses)
    sent = bench.sent
    bench.peers["arm_controller"].send_signal(signal.SIGCONT)
    until(lambda: bench.publisher.wait_for_all_acked(Duration(nanoseconds=0)))
    bench.follow()
    assert (bench.is_unheard(), bench.sent) == (True, sent)
    bench.controller.begin_anew()
    bench.follow()
    assert bench.sent == sent + 1
