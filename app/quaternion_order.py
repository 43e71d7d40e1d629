"""In which order an older folder's quaternions are written: the robot's kinematics in a recording tell."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ladle.episode_files import EEF_FILE, actions_of
from ladle.errors import EpisodeError
from ladle.pose import rotation_angle_rad
from ladle.poses_at import poses_of
from ladle.task import TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import BagSource, find_bags
from read_sensors_utils.joint_recorder import JointRecorder
from read_sensors_utils.streams import joint_topic, read_chain
from training.interop.older_folder import QuaternionOrder, older_numbers, read_poses

log = logging.getLogger("ladle.conversion")

Floats = NDArray[np.float64]

SAME_PLACE_M = 0.01  # in the median: how far a pose may be from the nearest one that the arm took
SAME_ROTATION_RAD = 0.05
OTHER: dict[QuaternionOrder, QuaternionOrder] = {"xyzw": "wxyz", "wxyz": "xyzw"}


def require_quaternion_order(root: Path, bags: Path, order: QuaternionOrder, task: TaskConfig) -> None:
    """Compare the poses of an older folder with those that the joints in its recordings give.

    Raises:
        EpisodeError: they are of the other order, or of other frames; or no recording belongs to an episode.
        BagError: a recording cannot be read.
    """
    numbers = set(older_numbers(root))
    sources = [source for source in find_bags(bags) if source.number in numbers]
    if not sources:
        raise EpisodeError(f"no recording in {bags} has the number of an episode in {root}; leave out --bags, or give "
                           "the folder of its recordings")
    for source in sources:
        arm = _poses_of_the_arm(source, task)
        path = root / actions_of(source.number) / EEF_FILE
        far_m, angle_rad = _distance(read_poses(path, order), arm)
        _, other_rad = _distance(read_poses(path, OTHER[order]), arm)
        where = f"episode {source.number}"
        if far_m > SAME_PLACE_M:
            raise EpisodeError(f"{where}: its poses are {far_m * 1e3:.0f} mm from where {source.name} has the tip; it "
                               "is of another recording, or its task has other frames: pass --task")
        if angle_rad > SAME_ROTATION_RAD:
            raise EpisodeError(f"{where}: read as {order} its poses are {np.degrees(angle_rad):.0f}° from those of "
                               f"{source.name}, read as {OTHER[order]} {np.degrees(other_rad):.0f}°; "
                               + (f"pass --quaternion-order {OTHER[order]}" if other_rad <= SAME_ROTATION_RAD else
                                  "its task has other frames: pass --task"))
        log.info("%s: its quaternions are %s, %.1f mm and %.2f° from the poses of %s", where, order, far_m * 1e3,
                 np.degrees(angle_rad), source.name)


def _poses_of_the_arm(source: BagSource, task: TaskConfig) -> Floats:
    """(N, 7) xyzw, of all joints in the recording."""
    with Bag(source) as bag:
        chain = read_chain(bag, task)
        if chain is None or task.joints is None:
            raise EpisodeError(f"task {task.name} has no frames, so no pose can be checked; leave out --bags")
        topic = joint_topic(bag, task.joints.sources)
        recorder = JointRecorder(task.joints, topic)
        for _, receive_ns, message in bag.messages([topic]):
            recorder.add(message, 0, receive_ns)
    if not len(recorder.positions_rad):
        raise EpisodeError(f"{source.name}: no message on {topic} tells all joints ({recorder.reason}); leave out "
                           "--bags")
    return poses_of(chain, recorder.positions_rad, task.joints.names)


def _distance(poses: Floats, arm: Floats) -> tuple[float, float]:
    """Medians over (T, 7) poses: metres to the nearest of the (N, 7) of the arm, rad between the two."""
    nearest = [int(np.argmin(np.sum((arm[:, :3] - pose[:3]) ** 2, axis=1))) for pose in poses]
    far_m = np.linalg.norm(arm[nearest, :3] - poses[:, :3], axis=1)
    return float(np.median(far_m)), float(np.median(rotation_angle_rad(arm[nearest, 3:], poses[:, 3:])))
