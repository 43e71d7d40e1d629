"""What a recorded run holds, read in the order in which it happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.bags import Bag
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.inspection import recordings_below
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.run_file import FRAMES_TOPIC, JOINTS_TOPIC, KNOWN_FRAMES, RECORD_TOPIC, SENT_TOPIC

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RunEvent:
    """One event with the frames that it shows, and how many events before it were lost."""

    message: ArrayMessage
    images: dict[str, NDArray[Any]]
    lost: int


@dataclass(frozen=True)
class Plan:
    """A trajectory as it was sent: when, its times on the ROS clock (n,) in seconds, and its joints (n, J)."""

    sent_s: float
    times_s: Floats
    q_rad: Floats


def run_source(path: Path) -> BagSource:
    """The one recording of a run at a path. Raises BagError where there is none, or something else."""
    found = recordings_below(path) if path.exists() else []
    if len(found) != 1:
        raise BagError(f"{path} holds {len(found)} recordings; name the folder of one run, as ladle up --record "
                       "wrote it")
    return found[0]


def run_events(path: Path) -> Iterator[RunEvent]:
    """Every event of a run in order.

    Raises:
        BagError: the recording is not one of a run.
    """
    frames: dict[str, dict[int, NDArray[Any]]] = defaultdict(dict)
    counts: dict[str, int] = defaultdict(int)
    expected = 0
    with Bag(run_source(path)) as bag:
        _require(bag, RECORD_TOPIC, path)
        topics = [topic for topic in bag.topics if topic == RECORD_TOPIC or topic.startswith(FRAMES_TOPIC)]
        for topic, _, message in bag.messages(topics):
            if topic != RECORD_TOPIC:
                key = topic.removeprefix(FRAMES_TOPIC)
                frames[key][counts[key]] = np.asarray(message.data)
                # A few more than the writer remembers: it never refers further back.
                frames[key].pop(counts[key] - 2 * KNOWN_FRAMES, None)
                counts[key] += 1
                continue
            event = ArrayMessage.from_bytes(np.asarray(message.data).tobytes())
            order = int(event.values["order"])
            yield RunEvent(event, _images(event, frames), order - expected)
            expected = order + 1


def measured_and_sent(path: Path) -> tuple[Floats, Floats, list[Plan]]:
    """Header times (n,) in seconds and joints (n, J) that were measured, and the plans that were sent.

    Raises:
        BagError: the recording is not one of a run.
    """
    times_s, joints, plans = list[float](), list[Any](), list[Plan]()
    with Bag(run_source(path)) as bag:
        _require(bag, JOINTS_TOPIC, path)
        for topic, receive_ns, message in bag.messages([JOINTS_TOPIC, SENT_TOPIC]):
            stamp_s = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
            if topic == JOINTS_TOPIC:
                times_s.append(stamp_s)
                joints.append(np.asarray(message.position, np.float64))
            else:
                from_start_s = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points]
                plans.append(Plan(receive_ns * 1e-9, stamp_s + np.array(from_start_s),
                                  np.array([p.positions for p in message.points])))
    return np.array(times_s), np.array(joints), plans


def _require(bag: Bag, topic: str, path: Path) -> None:
    if not bag.has(topic):
        raise BagError(f"{path} is not the recording of a run: no {topic}; it has {bag.topic_list()}")


def _images(event: ArrayMessage, frames: dict[str, dict[int, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for key, said in event.values.get("frames", {}).items():
        kind, shape = np.dtype(said["dtype"]), tuple(said["shape"])
        try:
            rows = [frames[key][number].view(kind).reshape(shape) for number in said["numbers"]]
        except KeyError as error:
            raise BagError(f"frame {error} of {key} is not in the recording; it is cut off or damaged") from error
        found[key] = np.stack(rows)
    return found
