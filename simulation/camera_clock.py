"""When the simulated sensors take their samples, and when these arrive.

A real driver keeps its rate only on average and hands a sample over some time after it was taken. Here every sample
has a capture time, which its header stamp tells exactly (plus the latency that the task file states for the sensor),
and a receive time, which becomes the log time of a bag or the instant of publishing. All captures lie on physics
cycles of 1 ms, so the state that a sample shows is one that the physics has been in.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ladle.errors import SimulationError
from ladle.task import TaskConfig
from simulation.reflex_model import CYCLE_S
from simulation.scene_sampling import SceneConfig

SENSOR_STREAM = 41  # stream of a scene's randomness that the sensors' clocks take
JOINTS = "joints"
# Which simulated camera gives the images of a camera of the task; streams of one camera are taken together.
SIMULATED_CAMERA = {"camera_0": "hand", "camera_1": "hand", "camera_2": "front"}


@dataclass(frozen=True)
class StreamTiming:
    """How one device keeps time.

    Attributes:
        jitter_s: the capture is up to this much before or after its nominal time.
        delay_s: least and greatest time from the header stamp until the sample has arrived.
    """

    jitter_s: float
    delay_s: tuple[float, float]


CAMERA_TIMING = StreamTiming(jitter_s=0.001, delay_s=(0.008, 0.015))  # a USB camera: read-out and transfer
JOINT_TIMING = StreamTiming(jitter_s=0.001, delay_s=(0.0005, 0.001))  # a state broadcaster on the same machine


@dataclass(frozen=True, order=True)
class SensorEvent:
    """One sample.

    Attributes:
        capture_s: when it is taken, a multiple of 1 ms of simulation time.
        stream: key of the task's camera, or "joints".
        camera: the simulated camera to render ("hand", "front"), None for joints.
        header_s: what its header stamp says.
        receive_s: when it has arrived.
        index: running number within the stream.
    """

    capture_s: float
    stream: str
    camera: str | None
    header_s: float
    receive_s: float
    index: int


class SensorSchedule:
    """Deterministic stream of samples of all sensors of a task, in capture order.

    The same seed gives the same samples, however the time is cut into calls of `due`.
    """

    def __init__(self, seed: int, task: TaskConfig, start_s: float = 0.0) -> None:
        """Sensors start at random phases after `start_s`.

        Raises:
            SimulationError: the task has a camera that the simulation does not.
        """
        streams: list[Iterator[SensorEvent]] = []
        for key, camera in task.cameras.items():
            simulated = SIMULATED_CAMERA.get(key)
            if simulated is None:
                known = ", ".join(sorted(SIMULATED_CAMERA))
                raise SimulationError(f"the simulation has no camera {key!r} of task {task.name}; it has {known}")
            captures = _captures(_generator(seed, simulated), camera.rate_hz, CAMERA_TIMING.jitter_s, start_s)
            streams.append(_events(key, simulated, captures, camera.latency_s, CAMERA_TIMING, seed))
        if task.joints is not None:
            captures = _captures(_generator(seed, JOINTS), task.joints.rate_hz, JOINT_TIMING.jitter_s, start_s)
            streams.append(_events(JOINTS, None, captures, task.joints.latency_s, JOINT_TIMING, seed))
        self._merged = heapq.merge(*streams)
        self._next = next(self._merged, None)

    @classmethod
    def for_scene(cls, scene: SceneConfig, task: TaskConfig) -> SensorSchedule:
        """The schedule that belongs to a scene, from its time zero on."""
        return cls(int(scene.generator(SENSOR_STREAM).integers(2**31)), task)

    @property
    def next_capture_s(self) -> float:
        """When the next sample is to be taken; infinity without sensors."""
        return np.inf if self._next is None else self._next.capture_s

    def due(self, until_s: float) -> list[SensorEvent]:
        """Samples to be taken at or before `until_s` that no earlier call returned, in capture order."""
        found: list[SensorEvent] = []
        while self._next is not None and self._next.capture_s <= until_s + CYCLE_S / 4:
            found.append(self._next)
            self._next = next(self._merged, None)
        return found

    def events(self, duration_s: float) -> list[SensorEvent]:
        """Samples taken until `duration_s` of simulation time, in capture order: `due` under its offline name."""
        return self.due(duration_s)


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _captures(generator: np.random.Generator, rate_hz: float, jitter_s: float, start_s: float) -> Iterator[float]:
    """Capture times: a random phase, then the period with jitter, rounded to cycles and strictly increasing."""
    period_s = 1.0 / rate_hz
    nominal_s = start_s + generator.uniform(jitter_s, jitter_s + period_s)
    cycle = -1
    while True:
        cycle = max(cycle + 1, round((nominal_s + generator.uniform(-jitter_s, jitter_s)) / CYCLE_S))
        yield cycle * CYCLE_S
        nominal_s += period_s


def _events(
    stream: str, camera: str | None, captures: Iterator[float], latency_s: float, timing: StreamTiming, seed: int
) -> Iterator[SensorEvent]:
    delays = _generator(seed, f"{stream} delay")
    for index, capture_s in enumerate(captures):
        header_s = capture_s + latency_s
        yield SensorEvent(capture_s, stream, camera, header_s, header_s + delays.uniform(*timing.delay_s), index)
