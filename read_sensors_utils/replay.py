"""A recording replayed once, in the order of receipt; images pass through, stamps and joints stay."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeWriter
from ladle.errors import BagError
from ladle.observation_time import StreamStamps
from ladle.task import CameraConfig, JointsConfig, TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.camera_recorder import CameraRecorder
from read_sensors_utils.checksums import FileChecksums
from read_sensors_utils.clocks import ClockMap, clock_maps, clock_offset_ns
from read_sensors_utils.decode import header_ns, is_unnamed, joint_positions, why_no_joints
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.joint_layout import JointLayouts, JointSample
from read_sensors_utils.message_types import Decoder
from read_sensors_utils.stream_health import StreamHealth, measure
from read_sensors_utils.streams import Topics
from read_sensors_utils.ticks import TickSchedule

log = logging.getLogger("ladle.extract")

JOINTS = "joints"

Floats = NDArray[np.float64]


class JointRecorder:
    """Collects the joints of one topic, by name.

    Attributes:
        header_ns, receive_ns, positions_rad: one entry per usable message; (n,) joints each.
        skipped: how many messages did not speak of all joints, or held numbers that are not finite.
        reason: why the last of them was skipped.
    """

    def __init__(self, config: JointsConfig, topic: str) -> None:
        self._config, self._topic = config, topic
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self.positions_rad: list[Sequence[float]] = []
        self.skipped = 0
        self.reason = ""

    def add(self, message: Any, stamp_ns: int, receive_ns: int) -> bool:
        """Take in a message; False if it cannot be used.

        Raises:
            BagError: it has the right number of positions but no names, and the task file does not allow that.
        """
        names, ordered = self._config.names, self._config.order_when_unnamed
        positions = joint_positions(message, names, order_when_unnamed=ordered)
        if positions is None:
            if not ordered and is_unnamed(message, len(names)):
                raise BagError(f"{self._topic}: a joint state holds {len(names)} positions and no names, so nobody "
                               "knows which is which; let its publisher fill in name, or set "
                               "joints.order_when_unnamed: true in the task file if they are in the order of "
                               "joints.names")
            self.skipped += 1
            self.reason = why_no_joints(message, names)
            return False
        self.take(JointSample(stamp_ns, tuple(positions.tolist())), receive_ns)
        return True

    def fast_decoder(self, decode: Decoder) -> Decoder:
        """Of the topic's decoder one that gives a JointSample where it need not decode."""
        names, ordered = self._config.names, self._config.order_when_unnamed
        return JointLayouts(decode, lambda message: joint_positions(message, names, order_when_unnamed=ordered))

    def take(self, sample: JointSample, receive_ns: int) -> None:
        """Take in joints that are known already."""
        self.header_ns.append(sample.stamp_ns)
        self.receive_ns.append(receive_ns)
        self.positions_rad.append(sample.positions_rad)


class Replay:
    """Replays a recording once and holds what comes of it."""

    def __init__(self, bag: Bag, task: TaskConfig, topics: Topics, writer: EpisodeWriter,
                 workers: FrameWorkers) -> None:
        assert task.joints is not None
        self._workers = workers
        self.checksums = FileChecksums(bag.source, workers)
        self.bag, self.task, self.topics = bag, task, topics
        self.joints = JointRecorder(task.joints, topics.joints)
        self.cameras = {key: CameraRecorder(key, task.cameras[key], topic, writer, workers,
                                            video_size=task.video_size)
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
            self._workers.finish()
        except BaseException:
            self._workers.close()
            for camera in self.cameras.values():
                camera.abort()
            raise

    def health(self) -> dict[str, StreamHealth]:
        """Stream -> what its stamps tell about how it was recorded."""
        topics = {JOINTS: self.topics.joints, **self.topics.cameras}
        return {name: measure(np.array(stream.header_ns, np.int64), np.array(stream.receive_ns, np.int64),
                              config.rate_hz, backsteps=self.bag.backsteps.get(topics[name], 0))
                for name, (stream, config) in self._streams().items()}

    def clocks(self) -> dict[str, ClockMap]:
        """Stream -> what brings its header stamps onto the receive clock, beyond the task's clock_offset_s."""
        return clock_maps({name: (_header_stamps(stream) + round(config.clock_offset_s * 1e9),
                                  np.array(stream.receive_ns, np.int64))
                           for name, (stream, config) in self._streams().items()})

    def stamps(self) -> dict[str, StreamStamps]:
        """Stream -> its stamps in seconds from the bag's start, header stamps on the receive clock."""
        clocks, start_ns = self.clocks(), self.bag.start_ns
        return {
            name: StreamStamps(
                header_s=seconds(clocks[name].apply(_header_stamps(stream)) - start_ns),
                receive_s=seconds(np.array(stream.receive_ns, np.int64) - start_ns),
                latency_s=config.latency_s, rate_hz=config.rate_hz, clock_offset_s=config.clock_offset_s,
            )
            for name, (stream, config) in self._streams().items()
        }

    def _streams(self) -> dict[str, tuple[JointRecorder | CameraRecorder, JointsConfig | CameraConfig]]:
        assert self.task.joints is not None
        return {JOINTS: (self.joints, self.task.joints),
                **{key: (camera, camera.camera) for key, camera in self.cameras.items()}}

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, receive stamp in ns, message or JointSample) in the order of receipt."""
        return self.bag.messages(topics, {self.topics.joints: self.joints.fast_decoder})

    def _replay(self) -> None:
        stream_of = {self.topics.joints: JOINTS, **{topic: key for key, topic in self.topics.cameras.items()}}
        for topic, receive_ns, message in self.messages(stream_of):
            if receive_ns > self.schedule.next_ns:
                self._tick_until(receive_ns)
            name = stream_of[topic]
            stamp_ns = message.stamp_ns if isinstance(message, JointSample) else header_ns(message)
            if name != JOINTS:
                self.cameras[name].add(message, stamp_ns, receive_ns)
            elif isinstance(message, JointSample):
                self.joints.take(message, receive_ns)
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
            observation_ns = min(self._taken_ns(key, camera.newest_header_ns, camera.newest_receive_ns)
                                 for key, camera in self.cameras.items())
        return self._taken_ns(JOINTS, self.joints.header_ns[0], self.joints.receive_ns[0]) <= observation_ns

    def _taken_ns(self, name: str, stamp_ns: int, receive_ns: int) -> int:
        """When a sample was taken, on the receive clock; by its receipt where it bears no stamp."""
        _, config = self._streams()[name]
        known_ns, latency_ns = round(config.clock_offset_s * 1e9), round(config.latency_s * 1e9)
        if stamp_ns == 0:
            return receive_ns + known_ns - latency_ns
        fastest = np.array([self._fastest_ns[name] - known_ns], np.int64)
        return stamp_ns + known_ns + clock_offset_ns(np.zeros(1, np.int64), fastest) - latency_ns

    def _finish(self) -> None:
        task_joints = self.task.joints
        assert task_joints is not None
        if not self.joints.header_ns:
            raise BagError(f"{self.bag.source.name}: no message on {self.topics.joints} holds all of the joints "
                           f"{', '.join(task_joints.names)}; the last one {self.joints.reason or 'is missing'}")
        if self.joints.skipped:
            log.info("%s: %d messages on %s without all joints were left out; the last one %s",
                     self.bag.source.name, self.joints.skipped, self.topics.joints, self.joints.reason)
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
