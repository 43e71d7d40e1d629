"""Live samples -> the window that a policy is asked with, by the same rule as extraction from a bag.

Both see only what was received by the decision time, take the observation time from `ladle.observation_time`,
interpolate joints there with `ladle.resample` and resize with `ladle.images`; for equal stamps on equal clocks the
results are equal bit for bit.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ImplausibleJointsError, ObservationError
from ladle.images import depth_view, to_task_size
from ladle.joints_at import joints_seen
from ladle.joints_by_name import believable_positions, joints_by_name, why_unusable
from ladle.kinematics import KinematicChain
from ladle.observation_time import (
    FUTURE_S,
    StreamStamps,
    newest_received,
    newest_received_at,
    observation_times_s,
    trusted_stamp_s,
)
from ladle.policy import ObservationWindow
from ladle.poses_at import poses_of
from ladle.task import CameraConfig, JointsConfig, TaskConfig
from real_world_deployment.safety.plausible_joints import PlausibleJoints

Array = NDArray[np.float64]

JOINTS = "joints"
EEF = "eef"
KEPT_S = 3.0  # covers any window; older samples are dropped


@dataclass
class _Stream:
    """Samples in order of receipt; one that was overtaken on its way, or is stamped in the future, is not kept.

    Attributes:
        ahead_s: how far in the future the sample received last was stamped, if that is why it is not kept; else 0.
    """

    config: JointsConfig | CameraConfig
    forgot: bool = False
    ahead_s: float = 0.0
    header_s: list[float] = field(default_factory=list[float])
    receive_s: list[float] = field(default_factory=list[float])
    values: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])

    def add(self, name: str, header_s: float | None, receive_s: float, value: NDArray[Any]) -> None:
        if not (math.isfinite(receive_s) and (header_s is None or math.isfinite(header_s))):
            raise ObservationError(f"{name}: stamp {header_s} or receipt {receive_s} is not finite")
        if self.receive_s and receive_s < self.receive_s[-1]:
            raise ObservationError(f"{name}: received at {receive_s:.3f} s after a sample received at "
                                   f"{self.receive_s[-1]:.3f} s; the clock went back: stop and start the run again")
        stamp_s = trusted_stamp_s(header_s, receive_s, self.config.clock_offset_s)
        self.ahead_s = 0.0
        if stamp_s is None:
            assert header_s is not None
            self.ahead_s = header_s + self.config.clock_offset_s - receive_s
            return
        if self.header_s and stamp_s <= self.header_s[-1]:
            return
        self.header_s.append(stamp_s)
        self.receive_s.append(receive_s)
        self.values.append(value)
        drop = bisect_left(self.receive_s, receive_s - KEPT_S) - 1
        if drop >= 64:
            del self.header_s[:drop], self.receive_s[:drop], self.values[:drop]
            self.forgot = True

    def stamps(self) -> StreamStamps:
        return StreamStamps(np.array(self.header_s), np.array(self.receive_s), self.config.latency_s,
                            self.config.rate_hz, self.config.clock_offset_s)


class ObservationBuffer:
    """Holds the last seconds of joints and frames.

    Args:
        camera_keys: cameras of the task that fix the observation time; by default those that become part of
            episodes, as offline.
    """

    def __init__(self, task: TaskConfig, chain: KinematicChain | None,
                 camera_keys: Sequence[str] | None = None) -> None:
        keys = tuple(task.extracted_cameras) if camera_keys is None else tuple(camera_keys)
        unknown = sorted(set(keys) - set(task.cameras))
        if unknown or task.joints is None:
            raise ObservationError(f"task {task.name} has cameras {', '.join(task.cameras) or 'none'} and "
                                   f"{'joints' if task.joints else 'no joints'}; this run needs "
                                   f"{', '.join(unknown) or 'joints'}")
        self.camera_keys = keys
        self._task, self._chain, self._names = task, chain, task.joints.names
        self._believable = believable_positions(task.limits)
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new run begins."""
        assert self._task.joints is not None
        self._joints = _Stream(self._task.joints)
        self._cameras = {key: _Stream(self._task.cameras[key]) for key in self.camera_keys}
        self._last_quaternion: Array | None = None
        self._plausible = PlausibleJoints(self._task.limits)

    def add_joints(self, header_s: float | None, receive_s: float, names: Sequence[str],
                   position: Sequence[float], velocity: Sequence[float] = ()) -> None:
        """One JointState, header_s None where its header bears no stamp; joints are found by name, others ignored.

        Raises:
            ImplausibleJointsError: a joint is missing or there twice, a position or velocity cannot be, or the arm
                cannot have come there since the sample before.
            ObservationError: the clock went back.
        """
        assert self._task.joints is not None
        if not any(names) and self._task.joints.order_when_unnamed:
            names = self._names
        q = joints_by_name(self._names, names, position, self._believable)
        if q is None:
            why = why_unusable(self._names, names, position, self._believable)
            raise ImplausibleJointsError(f"a joint state {why}")
        self._plausible.check(receive_s if header_s is None else header_s, q, velocity)
        self._joints.add(JOINTS, header_s, receive_s, q)

    def add_frame(self, key: str, header_s: float | None, receive_s: float, image: NDArray[Any]) -> None:
        """One decoded frame, RGB uint8 or depth ticks uint16; brought to the task's size at once. header_s as above.

        Raises:
            ObservationError: an unknown camera, a wrong kind of image, or the clock went back.
        """
        if key not in self._cameras:
            raise ObservationError(f"no camera {key!r} in this run; there are: {', '.join(self._cameras) or 'none'}")
        self._cameras[key].add(key, header_s, receive_s, to_task_size(image, self._task.cameras[key]))

    def newest_joints(self) -> Array | None:
        """(J,) joints received last, None before the first."""
        return self._joints.values[-1] if self._joints.values else None

    def joints_since(self, receive_s: float) -> list[tuple[float, float, Array]]:
        """Joints received after an instant: (header_s, receive_s, (J,) rad) each; at most the last KEPT_S seconds."""
        stream = self._joints
        first = bisect_right(stream.receive_s, receive_s)
        return list(zip(stream.header_s[first:], stream.receive_s[first:], stream.values[first:], strict=True))

    def frames_since(self, key: str, header_s: float) -> list[tuple[float, NDArray[Any]]]:
        """Frames stamped after an instant: (header_s, image) each."""
        stream = self._cameras[key]
        first = bisect_right(stream.header_s, header_s)
        return list(zip(stream.header_s[first:], stream.values[first:], strict=True))

    def silent(self, now_s: float, joints_s: float, camera_s: float) -> str | None:
        """Which stream has received nothing usable for longer than joints_s or camera_s; None if all have."""
        for name, stream in {JOINTS: self._joints, **self._cameras}.items():
            if not stream.receive_s or now_s - stream.receive_s[-1] > (joints_s if name == JOINTS else camera_s):
                return name
        return None

    def stale(self, now_s: float, joints_s: float, camera_s: float) -> str | None:
        """Which stream is older than joints_s or camera_s seconds or from the future; None if all are fresh."""
        for name, stream in {JOINTS: self._joints, **self._cameras}.items():
            allowed_s = joints_s if name == JOINTS else camera_s
            age_s = now_s - (stream.header_s[-1] + stream.config.clock_offset_s) if stream.header_s else np.inf
            ahead_s = max(-age_s, stream.ahead_s)
            if ahead_s > FUTURE_S and not -FUTURE_S <= age_s <= allowed_s:
                return f"{name}: newest sample is stamped {ahead_s:.3f} s in the future; synchronise the clocks"
            if not stream.header_s:
                return f"{name}: nothing received yet"
            if age_s > allowed_s:
                return f"{name}: newest sample is {age_s:.3f} s old, at most {allowed_s} s are allowed"
        return None

    def window(self, decision_times_s: Sequence[float], keys: Sequence[str]) -> ObservationWindow:
        """What was known at each of the decision times (To,), oldest first, for the streams that a policy reads.

        Raises:
            ObservationError: a stream had nothing received by then, what was seen then is forgotten, or a key is not
                there.
        """
        joints, cameras = self._joints.stamps(), {key: stream.stamps() for key, stream in self._cameras.items()}
        decisions_s = np.asarray(decision_times_s, np.float64)
        times_s = observation_times_s(decisions_s, cameras, {JOINTS: joints})
        for decision_s, time_s in zip(decision_times_s, times_s, strict=True):
            if np.isnan(time_s):
                raise ObservationError(f"nothing received by {decision_s:.3f} s from: "
                                       f"{', '.join(self._silent(decision_s, joints, cameras))}")
            if self._joints.forgot and time_s < joints.capture_s[0]:
                raise ObservationError(f"the newest frame at {decision_s:.3f} s is of {time_s:.3f} s, but joints are "
                                       f"kept for {KEPT_S} s only; is a camera standing still?")
        streams: dict[str, NDArray[Any]] = {}
        for key in keys:
            if key in {EEF, JOINTS}:
                q = joints_seen(joints, np.array(self._joints.values), decisions_s, times_s)
                streams[key] = q if key == JOINTS else self._poses(q)
            else:
                streams[key] = self._images(key, decisions_s, cameras)
        return ObservationWindow(float(decision_times_s[-1]), times_s, streams)

    def _silent(self, decision_s: float, joints: StreamStamps, cameras: dict[str, StreamStamps]) -> list[str]:
        return [name for name, stamps in {JOINTS: joints, **cameras}.items() if newest_received(stamps, decision_s) < 0]

    def _poses(self, q_rad: Array) -> Array:
        """(To, 7); the quaternion's sign goes on from the window before."""
        if self._chain is None:
            raise ObservationError(f"the policy reads {EEF}, but task {self._task.name} has no frames")
        poses = poses_of(self._chain, q_rad, self._names)
        if self._last_quaternion is not None and float(poses[0, 3:] @ self._last_quaternion) < 0:
            poses[:, 3:] *= -1.0
        self._last_quaternion = poses[-1, 3:].copy()
        return poses

    def _images(self, key: str, decisions_s: Array, cameras: dict[str, StreamStamps]) -> NDArray[Any]:
        """(To, H, W[, 3]): colour, ticks by their own name, or the depth view three times as in the replay buffer."""
        source, camera = self._camera(key)
        shown = newest_received_at(cameras[source], decisions_s)
        frames = np.stack([self._cameras[source].values[index] for index in shown])
        if camera.kind == "depth" and key == source:
            return np.repeat(depth_view(frames, camera)[..., None], 3, axis=-1)
        return frames

    def _camera(self, key: str) -> tuple[str, CameraConfig]:
        for source in self.camera_keys:
            camera = self._task.cameras[source]
            if key in (source, camera.ticks_key):
                return source, camera
        raise ObservationError(f"the policy reads {key!r}, which this run does not have; there are: {EEF}, {JOINTS}, "
                               f"{', '.join(self.camera_keys)}")
