"""The policy's process: observations in, trajectories out, at the ticks of the task."""

from __future__ import annotations

import time

from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.policy import Guidance
from ladle.task import TaskConfig, load_task
from ladle_nodes.controller_parameters import check_fed_controller
from ladle_nodes.inbox import Inbox
from ladle_nodes.intake import Intake
from ladle_nodes.lockstep import ACK_TOPIC, TICK_TOPIC, Ack, Tick
from ladle_nodes.policies import PolicyRecipe
from ladle_nodes.process import Spinner, parameter, run_node, text_parameter
from ladle_nodes.promptness import LOOP_PRIORITY, become_prompt
from ladle_nodes.qos import latched, reliable, sensor_reader
from ladle_nodes.run_recording import Recording
from ladle_nodes.trajectories import to_message
from ladle_nodes.warm_up import measure_latency
from real_world_deployment.chunking import chunking_from_text
from real_world_deployment.config import HOLD_TO_RUN_S, DeploymentConfig, in_lockstep
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.loop_state import LoopState
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.policy_caller import SynchronousCaller
from real_world_deployment.process_caller import ProcessCaller

NS = 1e-9
READY_PERIOD_S = 0.2
DESCRIPTION_TIMEOUT_S = 60.0
WRITERS_TIMEOUT_S = 60.0
MESSAGES_TIMEOUT_S = 60.0
# After the last message a process must stay until it has left.
FAREWELL_S = 0.2
# A run's noise comes from the run's seed and the scene's.
SEED_STRIDE = 1_000_003


class PolicyNode:
    """Joins topics to a `DeploymentLoop`; time is the simulator's tick in lockstep, the node's clock otherwise."""

    policy_factory = "ladle_nodes.policies:from_json"

    def __init__(self, node: Node) -> None:
        self._node = node
        task = load_task(text_parameter(node, "task"))
        self._lockstep = bool(parameter(node, "lockstep"))
        self._seed = int(parameter(node, "seed"))
        self._spinner = Spinner(node)
        self._start_ns = 0
        self._sent = 0
        recipe = recipe_of(node)
        # In lockstep time waits for the policy; else it has a process of its own, for which the loop never waits.
        self._process = None if self._lockstep else ProcessCaller(self.policy_factory, recipe.to_json())
        policy = recipe.make() if self._process is None else self._process
        chain = self._chain(task)
        observations = ObservationBuffer(task, chain)
        self._inbox = Inbox(node, task, observations, self._lockstep)
        self._intake = None if self._process is None else Intake(self._spinner, self._inbox, observations.camera_keys,
                                                                 self._process)
        self._trajectories = node.create_publisher(JointTrajectory, text_parameter(node, "trajectory_topic"),
                                                   reliable(100))
        self._config, self._period_s = config_of(node, task), task.period_s
        if bool(parameter(node, "check_controller")):
            check_fed_controller(node, self._spinner, text_parameter(node, "trajectory_topic"), chain.joint_names,
                                 self._config.following_error_rad, text_parameter(node, "jtc_distribution"))
        controller = JtcController(chain.joint_names, self._send)
        self._recording = Recording(text_parameter(node, "record"), recipe, task, self._config, wait=self._lockstep)
        policy, caller = self._recording.of(policy, self._process or SynchronousCaller(policy))
        self._loop = DeploymentLoop(task, policy, controller, chain, self._config, observations, caller)
        self._hold_button = int(parameter(node, "hold_button"))
        if hold_topic := text_parameter(node, "hold_topic"):
            node.create_subscription(Joy, hold_topic, self._see_button, sensor_reader(1, self._lockstep))
        self._acks = node.create_publisher(String, ACK_TOPIC, reliable(100))
        self._ticks: list[Tick] = []
        if self._lockstep:
            node.create_subscription(String, TICK_TOPIC, self._keep_tick, reliable(100))

    def run(self) -> None:
        """One run after the other in lockstep, one run otherwise."""
        self._spinner.until(self._is_connected, WRITERS_TIMEOUT_S, lambda: "sensors, and a reader of trajectories")
        if self._lockstep:
            self._run_in_lockstep()
        else:
            self._run_by_the_clock()

    def close(self) -> None:
        """Bring the arm to rest if a run is under way."""
        if self._loop.state in {LoopState.HOMING, LoopState.RUNNING} and not self._lockstep:
            self._loop.stop(self._now_s(), "the node ends")
            self._farewell()
        self._recording.close()
        if self._process is not None:
            self._process.close()
        self._spinner.close()

    def _run_in_lockstep(self) -> None:
        while not self._ticks:
            self._acks.publish(String(data=Ack("policy", -1).to_json()))
            self._spinner.once(READY_PERIOD_S)
        while True:
            while not self._ticks:
                self._spinner.once()
            tick = self._ticks.pop(0)
            if tick.kind == "quit":
                return
            self._answer(tick)

    def _answer(self, tick: Tick) -> None:
        """Begin a scene, or take in what is announced and decide."""
        if tick.kind == "reset":
            self._begin(tick.time_ns, self._seed * SEED_STRIDE + tick.seed)
        else:
            self._spinner.until(lambda: self._inbox.holds(tick.received_ns), MESSAGES_TIMEOUT_S,
                                lambda: self._inbox.missing(tick.received_ns))
            self._inbox.hand_over_announced(tick.received_ns, self._start_ns)
            now_s = (tick.time_ns - self._start_ns) * NS
            self._loop.tick(now_s)
            self._recording.watch(self._loop, now_s)
        detail = self._loop.detail if self._loop.state is not LoopState.RUNNING else self._counts()
        self._acks.publish(String(data=Ack("policy", tick.number, self._sent, self._loop.state.value,
                                           detail).to_json()))

    def _run_by_the_clock(self) -> None:
        self._spinner.until(lambda: self._node.get_clock().now().nanoseconds > 0, WRITERS_TIMEOUT_S, lambda: "/clock")
        assert self._process is not None
        measure_latency(self._process, self._loop.observations, self._receive, self._config, self._period_s)
        become_prompt(LOOP_PRIORITY)
        self._begin(self._node.get_clock().now().nanoseconds, self._seed)
        while self._loop.tick(self._now_s()) is not LoopState.STOPPED:
            self._recording.watch(self._loop, self._now_s())
            self._receive()
        self._recording.watch(self._loop, self._now_s())
        self._farewell()
        raise DeploymentError(f"the run has stopped: {self._loop.detail}")

    def _receive(self) -> float:
        """Take in what has come, waiting a little for it; the time after that."""
        assert self._intake is not None
        self._intake.wait(self._loop.next_tick_s - self._now_s(), self._start_ns)
        return self._now_s()

    def _farewell(self) -> None:
        """Stay until the last message has left."""
        end_s = time.monotonic() + FAREWELL_S
        while (left_s := end_s - time.monotonic()) > 0:
            self._spinner.once(left_s)

    def _begin(self, start_ns: int, seed: int) -> None:
        """A run begins: nothing of an earlier one is left."""
        self._start_ns, self._sent = start_ns, 0
        self._recording.begin(start_ns)
        self._inbox.clear()
        self._loop.observations.reset()
        self._loop.forget()
        self._loop.stop(0.0, "another run begins")
        self._loop.start(seed)

    def _counts(self) -> str:
        """What to tell of a run that goes on."""
        c = self._loop.counts
        return (f"{c.decisions} decisions, {c.slowed} slowed, {c.refused} refused, {c.policy_errors} policy errors, "
                f"{c.skipped} skipped")

    def _now_s(self) -> float:
        return (self._node.get_clock().now().nanoseconds - self._start_ns) * NS

    def _send(self, message: JtcMessage) -> None:
        self._trajectories.publish(to_message(message, self._start_ns))
        self._recording.sent(message)
        self._sent += 1

    def _see_button(self, message: Joy) -> None:
        """A joystick without that button does not press it."""
        buttons = message.buttons
        is_pressed = self._hold_button < len(buttons) and buttons[self._hold_button] == 1
        assert self._loop.button is not None
        self._loop.button.see(is_pressed, self._now_s())

    def _keep_tick(self, message: String) -> None:
        self._ticks.append(Tick.from_json(message.data))

    def _is_connected(self) -> bool:
        return self._inbox.has_writers() and self._trajectories.get_subscription_count() > 0

    def _chain(self, task: TaskConfig) -> KinematicChain:
        """The arm's kinematics from its own description."""
        if task.frames is None:
            raise DeploymentError(f"task {task.name} has no frames; a run needs base and tip")
        topic, texts = task.frames.description_topic, list[str]()
        self._node.create_subscription(String, topic, lambda message: texts.append(message.data), latched())
        self._spinner.until(lambda: bool(texts), DESCRIPTION_TIMEOUT_S, lambda: topic)
        return KinematicChain.from_urdf(texts[0], task.frames.base, task.frames.tip)


