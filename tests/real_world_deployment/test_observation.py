"""Live observations equal offline ones bit for bit; what is missing or stale is named."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import ImplausibleJointsError, ObservationError
from ladle.images import depth_view_rgb, to_task_size
from ladle.joints_at import joints_seen
from ladle.kinematics import KinematicChain
from ladle.observation_time import StreamStamps, newest_received, observation_time_s
from ladle.task import TaskConfig
from real_world_deployment.observation import ObservationBuffer

Array = NDArray[np.float64]


def recording(seed: int, home_rad: Array) -> dict[str, tuple[Array, Array, Array]]:
    """Three seconds of joints at 200 Hz and two cameras at 30 Hz: header, receive, values, in order of receipt."""
    rng = np.random.default_rng(seed)
    streams: dict[str, tuple[Array, Array, Array]] = {}
    for name, rate, delay in (("joints", 200.0, 0.003), ("camera_1", 30.0, 0.03), ("camera_0", 30.0, 0.035)):
        header = np.arange(0.0, 3.0, 1 / rate) + rng.normal(0, 0.0005, int(3 * rate))
        receive = header + delay + rng.exponential(0.006, len(header))
        order = np.argsort(receive)
        if name == "joints":
            values = home_rad + 0.3 * np.sin(header[:, None] + np.arange(7))
        elif name == "camera_1":
            values = rng.integers(0, 255, (len(header), 48, 96, 3), dtype=np.uint8)
        else:
            values = rng.integers(0, 9000, (len(header), 48, 96), dtype=np.uint16)
        streams[name] = (header[order], receive[order], values[order])
    return streams


def feed(buffer: ObservationBuffer, streams: dict[str, tuple[Array, Array, Array]], names: tuple[str, ...]) -> None:
    """Give everything to the buffer in order of receipt, joints shuffled and with a stranger among them."""
    events = sorted((receive, key, index) for key, (_, receives, _) in streams.items()
                    for index, receive in enumerate(receives))
    for receive, key, index in events:
        header, value = float(streams[key][0][index]), streams[key][2][index]
        if key == "joints":
            buffer.add_joints(header, receive, ("finger", *names[::-1]), [0.01, *value[::-1]])
        else:
            buffer.add_frame(key, header, receive, value)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_live_equals_offline_bit_for_bit(seed: int, task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Times, joints, poses and images are those that extraction takes, though much more had come in since."""
    assert task.joints is not None
    streams = recording(seed, home_rad)
    buffer = ObservationBuffer(task, chain)
    feed(buffer, streams, task.joints.names)
    decisions = np.array([2.0, 2.1])
    window = buffer.window(decisions.tolist(), ("eef", "joints", "camera_1", "depth_0", "camera_0"))

    stamps = {key: StreamStamps(header, receive, 0.0, 30.0) for key, (header, receive, _) in streams.items()}
    cameras = {key: stamps[key] for key in ("camera_1", "camera_0")}
    times = np.array([observation_time_s(float(d), cameras, {"joints": stamps["joints"]}) for d in decisions])
    np.testing.assert_array_equal(window.observation_times_s, times)
    seen = joints_seen(stamps["joints"], streams["joints"][2], decisions, times)
    np.testing.assert_array_equal(window.streams["joints"], seen)
    np.testing.assert_array_equal(np.abs(window.streams["eef"]), np.abs(chain.forward(seen)))
    for key, camera_key in (("camera_1", "camera_1"), ("depth_0", "camera_0")):
        frames = [to_task_size(streams[camera_key][2][newest_received(stamps[camera_key], float(d))],
                               task.cameras[camera_key]) for d in decisions]
        np.testing.assert_array_equal(window.streams[key], np.stack(frames))
    assert window.streams["camera_0"].shape == (2, 120, 240, 3)
    np.testing.assert_array_equal(window.streams["camera_0"],
                                  depth_view_rgb(window.streams["depth_0"], task.cameras["camera_0"]))


def test_views_that_are_made_as_frames_come_are_those_of_the_frames(task: TaskConfig, home_rad: Array,
                                                                    chain: KinematicChain) -> None:
    """The second window's views were made at the frames' arrival, the first's when they were asked for."""
    assert task.joints is not None
    buffer, random = ObservationBuffer(task, chain), np.random.default_rng(4)
    frames = random.integers(0, 2**16, (4, 120, 240), np.uint16)
    for n, frame in enumerate(frames):
        at_s = 0.1 * (n + 1)
        buffer.add_joints(at_s, at_s, task.joints.names, home_rad.tolist())
        buffer.add_frame("camera_1", at_s, at_s, np.zeros((120, 240, 3), np.uint8))
        buffer.add_frame("camera_0", at_s, at_s, frame)
        if n % 2:
            views = buffer.window([at_s - 0.1, at_s], ("camera_0",)).streams["camera_0"]
            np.testing.assert_array_equal(views, depth_view_rgb(frames[n - 1:n + 1], task.cameras["camera_0"]))


