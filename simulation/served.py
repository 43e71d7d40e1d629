"""The simulator as processes that serve a robot's topics: arm physics with reflexes, camera renderer, controller.

`ServedSimulation` joins arm and cameras by pipes and turns cycles of set-points into sensor samples with the stamps
of a real sensor. The controller (JTC) is a process of its own that answers at a socket (`served_link`). Nothing here
knows of ROS; the simulator node publishes what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.task import TaskConfig
from simulation.camera_clock import JOINTS, SensorEvent, SensorSchedule
from simulation.judge import Judge
from simulation.reflex_model import CYCLE_S
from simulation.scene_sampling import SceneConfig
from simulation.served_process import ServedProcess
from simulation.served_state import ArmReport, ArmState
from simulation.world import RenderState


@dataclass(frozen=True)
class Sample:
    """A sample that has arrived.

    Attributes:
        event: its stream and stamps, in seconds since the scene began.
        joints: the arm's state at the capture, for the stream "joints".
        image: RGB (H, W, 3) or depth ticks (H, W), for cameras.
    """

    event: SensorEvent
    joints: ArmState | None = None
    image: NDArray[Any] | None = None


class ServedSimulation:
    """Arm and cameras in their own processes; time passes only in `advance`.

    With `only_newest_frames` a camera's frame is drawn only if it is the newest that has arrived at the end of an
    advance. A policy that decides exactly at these instants sees the same frames as with all of them: it uses the
    newest frame received by its decision, and nothing else.

    Attributes:
        state: of the arm, now.
        motion: (n, 22) of the last advance, with `keeps_motion`: see ArmReport.
    """

    def __init__(self, task: TaskConfig, backend: str, cameras: tuple[str, ...], only_newest_frames: bool,
                 keeps_motion: bool = False) -> None:
        """Start the processes; `cameras` are the task's camera keys to serve."""
        self._task, self._backend, self._cameras = task, backend, frozenset(cameras)
        self._only_newest, self._keeps_motion = only_newest_frames, keeps_motion
        self.motion: NDArray[np.float64] | None = None
        self._arm = ServedProcess("simulation.served_arm")
        try:
            self._renderer = ServedProcess("simulation.served_renderer")
        except BaseException:
            self._arm.close()
            raise
        self._schedule: SensorSchedule | None = None
        self._pending: list[tuple[SensorEvent, ArmState, RenderState | None]] = []
        self._drawn: dict[tuple[str, float], tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def reset(self, scene: SceneConfig, judge: Judge | None = None) -> ArmState:
        """Begin a scene at time 0; without a judge 2 g are a success."""
        self._renderer.send("reset", scene, self._backend)
        self.state: ArmState = self._arm.call("reset", scene, judge, self._keeps_motion)
        self._renderer.receive()
        self._schedule = SensorSchedule.for_scene(scene, self._task)
        self._pending.clear()
        self._drawn.clear()
        return self.state

    def advance(self, setpoints_rad: NDArray[np.float64]) -> list[Sample]:
        """Follow set-points (n, 7), 1 ms each; the samples that have arrived by then, in order of arrival."""
        assert self._schedule is not None, "reset() first"
        begin_s = self.state.time_s
        end_s = begin_s + len(setpoints_rad) * CYCLE_S
        events = [event for event in self._schedule.due(end_s) if event.camera is None or event.stream in self._cameras]
        looks = [(min(max(round((event.capture_s - begin_s) / CYCLE_S), 0), len(setpoints_rad)),
                  event.camera is not None) for event in events]
        report: ArmReport = self._arm.call("advance", setpoints_rad, looks)
        self._pending.extend(zip(events, report.states, report.render_states, strict=True))
        self.state, self.motion = report.now, report.motion
        return self._arrived(end_s)

    def trip(self, reason: str) -> None:
        """Let the arm brake by a reflex."""
        self.state = self._arm.call("trip", reason)

    def take(self, mode: str) -> None:
        """Let a person take the arm: guiding or user_stopped."""
        self.state = self._arm.call("take", mode)

    def recover(self) -> None:
        """Make a stopped arm ready for set-points from where it is. Raises SimulationError while it moves."""
        self.state = self._arm.call("recover")

    def close(self) -> None:
        """End the processes."""
        self._renderer.close()
        self._arm.close()

    def _arrived(self, now_s: float) -> list[Sample]:
        # In nanoseconds, as the policy's node will compare them: a frame must not count as arrived here and not there.
        now_ns = round(now_s * 1e9)
        arrived = sorted((item for item in self._pending if _receive_ns(item[0]) <= now_ns),
                         key=lambda item: _receive_ns(item[0]))
        self._pending = [item for item in self._pending if _receive_ns(item[0]) > now_ns]
        newest = {event.stream: event.index for event, _, _ in arrived}
        samples: list[Sample] = []
        for event, joints, view in arrived:
            if event.stream == JOINTS:
                samples.append(Sample(event, joints=joints))
            elif not self._only_newest or newest[event.stream] == event.index:
                assert view is not None
                samples.append(Sample(event, image=self._image(event, view)))
        self._drawn = {key: value for key, value in self._drawn.items() if key[1] > now_s - 1.0}
        return samples

    def _image(self, event: SensorEvent, view: RenderState) -> NDArray[Any]:
        """Colour and depth of one camera are taken together, so they are drawn once."""
        assert event.camera is not None
        key = (event.camera, event.capture_s)
        if key not in self._drawn:
            self._drawn[key] = self._renderer.call("render", view, event.camera)
        color, depth = self._drawn[key]
        return color if self._task.cameras[event.stream].kind == "color" else depth


def _receive_ns(event: SensorEvent) -> int:
    return round(event.receive_s * 1e9)