def config_of(node: Node, task: TaskConfig) -> DeploymentConfig:
    """The run's configuration, out of the node's parameters and what the task file says of the arm."""
    lockstep = bool(parameter(node, "lockstep"))
    config = DeploymentConfig(
        latency_s=float(parameter(node, "latency_s")) if lockstep else 0.0, home=bool(parameter(node, "home")),
        real_robot=bool(parameter(node, "real_robot")), speed=float(parameter(node, "speed")),
        hold_to_run_s=HOLD_TO_RUN_S if text_parameter(node, "hold_topic") else None,
        tracking_delay_s=task.joints.tracking_delay_s if task.joints else 0.0,
        chunking=chunking_from_text(text_parameter(node, "chunking")))
    return in_lockstep(config) if lockstep else config


def recipe_of(node: Node) -> PolicyRecipe:
    """What the node's parameters say of the policy."""
    kind, task, checkpoint, episodes = (text_parameter(node, name)
                                        for name in ("policy", "task", "checkpoint", "episodes"))
    return PolicyRecipe(kind, task, checkpoint, episodes, int(parameter(node, "episode")),
                        int(parameter(node, "policy_threads")), guidance_of(node))


def guidance_of(node: Node) -> Guidance | None:
    """The mass to ask for, unless the parameter is unset or not a number."""
    if not node.has_parameter("target_mass_g"):
        return None
    return Guidance.from_parameters(float(parameter(node, "target_mass_g")), float(parameter(node, "guidance_weight")))


def main() -> None:
    """Entry point of ladle_nodes policy_node."""
    def make() -> tuple[Node, PolicyNode]:
        node = Node("ladle_policy", automatically_declare_parameters_from_overrides=True)
        return node, PolicyNode(node)

    run_node(make)


if __name__ == "__main__":
    main()
