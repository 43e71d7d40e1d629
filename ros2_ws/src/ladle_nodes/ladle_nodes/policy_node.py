"""The policy's process: observations in, trajectories out, at the ticks of the task.

A lifecycle node: configuring makes the policy and shows it what the robot sees, activating lets it move the arm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Joy
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import DeploymentError, ImplausibleJointsError, ObservationError
from ladle.kinematics import KinematicChain
from ladle.task import load_task
from ladle_nodes import arm_conditions
from ladle_nodes.inbox import Inbox
from ladle_nodes.intake import Intake
from ladle_nodes.lockstep_peer import LockstepPeer
from ladle_nodes.managed_node import ManagedNode
from ladle_nodes.operator_services import CLEAR_FAULT, STOP, carry_out, serve
from ladle_nodes.policy_setup import PolicySetup
from ladle_nodes.process import Spinner, noted_interrupts, parameter, run_node, text_parameter
from ladle_nodes.promptness import LOOP_PRIORITY, become_prompt
from ladle_nodes.qos import fresh_command, reliable, sensor_reader
from ladle_nodes.run_diagnostics import RunDiagnostics
from ladle_nodes.run_parameters import config_of, recipe_of
from ladle_nodes.run_recording import Recording
from ladle_nodes.trajectories import TrajectoryBytes
from ladle_nodes.watched_controller import WatchedJtc
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import LoopState
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.policy_caller import SynchronousCaller
from real_world_deployment.process_caller import ProcessCaller
from real_world_deployment.safety.alarms import Alarm, Trouble

log = logging.getLogger("ladle.policy")

NS = 1e-9
POLL_S = 0.002
CONNECTION_TIMEOUT_S = 60.0
# After the last message a process must stay until it has left.
FAREWELL_S = 0.2
# Of the wall clock, for an arm that is to be at rest before the node goes.
REST_TIMEOUT_S = 1.0
# A run's noise comes from the run's seed and the scene's.
SEED_STRIDE = 1_000_003


class PolicyNode:
    """Joins topics to a `DeploymentLoop`; time is the simulator's tick in lockstep, the node's clock otherwise."""

    policy_factory = "ladle_nodes.policies:from_json"

    def __init__(self, node: ManagedNode) -> None:
        self._node, self._task = node, load_task(text_parameter(node, "task"))
        self._lockstep, self._seed = bool(parameter(node, "lockstep")), int(parameter(node, "seed"))
        self._spinner = Spinner(node)
        self._start_ns = self._sent = 0
        self._is_configured = self._is_active = False
        self._process: ProcessCaller | None = None
        self._intake: Intake | None = None
        self._subscriptions: list[Subscription[Any]] = []
        self._trajectories = node.create_publisher(JointTrajectory, text_parameter(node, "trajectory_topic"),
                                                   reliable(100) if self._lockstep else fresh_command(self._lead_s()))
        self._diagnostics = RunDiagnostics(node, self._task.name)
        serve(node, self._carry_out)
        node.manage(self)

    def configure(self) -> None:
        """Description, controller, policy, and how long it takes; nothing moves."""
        recipe, config = recipe_of(self._node), config_of(self._node, self._task)
        arm_conditions.message_type(text_parameter(self._node, "arm_condition"))
        self._end_process()  # of a configuring that failed
        if not self._lockstep:
            # In lockstep time waits for the policy; else it has a process of its own, for which the loop never waits.
            self._process = ProcessCaller(self.policy_factory, recipe.to_json())
        policy = recipe.make() if self._process is None else self._process
        with PolicySetup(self._node) as setup:
            chain = setup.chain(self._task)
            if bool(parameter(self._node, "check_controller")):
                setup.check_controller(chain, config)
            if self._process is not None:
                setup.warm_up(self._process, self._task, chain, config)
        self._recording = Recording(text_parameter(self._node, "record"), recipe, self._task, config,
                                    wait=self._lockstep)
        recorded, caller = self._recording.of(policy, self._process or SynchronousCaller(policy))
        observations = ObservationBuffer(self._task, chain)
        controller = self._controller(chain, config)
        self._loop = DeploymentLoop(self._task, recorded, controller, chain, config, observations, caller)
        self._listen(observations, config)
        if not self._lockstep:
            self._begin(self._node.get_clock().now().nanoseconds)
        self._is_configured = True

    def activate(self) -> None:
        """With `autostart` a run is asked for, else an operator starts it; a fault is as it was."""
        if not self._lockstep:
            self._forget_sensors()
            if not bool(parameter(self._node, "use_sim_time")):  # a simulated clock waits for whoever is late
                become_prompt(LOOP_PRIORITY)
            if self._loop.state is LoopState.FAULT:
                log.warning("a fault is latched: %s", self._loop.detail)
            elif bool(parameter(self._node, "autostart")):
                self._loop.start(self._seed)
            else:
                log.info("ready: /ladle/start, or c in `ladle control`, begins a run")
        self._is_active = True

    def deactivate(self) -> None:
        """Come to rest."""
        self._is_active = False
        self._come_to_rest("the node was deactivated", self._now_s)

    def clean_up(self) -> None:
        """Come to rest, and let go of the policy and of the sensors."""
        self._is_active = False
        if self._is_configured:
            self._come_to_rest("the node was shut down", self._now_s)
            self._release()
        self._end_process()  # of a configuring that failed

    def run(self) -> None:
        """Serve until the simulator is done, in lockstep, or somebody ends the process."""
        if not bool(parameter(self._node, "managed")):
            self._node.start_up()
        if self._lockstep:
            self._run_in_lockstep()
            return
        with noted_interrupts() as interrupted:
            while not interrupted():
                if self._is_configured:
                    self._step()
                else:
                    self._spinner.once()

    def close(self) -> None:
        """Bring the arm to rest, and end."""
        if self._is_configured:
            if not self._lockstep:
                self._come_to_rest("the node ends", self._receive)
                self._spinner.for_a_while(FAREWELL_S)
            self._release()
        self._end_process()
        self._spinner.close()

    def _lead_s(self) -> float:
        """How long after its sending a plan can still be followed, on the wall clock."""
        return config_of(self._node, self._task).switch_lead_s / float(parameter(self._node, "pace"))

    def _controller(self, chain: KinematicChain, config: DeploymentConfig) -> JtcController:
        """In lockstep every trajectory is accounted for anyway."""
        self._bytes = TrajectoryBytes(chain.joint_names)
        if self._lockstep:
            return JtcController(chain.joint_names, self._send)
        return WatchedJtc(chain.joint_names, self._send, self._node, self._trajectories, config.bounds)

    def _listen(self, observations: ObservationBuffer, config: DeploymentConfig) -> None:
        """Subscribe to what the loop needs."""
        node = self._node
        self._inbox = Inbox(node, self._task, observations, self._lockstep, self._refuse)
        if self._process is not None:
            self._intake = Intake(self._spinner, self._inbox, observations.camera_keys, self._process,
                                  is_simulated=bool(parameter(node, "use_sim_time")))
        if config.hold_to_run_s is not None:
            self._subscriptions.append(node.create_subscription(
                Joy, text_parameter(node, "hold_topic"), self._see_button, sensor_reader(1, self._lockstep)))
        self._subscriptions += arm_conditions.subscribe(node, text_parameter(node, "arm_condition"), self._now_s,
                                                        self._loop.watchdogs.arm.see)

    def _release(self) -> None:
        self._inbox.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._recording.close()
        self._end_process()
        self._intake = None
        self._is_configured = False

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None

    def _run_in_lockstep(self) -> None:
        while not self._is_active:
            self._spinner.once()
        self._spinner.until(self._is_connected, CONNECTION_TIMEOUT_S, lambda: "sensors, and a reader of trajectories")
        peer = LockstepPeer(self._node, self._spinner)
        for tick in peer.ticks():
            if tick.kind == "reset":
                self._begin(tick.time_ns)
                self._loop.start(self._seed * SEED_STRIDE + tick.seed)
            else:
                peer.wait_for(self._inbox, tick)
                self._inbox.hand_over_announced(tick.received_ns, self._start_ns)
                self._tick((tick.time_ns - self._start_ns) * NS)
            detail = self._loop.detail if self._loop.state is not LoopState.RUNNING else str(self._loop.counts)
            peer.answer(tick, self._sent, self._loop.state, detail)

    def _step(self) -> None:
        self._tick(self._receive())
        self._diagnostics.tell(self._loop, self._start_ns, self._node.get_clock().now().nanoseconds)

    def _tick(self, now_s: float) -> None:
        self._loop.tick(now_s)
        self._recording.watch(self._loop, now_s)

    def _receive(self) -> float:
        """Take in what has come, waiting a little for it; the time after that."""
        if self._intake is None:
            self._spinner.everything(POLL_S)
        else:
            self._intake.wait(self._loop.next_tick_s - self._now_s(), self._start_ns)
        return self._now_s()

    def _come_to_rest(self, reason: str, pass_time: Callable[[], float]) -> None:
        """Brake, and keep the controller supplied until the arm is at rest, or the wall clock's patience is over.

        Args:
            pass_time: lets a moment pass and tells the run's time.
        """
        self._loop.stop(self._now_s(), reason)
        give_up_s = time.monotonic() + REST_TIMEOUT_S
        while not self._loop.is_at_rest(self._now_s()) and time.monotonic() < give_up_s:
            self._tick(pass_time())
            time.sleep(POLL_S)
        self._diagnostics.tell(self._loop, self._start_ns, self._node.get_clock().now().nanoseconds)

    def _begin(self, start_ns: int) -> None:
        """Times count from here: nothing of an earlier scene is left."""
        self._start_ns, self._sent = start_ns, 0
        self._recording.begin(start_ns)
        self._forget_sensors()
        self._loop.forget()
        if self._loop.state is LoopState.FAULT:
            self._loop.clear_fault(0.0)
        if self._loop.state is not LoopState.IDLE:
            self._loop.stop(0.0, "another run begins")

    def _forget_sensors(self) -> None:
        """What has been seen until now; the next samples may be of another clock."""
        self._inbox.clear()
        self._loop.observations.reset()

    def _carry_out(self, command: str) -> str:
        """What an operator asks for. Raises DeploymentError: it cannot be; a stop always can."""
        if command == STOP and not self._is_configured:
            return "nothing is configured, nothing moves"
        if command != STOP and not self._is_active:
            raise DeploymentError("the node is not active; configure and activate it first (ros2 lifecycle set "
                                  f"/{self._node.get_name()} configure, then activate)")
        carry_out(self._loop, command, self._now_s(), self._seed)
        if command == CLEAR_FAULT:
            self._forget_sensors()
        return f"{self._loop.state.value}: {self._loop.detail}"

    def _refuse(self, stream: str, error: ObservationError) -> None:
        """A sample that nobody can believe; a clock that went back is seen by the loop itself."""
        if isinstance(error, ImplausibleJointsError):
            self._loop.watchdogs.report(Trouble(Alarm.JOINTS_NOT_FINITE, str(error)))
        else:
            log.debug("%s: %s", stream, error)

    def _now_s(self) -> float:
        return (self._node.get_clock().now().nanoseconds - self._start_ns) * NS

    def _send(self, message: JtcMessage) -> None:
        self._trajectories.publish(self._bytes.of(message, self._start_ns))
        self._recording.sent(message)
        self._sent += 1

    def _see_button(self, message: Joy) -> None:
        """A joystick without that button does not press it."""
        buttons, index = message.buttons, int(parameter(self._node, "hold_button"))
        assert self._loop.button is not None
        self._loop.button.see(index < len(buttons) and buttons[index] == 1, self._now_s())

    def _is_connected(self) -> bool:
        return self._inbox.has_writers() and self._trajectories.get_subscription_count() > 0


def main() -> None:
    """Entry point of ladle_nodes policy_node."""
    def make() -> tuple[Node, PolicyNode]:
        node = ManagedNode("ladle_policy")
        return node, PolicyNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