def test_quaternion_signs_go_on_between_windows(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Home has w near 0, where the sign flips with noise; successive windows never jump."""
    assert task.joints is not None
    buffer, last = ObservationBuffer(task, chain, camera_keys=()), None
    rng = np.random.default_rng(0)
    for step in range(200):
        buffer.add_joints(0.01 * step, 0.01 * step, task.joints.names, home_rad + rng.normal(0, 0.01, 7))
        if step > 20:
            q = buffer.window([0.01 * step - 0.1, 0.01 * step], ("eef",)).streams["eef"][:, 3:]
            assert float(q[0] @ q[1]) > 0
            assert last is None or float(last @ q[0]) > 0
            last = q[-1]


def test_what_is_missing_is_named(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Silent streams, missing joints, unknown cameras, wrong images and strange keys."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain)
    with pytest.raises(ObservationError, match="joints, camera_1, camera_0"):
        buffer.window([1.0], ("eef",))
    with pytest.raises(ObservationError, match="lacks panda_joint7"):
        buffer.add_joints(0.0, 0.0, task.joints.names[:6], home_rad[:6].tolist())
    with pytest.raises(ObservationError, match="not finite"):
        buffer.add_joints(0.0, 0.0, task.joints.names, [float("nan")] * 7)
    with pytest.raises(ObservationError, match="no camera 'camera_9'"):
        buffer.add_frame("camera_9", 0.0, 0.0, np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ObservationError, match="RGB uint8"):
        buffer.add_frame("camera_1", 0.0, 0.0, np.zeros((2, 2), np.uint8))
    feed(buffer, recording(0, home_rad), task.joints.names)
    with pytest.raises(ObservationError, match="'camera_7'"):
        buffer.window([2.0], ("camera_7",))


def test_a_clock_that_goes_back_is_refused(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A receipt before the last one of the stream."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain, camera_keys=())
    buffer.add_joints(5.0, 5.0, task.joints.names, home_rad.tolist())
    with pytest.raises(ObservationError, match="clock went back"):
        buffer.add_joints(4.0, 4.0, task.joints.names, home_rad.tolist())


def test_stale_streams_are_named_with_their_age(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """Fresh joints and an old camera."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain, camera_keys=("camera_1",))
    buffer.add_joints(2.0, 2.0, task.joints.names, home_rad.tolist())
    assert "camera_1: nothing" in str(buffer.stale(2.0, 0.2, 0.5))
    buffer.add_frame("camera_1", 1.0, 1.1, np.zeros((120, 240, 3), np.uint8))
    assert "camera_1: newest sample is 1.000 s old" in str(buffer.stale(2.0, 0.2, 0.5))
    buffer.add_frame("camera_1", 1.9, 1.95, np.zeros((120, 240, 3), np.uint8))
    assert buffer.stale(2.0, 0.2, 0.5) is None
    assert "joints" in str(buffer.stale(2.3, 0.2, 0.5))


def test_a_stamp_from_the_future_is_not_fresh(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A clock that is 30 ms ahead is lived with, one that is 80 ms ahead is named with the remedy."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain, camera_keys=())
    buffer.add_joints(2.03, 2.0, task.joints.names, home_rad.tolist())
    assert buffer.stale(2.0, 0.2, 0.5) is None
    buffer.reset()
    buffer.add_joints(2.08, 2.0, task.joints.names, home_rad.tolist())
    assert buffer.stale(2.0, 0.2, 0.5) == ("joints: newest sample is stamped 0.080 s in the future; "
                                           "synchronise the clocks")


def test_one_wrong_stamp_is_passed_over(task: TaskConfig, home_rad: Array) -> None:
    """A frame 1.5 s ahead neither stops the run nor hides the frames after it; an unstamped one is of its receipt."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, None, camera_keys=("camera_1",))
    buffer.add_joints(0.99, 1.0, task.joints.names, home_rad.tolist())
    for value, (header_s, receive_s) in enumerate([(0.97, 1.0), (2.53, 1.03), (1.03, 1.06), (None, 1.1)]):
        buffer.add_frame("camera_1", header_s, receive_s, np.full((120, 240, 3), value, np.uint8))
        assert buffer.stale(receive_s, 0.2, 0.2) is None
    window = buffer.window([1.04, 1.07, 1.1], ("camera_1",))
    assert window.streams["camera_1"][:, 0, 0, 0].tolist() == [0, 2, 3]
    np.testing.assert_allclose(window.observation_times_s, [0.97, 1.03, 1.1])


def test_what_is_forgotten_is_not_made_up(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A frame from before the joints that are kept is refused; holding the oldest joints would be another motion."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain, camera_keys=("camera_1",))
    buffer.add_frame("camera_1", 0.5, 0.5, np.zeros((120, 240, 3), np.uint8))
    for step in range(2_000):
        buffer.add_joints(step / 200, step / 200, task.joints.names, home_rad.tolist())
    with pytest.raises(ObservationError, match="is a camera standing still"):
        buffer.window([9.9], ("eef",))


def test_unnamed_joints_are_taken_only_when_the_task_says_so(task: TaskConfig, home_rad: Array) -> None:
    """As in the extraction."""
    assert task.joints is not None
    with pytest.raises(ObservationError, match="7 positions and no names"):
        ObservationBuffer(task, None, camera_keys=()).add_joints(0.0, 0.0, (), home_rad.tolist())
    ordered = dataclasses.replace(task, joints=dataclasses.replace(task.joints, order_when_unnamed=True))
    buffer = ObservationBuffer(ordered, None, camera_keys=())
    buffer.add_joints(0.0, 0.0, (), home_rad.tolist())
    np.testing.assert_array_equal(buffer.newest_joints(), home_rad)


@pytest.mark.parametrize(("names", "first_rad", "words"), [
    (("panda_joint1",), 99.0, "names panda_joint1 more than once"), ((), 99.0, "panda_joint1 99.000 rad"),
])
def test_joints_that_cannot_be_believed_are_refused(task: TaskConfig, home_rad: Array, names: tuple[str, ...],
                                                    first_rad: float, words: str) -> None:
    """As in the extraction; nothing is known of the arm then, so nothing moves."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, None, camera_keys=())
    position = [first_rad, *home_rad.tolist()[1:], *([99.0] if names else [])]
    with pytest.raises(ObservationError, match=words):
        buffer.add_joints(0.0, 0.0, (*task.joints.names, *names), position)
    assert buffer.newest_joints() is None


def test_old_samples_are_dropped(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
    """A minute of joints at 200 Hz leaves a few seconds in memory, and windows are still answered."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, chain, camera_keys=())
    for step in range(12_000):
        buffer.add_joints(step / 200, step / 200, task.joints.names, home_rad.tolist())
    assert len(buffer._joints) < 800  # pyright: ignore[reportPrivateUsage]
    assert buffer.window([59.0, 59.9], ("eef",)).streams["eef"].shape == (2, 7)


def test_an_arm_that_jumps_is_not_believed(task: TaskConfig, home_rad: Array) -> None:
    """One joint by 0.3 rad within 5 ms, as often as it says so; after a tenth of a second it can be there."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, None, camera_keys=())
    buffer.add_joints(1.0, 1.0, task.joints.names, home_rad.tolist())
    jumped = home_rad + np.array([0, 0, 0, 0.3, 0, 0, 0])
    for at_s in (1.005, 1.01):
        with pytest.raises(ImplausibleJointsError, match=r"joint 4 of a joint state is 0\.300 rad from where it was"):
            buffer.add_joints(at_s, at_s, task.joints.names, jumped.tolist())
    buffer.add_joints(1.1, 1.1, task.joints.names, jumped.tolist())
    np.testing.assert_array_equal(buffer.newest_joints(), jumped)


@pytest.mark.parametrize("stamp_s", [1.0, 0.99])
def test_what_was_overtaken_is_judged_too(stamp_s: float, task: TaskConfig, home_rad: Array) -> None:
    """A stamp that is not newer is no pass for a place where the arm cannot have been."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, None, camera_keys=())
    buffer.add_joints(1.0, 1.0, task.joints.names, home_rad.tolist())
    with pytest.raises(ImplausibleJointsError, match="from where it was"):
        buffer.add_joints(stamp_s, 1.001, task.joints.names, (home_rad + 0.3).tolist())
    buffer.add_joints(stamp_s, 1.002, task.joints.names, (home_rad + 0.01).tolist())


def test_velocities_that_are_not_finite_are_refused(task: TaskConfig, home_rad: Array) -> None:
    """Though the positions are fine."""
    assert task.joints is not None
    buffer = ObservationBuffer(task, None, camera_keys=())
    with pytest.raises(ImplausibleJointsError, match="velocities that are not finite"):
        buffer.add_joints(1.0, 1.0, task.joints.names, home_rad.tolist(), [0.0] * 6 + [math.inf])
