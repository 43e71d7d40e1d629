"""Where a task's streams lie in one recording, and the robot's kinematics in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ladle.errors import BagError
from ladle.kinematics import KinematicChain
from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.compressed_images import nearest_coded_m
from read_sensors_utils.decode import can_hold_joints

log = logging.getLogger("ladle.extract")

COMPRESSED_TWINS = {"color": ("/compressed",), "depth": ("/compressedDepth",)}


@dataclass(frozen=True)
class Topics:
    """Where the task's streams lie in one recording: joints, cameras by key."""

    joints: str
    cameras: dict[str, str]


def find_topics(bag: Bag, task: TaskConfig) -> Topics:
    """Where the task's streams are in the recording.

    Raises:
        BagError: one is not there; the message lists what is.
    """
    assert task.joints is not None
    joints = joint_topic(bag, task.joints.sources)
    cameras: dict[str, str] = {}
    for key, camera in task.extracted_cameras.items():
        names = [camera.topic, *(camera.topic + twin for twin in COMPRESSED_TWINS[camera.kind])]
        topic = next((name for name in names if bag.has(name)), None)
        if topic is None:
            raise BagError(f"{bag.source.name}: no topic {camera.topic} for {key} of the task {task.name}; "
                           f"it has {bag.topic_list()}")
        sample = bag.first(topic)  # raises where none of its messages can be decoded
        _warn_if_too_near(bag.source.name, topic, sample, camera)
        cameras[key] = topic
    return Topics(joints, cameras)


def _warn_if_too_near(name: str, topic: str, sample: Any, camera: CameraConfig) -> None:
    """Of what the transport has cut nothing can be seen in the messages."""
    nearest_m = None if camera.near_m is None or not hasattr(sample, "format") else nearest_coded_m(sample)
    if nearest_m is not None and camera.near_m is not None and nearest_m > camera.near_m:
        log.warning("%s: %s cannot tell depths below %.3f m, which appear as larger ones, and the task's near_m is "
                    "%g m; record the raw topic, or lower the transport's depth_quantization", name, topic, nearest_m,
                    camera.near_m)


def joint_topic(bag: Bag, sources: tuple[str, ...]) -> str:
    """The first of the topics that holds joint positions; one that cannot be decoded gives way to the next.

    Raises:
        BagError: none is there, or none tells joints.
    """
    present = [topic for topic in sources if bag.has(topic)]
    if not present:
        raise BagError(f"{bag.source.name}: no joint topic {' or '.join(sources)}; it has {bag.topic_list()}")
    faults: list[BagError] = []
    for topic in present:
        try:
            sample = bag.first(topic)
        except BagError as error:
            faults.append(error)
            continue
        if can_hold_joints(sample):
            return topic
    if len(faults) == len(present):
        raise faults[0]
    raise BagError(f"{bag.source.name}: {present[0]} ({bag.topics[present[0]].type_name}) holds no joint "
                   "positions (position with name, q, or measured_joint_state)")


def read_chain(bag: Bag, task: TaskConfig) -> KinematicChain | None:
    """The kinematics from the robot description in the recording; None for a task without frames.

    Raises:
        BagError: no description in the recording.
        KinematicsError: it lacks a frame, or the chain a joint.
    """
    if task.frames is None or task.joints is None:
        return None
    topic = task.frames.description_topic
    if not bag.has(topic):
        raise BagError(f"{bag.source.name}: no topic {topic}, which the pose of {task.frames.tip} needs; "
                       f"it has {bag.topic_list()}")
    chain = KinematicChain.from_urdf(str(bag.first(topic).data), task.frames.base, task.frames.tip)
    unknown = [name for name in chain.joint_names if name not in task.joints.names]
    if unknown:
        raise BagError(f"{bag.source.name}: the way from {task.frames.base} to {task.frames.tip} in {topic} moves with "
                       f"{', '.join(unknown)}, which the task's joints {', '.join(task.joints.names)} do not name")
    return chain
