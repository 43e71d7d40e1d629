"""Live samples -> the window that a policy is asked with, by the same rule as extraction from a bag.

Both see only what was received by the decision time, take the observation time from `ladle.observation_time`,
interpolate joints there with `ladle.resample` and resize with `ladle.images`; for equal stamps on equal clocks the
results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ImplausibleJointsError, ObservationError
from ladle.images import depth_view_rgb, to_task_size
from ladle.joints_at import joints_seen
from ladle.joints_by_name import believable_positions, joints_by_name, why_unusable
from ladle.kinematics import KinematicChain
from ladle.observation_time import (
    FUTURE_S,
    StreamStamps,
    newest_received,
    newest_received_at,
    observation_times_s,
)
from ladle.policy import ObservationWindow
from ladle.pose import POSE_KEY
from ladle.poses_at import poses_of
from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig
from real_world_deployment.safety.plausible_joints import PlausibleJoints
from real_world_deployment.sample_stream import KEPT_S, SampleStream

Array = NDArray[np.float64]

JOINTS = "joints"
KEPT_VIEWS = 128  # of each depth camera; older ones are made again


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
        self._joints = SampleStream(self._task.joints, len(self._names))
        self._cameras = {key: SampleStream(self._task.cameras[key]) for key in self.camera_keys}
        # Views of depth frames by their stamps, of cameras whose views have been asked for: made as the frames come,
        # when nobody waits for them.
        self._views: dict[str, dict[float, NDArray[np.uint8]]] = {}
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
        stream = self._cameras[key]
        stream.add(key, header_s, receive_s, to_task_size(image, self._task.cameras[key]))
        if key in self._views and len(stream):
            self._view(key, len(stream) - 1)

    def newest_joints(self) -> Array | None:
        """(J,) joints received last, None before the first."""
        return self._joints.rows[-1].copy() if len(self._joints) else None

    def joints_since(self, receive_s: float) -> list[tuple[float, float, Array]]:
        """Joints received after an instant: (header_s, receive_s, (J,) rad) each; at most the last KEPT_S seconds."""
        stream = self._joints
        first = int(np.searchsorted(stream.receive_s, receive_s, side="right"))
        return list(zip(stream.header_s[first:].tolist(), stream.receive_s[first:].tolist(), stream.rows[first:].copy(),
                        strict=True))

    def frames_since(self, key: str, header_s: float) -> list[tuple[float, NDArray[Any]]]:
        """Frames stamped after an instant: (header_s, image) each."""
        stream = self._cameras[key]
        first = int(np.searchsorted(stream.header_s, header_s, side="right"))
        return list(zip(stream.header_s[first:].tolist(), stream.images[first:], strict=True))

    def silent(self, now_s: float, joints_s: float, camera_s: float) -> str | None:
        """Which stream has received nothing usable for longer than joints_s or camera_s; None if all have."""
        for name, stream in {JOINTS: self._joints, **self._cameras}.items():
            if not len(stream) or now_s - stream.receive_s[-1] > (joints_s if name == JOINTS else camera_s):
                return name
        return None

    def stale(self, now_s: float, joints_s: float, camera_s: float) -> str | None:
        """Which stream is older than joints_s or camera_s seconds or from the future; None if all are fresh."""
        for name, stream in {JOINTS: self._joints, **self._cameras}.items():
            allowed_s = joints_s if name == JOINTS else camera_s
            age_s = now_s - (stream.newest_header_s + stream.config.clock_offset_s)
            ahead_s = max(-age_s, stream.ahead_s)
            if ahead_s > FUTURE_S and not -FUTURE_S <= age_s <= allowed_s:
                return f"{name}: newest sample is stamped {ahead_s:.3f} s in the future; synchronise the clocks"
            if not len(stream):
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
        cameras = {key: stream.stamps() for key, stream in self._cameras.items()}
        decisions_s = np.asarray(decision_times_s, np.float64)
        # Of thousands of joint states only those from the first decision's newest on matter so far.
        first = max(int(np.searchsorted(self._joints.receive_s, decisions_s.min(), side="right")) - 1, 0)
        joints = self._joints.stamps(first)
        times_s = observation_times_s(decisions_s, cameras, {JOINTS: joints})
        for decision_s, time_s in zip(decision_times_s, times_s, strict=True):
            if np.isnan(time_s):
                raise ObservationError(f"nothing received by {decision_s:.3f} s from: "
                                       f"{', '.join(self._silent(decision_s, joints, cameras))}")
            if self._joints.forgot and time_s < self._joints.stamps().capture_s[0]:
                raise ObservationError(f"the newest frame at {decision_s:.3f} s is of {time_s:.3f} s, but joints are "
                                       f"kept for {KEPT_S} s only; is a camera standing still?")
        streams: dict[str, NDArray[Any]] = {}
        for key in keys:
            if key in {POSE_KEY, JOINTS}:
                q = self._joints_seen(decisions_s, times_s, first)
                streams[key] = q if key == JOINTS else self._poses(q)
            else:
                streams[key] = self._images(key, decisions_s, cameras)
        return ObservationWindow(float(decision_times_s[-1]), times_s, streams)

    def _joints_seen(self, decisions_s: Array, times_s: Array, first: int) -> Array:
        """(To, J) joints at the observation times; `first` is the newest received by the first decision."""
        stamps = self._joints.stamps()
        first = max(min(first, int(np.searchsorted(stamps.capture_s, times_s.min(), side="right")) - 1), 0)
        return joints_seen(self._joints.stamps(first), self._joints.rows[first:], decisions_s, times_s)

    def _silent(self, decision_s: float, joints: StreamStamps, cameras: dict[str, StreamStamps]) -> list[str]:
        return [name for name, stamps in {JOINTS: joints, **cameras}.items() if newest_received(stamps, decision_s) < 0]

    def _poses(self, q_rad: Array) -> Array:
        """(To, 7); the quaternion's sign goes on from the window before."""
        if self._chain is None:
            raise ObservationError(f"the policy reads {POSE_KEY}, but task {self._task.name} has no frames")
        poses = poses_of(self._chain, q_rad, self._names)
        if self._last_quaternion is not None and float(poses[0, 3:] @ self._last_quaternion) < 0:
            poses[:, 3:] *= -1.0
        self._last_quaternion = poses[-1, 3:].copy()
        return poses

    def _images(self, key: str, decisions_s: Array, cameras: dict[str, StreamStamps]) -> NDArray[Any]:
        """(To, H, W[, 3]): colour, ticks by their own name, or the depth view three times as in the replay buffer."""
        source, camera = self._camera(key)
        shown = newest_received_at(cameras[source], decisions_s)
        if camera.kind == "depth" and key == source:
            self._views.setdefault(key, {})
            return np.stack([self._view(key, index) for index in shown])
        return np.stack([self._cameras[source].images[index] for index in shown])

    def _view(self, key: str, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) of a depth camera's frame."""
        stream, views = self._cameras[key], self._views[key]
        stamp_s = float(stream.header_s[index])
        if stamp_s not in views:
            views[stamp_s] = depth_view_rgb(stream.images[index][None], self._task.cameras[key])[0]
            if len(views) > KEPT_VIEWS:
                del views[next(iter(views))]
        return views[stamp_s]

    def _camera(self, key: str) -> tuple[str, CameraConfig]:
        for source in self.camera_keys:
            camera = self._task.cameras[source]
            if key in (source, camera.ticks_key):
                return source, camera
        raise ObservationError(f"the policy reads {key!r}, which this run does not have; there are: "
                               f"{', '.join((POSE_KEY, JOINTS, *self.camera_keys))}")
