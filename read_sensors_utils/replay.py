"""A recording replayed once, in the order of receipt; images pass through, stamps and joints stay."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeWriter
from ladle.errors import BagError
from ladle.observation_time import StreamStamps
from ladle.task import TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.camera_recorder import CameraRecorder
from read_sensors_utils.clocks import clock_offset_ns, clock_offsets_ns
from read_sensors_utils.decode import header_ns, joint_names_in, joint_positions
from read_sensors_utils.streams import Topics
from read_sensors_utils.ticks import TickSchedule

log = logging.getLogger("ladle.extract")

JOINTS = "joints"

Floats = NDArray[np.float64]


class JointRecorder:
    """Collects the joints of one topic, by name.

    Attributes:
        header_ns, receive_ns, positions_rad: one entry per usable message.
        skipped: how many messages did not speak of all joints, or held numbers that are not finite.
        seen_names: names in the last message that was skipped.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self.positions_rad: list[Floats] = []
        self.skipped = 0
        self.seen_names: list[str] = []

    def add(self, message: Any, stamp_ns: int, receive_ns: int) -> bool:
        """Take in a message; False if it cannot be used."""
        positions = joint_positions(message, self._names)
        if positions is None:
            self.skipped += 1
            self.seen_names = joint_names_in(message)
            return False
        self.header_ns.append(stamp_ns)
        self.receive_ns.append(receive_ns)
        self.positions_rad.append(positions)
        return True


class Replay:
    """Replays a recording once and holds what comes of it."""

    def __init__(self, bag: Bag, task: TaskConfig, topics: Topics, writer: EpisodeWriter) -> None:
        assert task.joints is not None
        self.bag, self.task, self.topics = bag, task, topics
        self.joints = JointRecorder(task.joints.names)
        self.cameras = {key: CameraRecorder(key, task.cameras[key], topic, writer)
                        for key, topic in topics.cameras.items()}
        self.schedule = TickSchedule(task.period_s, {JOINTS, *self.cameras}, self._is_valid)
        self._fastest_ns: dict[str, int] = {}

    def run(self) -> None:
        """Replay, then cut the ticks to those that every stream covers.

        Raises:
            BagError: a stream has no usable sample, or the streams do not overlap.
        """
        try:
            self._replay()
            self._finish()
        except BaseException:
            for camera in self.cameras.values():
                camera.abort()
            raise

    def offsets_ns(self) -> dict[str, int]:
        """Stream -> what brings its header stamps onto the receive clock."""
        streams: dict[str, Any] = {JOINTS: self.joints, **self.cameras}
        return clock_offsets_ns({name: (_header_stamps(stream), np.array(stream.receive_ns, np.int64))
                                 for name, stream in streams.items()})

    def stamps(self) -> dict[str, StreamStamps]:
        """Stream -> its stamps in seconds from the bag's start, header stamps on the receive clock."""
        assert self.task.joints is not None
        offsets = self.offsets_ns()
        streams: dict[str, tuple[Any, float, float]] = {
            JOINTS: (self.joints, self.task.joints.latency_s, self.task.joints.rate_hz),
            **{key: (camera, camera.camera.latency_s, camera.camera.rate_hz) for key, camera in self.cameras.items()},
        }
        start_ns = self.bag.start_ns
        return {
            name: StreamStamps(
                header_s=seconds(_header_stamps(stream) + (offsets[name] - start_ns)),
                receive_s=seconds(np.array(stream.receive_ns, np.int64) - start_ns),
                latency_s=latency_s, rate_hz=rate_hz,
            )
            for name, (stream, latency_s, rate_hz) in streams.items()
        }

    def _replay(self) -> None:
        stream_of = {self.topics.joints: JOINTS, **{topic: key for key, topic in self.topics.cameras.items()}}
        for topic, receive_ns, message in self.bag.messages(stream_of):
            self._tick_until(receive_ns)
            name = stream_of[topic]
            stamp_ns = header_ns(message)
            if name != JOINTS:
                self.cameras[name].add(message, stamp_ns, receive_ns)
            elif not self.joints.add(message, stamp_ns, receive_ns):
                continue
            self._fastest_ns[name] = min(self._fastest_ns.get(name, receive_ns - stamp_ns), receive_ns - stamp_ns)
            self.schedule.received(name, receive_ns)

    def _tick_until(self, before_ns: int) -> None:
        for _ in self.schedule.due(before_ns):
            for camera in self.cameras.values():
                camera.tick()

    def _is_valid(self, decision_ns: int) -> bool:
        """Whether the joints are known at the observation time, judged by the clock offsets known so far."""
        if not self.cameras:
            assert self.task.joints is not None
            observation_ns = decision_ns - round(1e9 / self.task.joints.rate_hz)
        else:
            observation_ns = min(self._taken_ns(key, camera.newest_header_ns, camera.newest_receive_ns) -
                                 round(camera.camera.latency_s * 1e9) for key, camera in self.cameras.items())
        return self._taken_ns(JOINTS, self.joints.header_ns[0], self.joints.receive_ns[0]) <= observation_ns

    def _taken_ns(self, name: str, stamp_ns: int, receive_ns: int) -> int:
        """When a sample was taken, on the receive clock; its receipt where it bears no stamp."""
        if stamp_ns == 0:
            return receive_ns
        fastest = np.array([self._fastest_ns[name]], np.int64)
        return stamp_ns + clock_offset_ns(np.zeros(1, np.int64), fastest)

    def _finish(self) -> None:
        task_joints = self.task.joints
        assert task_joints is not None
        if not self.joints.header_ns:
            raise BagError(f"{self.bag.source.name}: no message on {self.topics.joints} holds all of the joints "
                           f"{', '.join(task_joints.names)}; the last one holds {self.joints.seen_names or 'no names'}")
        if self.joints.skipped:
            log.info("%s: %d messages on %s without all joints were left out", self.bag.source.name,
                     self.joints.skipped, self.topics.joints)
        streams: list[Any] = [self.joints, *self.cameras.values()]
        last_ns = min(stream.receive_ns[-1] for stream in streams)
        self._tick_until(last_ns + 1)
        decisions = self.schedule.decisions_ns
        n_ticks = sum(decision <= last_ns for decision in decisions)
        if n_ticks == 0:
            raise BagError(f"{self.bag.source.name}: at no time do all of {self.topics.joints}, "
                           f"{', '.join(self.topics.cameras.values())} have a sample; record them together")
        del decisions[n_ticks:]
        for camera in self.cameras.values():
            camera.finish(n_ticks)


def seconds(nanoseconds: NDArray[np.int64]) -> Floats:
    """(N,) integer nanoseconds -> (N,) seconds."""
    return nanoseconds.astype(np.float64) * 1e-9


def _header_stamps(stream: JointRecorder | CameraRecorder) -> NDArray[np.int64]:
    """(N,) header stamps; the receive stamps where the driver never filled them in."""
    return np.array(stream.header_ns if any(stream.header_ns) else stream.receive_ns, np.int64)
