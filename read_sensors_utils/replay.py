"""A recording replayed once, in the order of receipt; images pass through, stamps and joints stay."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.episode import EpisodeWriter
from ladle.errors import BagError
from ladle.joints_by_name import believable_positions
from ladle.observation_time import StreamStamps
from ladle.sensor_config import CameraConfig, JointsConfig
from ladle.task import TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.camera_recorder import CameraRecorder
from read_sensors_utils.checksums import file_checksums
from read_sensors_utils.clocks import ClockMap, clock_maps
from read_sensors_utils.decode import header_ns
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.image_layout import RawImage
from read_sensors_utils.joint_layout import JointSample
from read_sensors_utils.joint_recorder import JointRecorder, WaitingJoints
from read_sensors_utils.stream_clock import StreamClock
from read_sensors_utils.stream_health import StreamHealth, measure
from read_sensors_utils.streams import Topics
from read_sensors_utils.ticks import TickSchedule

log = logging.getLogger("ladle.extract")

JOINTS = "joints"

Floats = NDArray[np.float64]


class Replay:
    """Replays a recording once and holds what comes of it."""

    def __init__(self, bag: Bag, task: TaskConfig, topics: Topics, writer: EpisodeWriter,
                 workers: FrameWorkers, *, may_leave: bool = True) -> None:
        """may_leave: whether the workers' processes may read frames from the file themselves."""
        assert task.joints is not None
        self._workers, self._may_leave = workers, may_leave
        self.bag, self.task, self.topics = bag, task, topics
        self.joints = JointRecorder(task.joints, topics.joints, believable_positions(task.limits))
        self.cameras = {key: CameraRecorder(key, task.cameras[key], topic, writer, workers,
                                            video_size=task.video_size, depth_codec=task.depth_codec)
                        for key, topic in topics.cameras.items()}
        self.schedule = TickSchedule(task.period_s, {JOINTS, *self.cameras}, self._is_valid)
        self._stream_clocks = {
            name: StreamClock(config, bag.start_ns, any_origin="clock_offset" in task.recording.accept.get(name, ()))
            for name, (_, config) in self._streams().items()}

    def run(self) -> None:
        """Replay, then cut the ticks to those that every stream covers; the last frames may still be worked on.

        Raises:
            BagError: a stream has no usable sample, or the streams do not overlap.
        """
        with self._whole_or_nothing():
            self._replay()
            self._finish()
            self.checksums = file_checksums(self.bag.source)

    def wait(self) -> None:
        """Until the last frame is written.

        Raises:
            What the work on a frame raised.
        """
        with self._whole_or_nothing():
            self._workers.finish()

    @contextmanager
    def _whole_or_nothing(self) -> Generator[None, None, None]:
        try:
            yield
        except BaseException as error:
            self._workers.close()
            for camera in self.cameras.values():
                camera.abort()
            name = self.bag.source.name
            if isinstance(error, BagError) and not str(error).startswith(name):
                raise BagError(f"{name}: {error}") from error  # a stream names its topic only
            raise

    def received_ns(self) -> dict[str, list[int]]:
        """Stream -> receive stamps of its usable samples."""
        return {name: stream.receive_ns for name, (stream, _) in self._streams().items()}

    def health(self) -> dict[str, StreamHealth]:
        """Stream -> what its stamps tell about how it was recorded."""
        return self._health

    def clocks(self) -> dict[str, ClockMap]:
        """Stream -> what brings its header stamps onto the receive clock, beyond the task's clock_offset_s."""
        return self._clocks

    def stamps(self) -> dict[str, StreamStamps]:
        """Stream -> its stamps in seconds from the bag's start, header stamps on the receive clock."""
        return {name: self._stream_clocks[name].stamps(*_stamps_ns(stream), self._clocks[name])
                for name, (stream, _) in self._streams().items()}

    def joints_rad(self) -> Floats:
        """(N, n) the joints that go with the `stamps` of the joints."""
        return self.joints.positions_rad[np.array(self._stream_clocks[JOINTS].trusted, np.bool_)]

    @cached_property
    def _health(self) -> dict[str, StreamHealth]:
        topics = {JOINTS: self.topics.joints, **self.topics.cameras}
        return {name: measure(*_stamps_ns(stream), config.rate_hz, backsteps=self.bag.backsteps.get(topics[name], 0),
                              clock_offset_s=config.clock_offset_s)
                for name, (stream, config) in self._streams().items()}

    @cached_property
    def _clocks(self) -> dict[str, ClockMap]:
        known = {name: self._stream_clocks[name].known(*_stamps_ns(stream))
                 for name, (stream, _) in self._streams().items()}
        maps = clock_maps({name: stamps for name, stamps in known.items() if len(stamps[0])})
        return {name: maps.get(name, ClockMap(0)) for name in known}

    def _streams(self) -> dict[str, tuple[JointRecorder | CameraRecorder, JointsConfig | CameraConfig]]:
        assert self.task.joints is not None
        return {JOINTS: (self.joints, self.task.joints),
                **{key: (camera, camera.camera) for key, camera in self.cameras.items()}}

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """(topic, receive stamp in ns, message or what a fast decoder gives) in the order of receipt."""
        # Once the first tick is found, nothing depends on the joints until all of them are there.
        decoder = partial(self.joints.fast_decoder, may_wait=lambda: bool(self.schedule.decisions_ns))
        cameras = {camera.topic: camera.fast_decoder for camera in self.cameras.values()}
        left = cameras if self._may_leave and self._workers.are_processes else ()
        return self.bag.messages(topics, {**cameras, self.topics.joints: decoder}, left, {self.topics.joints})

    def _replay(self) -> None:
        stream_of = {self.topics.joints: JOINTS, **{topic: key for key, topic in self.topics.cameras.items()}}
        for topic, receive_ns, message in self.messages(stream_of):
            if receive_ns > self.schedule.next_ns:
                self._tick_until(receive_ns)
            if isinstance(message, WaitingJoints):
                if self.joints.wait(message, receive_ns):
                    self._take_waiting()
                continue
            name = stream_of[topic]
            stamp_ns = message.stamp_ns if isinstance(message, (JointSample, RawImage)) else header_ns(message)
            if name != JOINTS:
                if not self.cameras[name].add(message, stamp_ns, receive_ns):
                    continue
            elif isinstance(message, JointSample):
                self.joints.take(message, receive_ns)
            elif not self.joints.add(message, stamp_ns, receive_ns):
                continue
            if self._stream_clocks[name].add(stamp_ns, receive_ns):
                if name != JOINTS:
                    self.cameras[name].show_last()
                self.schedule.received(name, receive_ns)

        self._take_waiting()

    def _take_waiting(self) -> None:
        for stamps_ns, receive_ns in self.joints.take_waiting(self.bag.leave_out):
            self._stream_clocks[JOINTS].add_many(stamps_ns, receive_ns)

    def _tick_until(self, before_ns: int) -> None:
        for _ in self.schedule.due(before_ns):
            for camera in self.cameras.values():
                camera.tick()

    def _is_valid(self, decision_ns: int) -> bool:
        """Whether the joints are known at the observation time, judged by the clock offsets known so far."""
        observation_ns = decision_ns
        if not self.cameras:
            assert self.task.joints is not None
            observation_ns -= round(1e9 / self.task.joints.rate_hz)
        for key in self.cameras:
            clock = self._stream_clocks[key]
            assert clock.newest is not None
            observation_ns = min(observation_ns, clock.capture_ns(clock.newest))
        joints = self._stream_clocks[JOINTS]
        assert joints.first is not None
        return joints.capture_ns(joints.first) <= observation_ns

    def _finish(self) -> None:
        task_joints = self.task.joints
        assert task_joints is not None
        if not self.joints.header_ns:
            raise BagError(f"{self.bag.source.name}: no message on {self.topics.joints} holds all of the joints "
                           f"{', '.join(task_joints.names)}; the last one {self.joints.reason or 'is missing'}")
        if self.joints.skipped:
            log.info("%s: %d messages on %s do not tell all joints and were left out; the last one %s",
                     self.bag.source.name, self.joints.skipped, self.topics.joints, self.joints.reason)
        for camera in self.cameras.values():
            self._tell_skipped(camera)
        for name, (stream, _) in self._streams().items():
            self._require_trusted(name, stream)
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

    def _tell_skipped(self, camera: CameraRecorder) -> None:
        """Raises BagError when not a single image was left."""
        name, total = self.bag.source.name, camera.skipped + len(camera.header_ns)
        if not camera.header_ns:
            raise BagError(f"{name}: none of the {total} messages on {camera.topic} holds an image that can be read; "
                           f"the first: {camera.reason}; mend its driver, or name another topic in the task file")
        if camera.skipped:
            log.warning("%s: %d of %d messages on %s were left out; the first: %s", name, camera.skipped, total,
                        camera.topic, camera.reason)


    def _require_trusted(self, name: str, stream: JointRecorder | CameraRecorder) -> None:
        """Raises BagError where every sample is stamped in the future."""
        if not any(self._stream_clocks[name].trusted):
            header_ns, receive_ns = _stamps_ns(stream)
            ahead_s = float(np.min(header_ns - receive_ns)) * 1e-9
            raise BagError(f"{self.bag.source.name}: refused: {name} clock_offset: every sample is stamped later than "
                           f"its receipt, by {ahead_s:.3f} s or more; synchronise the clocks, or state the stream's "
                           f"clock_offset_s: {-ahead_s:.3f}")


def seconds(nanoseconds: NDArray[np.int64]) -> Floats:
    """(N,) integer nanoseconds -> (N,) seconds."""
    return nanoseconds.astype(np.float64) * 1e-9


def _stamps_ns(stream: JointRecorder | CameraRecorder) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) header and (N,) receive stamps."""
    return np.array(stream.header_ns, np.int64), np.array(stream.receive_ns, np.int64)
