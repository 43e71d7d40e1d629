"""What configuring the policy node waits for: the arm's description, its controller, a policy that is loaded and warm.

It spins a node of its own meanwhile, for a transition may be a callback of the policy node's.
"""

from __future__ import annotations

from types import TracebackType

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from ladle_nodes.controller_parameters import check_fed_controller
from ladle_nodes.inbox import Inbox
from ladle_nodes.process import Spinner, parameter, text_parameter
from ladle_nodes.qos import latched
from ladle_nodes.warm_up import measure_latency
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.process_caller import ProcessCaller

NS = 1e-9
POLL_S = 0.002
DESCRIPTION_TIMEOUT_S = 60.0
CLOCK_TIMEOUT_S = 60.0


class PolicySetup:
    """Within its block there is a node beside the policy node, on the same clock."""

    def __init__(self, node: Node) -> None:
        use_sim_time = Parameter("use_sim_time", value=bool(parameter(node, "use_sim_time")))
        self._policy_node = node
        self._node = Node(f"{node.get_name()}_setup", use_global_arguments=False, parameter_overrides=[use_sim_time])
        self._spinner = Spinner(self._node)

    def __enter__(self) -> PolicySetup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._spinner.close()
        self._node.destroy_node()

    def chain(self, task: TaskConfig) -> KinematicChain:
        """The arm's kinematics from its own description."""
        if task.frames is None:
            raise DeploymentError(f"task {task.name} has no frames; a run needs base and tip")
        topic, texts = task.frames.description_topic, list[str]()
        self._node.create_subscription(String, topic, lambda message: texts.append(message.data), latched())
        self._spinner.until(lambda: bool(texts), DESCRIPTION_TIMEOUT_S, lambda: topic)
        return KinematicChain.from_urdf(texts[0], task.frames.base, task.frames.tip)

    def check_controller(self, chain: KinematicChain, config: DeploymentConfig) -> None:
        """Raises DeploymentError: the trajectory controller cannot be fed."""
        node = self._policy_node
        check_fed_controller(self._node, self._spinner, text_parameter(node, "trajectory_topic"), chain.joint_names,
                             config.following_error_rad, text_parameter(node, "jtc_distribution"))

    def warm_up(self, policy: ProcessCaller, task: TaskConfig, chain: KinematicChain, config: DeploymentConfig) -> None:
        """Raises LadleError: nothing to show comes, or the policy fails, or is too slow for its horizon."""
        clock, observations = self._node.get_clock(), ObservationBuffer(task, chain)
        # Time begins in the simulator when somebody reads its cameras.
        inbox = Inbox(self._node, task, observations, lockstep=False)
        self._spinner.until(lambda: clock.now().nanoseconds > 0, CLOCK_TIMEOUT_S, lambda: "/clock")
        inbox.clear()
        start_ns = clock.now().nanoseconds

        def receive() -> float:
            self._spinner.everything(POLL_S)
            inbox.hand_over(start_ns)
            return (clock.now().nanoseconds - start_ns) * NS

        measure_latency(policy, observations, receive, config, task.period_s)
