"""The simulated robot's topics: joints, cameras, description and clock."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from ladle.errors import DeploymentError
from ladle.robot_description import panda_urdf
from ladle.task import TaskConfig
from ladle_nodes.images import stamp, to_message
from ladle_nodes.lockstep import DEPTH
from ladle_nodes.qos import latched, reliable
from simulation.camera_clock import JOINTS
from simulation.served import Sample
from simulation.served_state import ArmState

IMAGE_DEPTH = 30


class SensorPublisher:
    """Publishes samples with the header stamps that they carry, shifted to the scene's start."""

    def __init__(self, node: Node, task: TaskConfig, cameras: Iterable[str]) -> None:
        if task.joints is None:
            raise DeploymentError(f"task {task.name} has no joints; the simulated robot serves a task with joints")
        self._task, self._joint_names = task, list(task.joints.names)
        self._clock = node.create_publisher(Clock, "/clock", reliable(10))
        self._publishers: dict[str, Publisher] = {
            JOINTS: node.create_publisher(JointState, task.joints.live_topic, reliable(DEPTH)),
            **{key: node.create_publisher(Image, task.cameras[key].topic, reliable(IMAGE_DEPTH)) for key in cameras},
        }
        if task.frames is not None:
            self._description = node.create_publisher(String, task.frames.description_topic, latched())
            self._description.publish(String(data=panda_urdf()))

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that are published."""
        return tuple(self._publishers)

    def readers(self, stream: str) -> int:
        """How many subscriptions a stream has."""
        return self._publishers[stream].get_subscription_count()

    def clock(self, time_ns: int) -> None:
        """Tell the time."""
        self._clock.publish(Clock(clock=stamp(time_ns)))

    def publish(self, sample: Sample, start_ns: int) -> int:
        """Publish one sample; returns its receive time in nanoseconds."""
        header_ns = start_ns + round(sample.event.header_s * 1e9)
        stream = sample.event.stream
        if sample.joints is not None:
            self._publishers[stream].publish(self._joint_state(sample.joints, header_ns))
        else:
            assert sample.image is not None
            frame_id = self._task.cameras[stream].frame_id
            self._publishers[stream].publish(to_message(sample.image, header_ns, frame_id))
        return start_ns + round(sample.event.receive_s * 1e9)

    def _joint_state(self, state: ArmState, header_ns: int) -> JointState:
        message = JointState(name=self._joint_names, position=array("d", state.q_rad.tobytes()),
                             velocity=array("d", state.dq_rad_s.tobytes()),
                             effort=array("d", state.tau_nm.tobytes()))
        message.header.stamp = stamp(header_ns)
        return message
