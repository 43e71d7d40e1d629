"""What crosses between processes survives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from app.domain import free_domain
from app.processes import remove_orphaned_shared_memory
from ladle.errors import DeploymentError, ObservationError
from ladle_bringup.environment import environment
from ladle_nodes.controller_messages import from_message
from ladle_nodes.images import stamp, stamp_ns, to_array, to_message
from ladle_nodes.lockstep import Ack, Tick
from ladle_nodes.setpoint_bytes import SetpointBytes
from ladle_nodes.trajectories import TrajectoryBytes, to_plan
from ladle_nodes.trajectories import to_message as to_trajectory
from real_world_deployment.controllers import JtcMessage

PUBLISHER = Path(__file__).with_name("image_publisher.py")
READER = Path(__file__).with_name("image_reader.py")


def test_lockstep_messages_survive_json() -> None:
    """A tick and an ack come back as they were sent; another version's message is refused by name."""
    tick = Tick("tick", 3, 10**12 + 1, 100, 5, {"joints": [10**12, 10**12 + 1]})
    assert Tick.from_json(tick.to_json()) == tick
    ack = Ack("policy", 3, 2, "RUNNING", "all well")
    assert Ack.from_json(ack.to_json()) == ack
    with pytest.raises(DeploymentError, match="colour"):
        Tick.from_json('{"kind": "tick", "colour": 1}')


@pytest.mark.parametrize("image", [
    np.random.default_rng(0).integers(0, 256, (12, 24, 3), dtype=np.uint8),
    np.random.default_rng(1).integers(0, 65536, (12, 24), dtype=np.uint16),
])
def test_images_survive_the_message(image: np.ndarray) -> None:
    """Colour and ticks, also with padded rows and foreign byte order."""
    message = to_message(image, 12_345_678_901, "camera")
    assert stamp_ns(message.header.stamp) == 12_345_678_901
    np.testing.assert_array_equal(to_array(message), image)
    rows = np.pad(np.frombuffer(message.data, np.uint8).reshape(12, -1), ((0, 0), (0, 5)))
    message.step, message.data = rows.shape[1], rows.tobytes()
    np.testing.assert_array_equal(to_array(message), image)


def test_big_endian_ticks_and_bgr_are_converted() -> None:
    """What another driver publishes becomes RGB and native ticks; an unknown encoding is refused by name."""
    ticks = np.array([[1, 258]], np.uint16)
    message = to_message(ticks, 0, "camera")
    message.is_bigendian, message.data = 1, ticks.astype(">u2").tobytes()
    np.testing.assert_array_equal(to_array(message), ticks)
    color = to_message(np.array([[[1, 2, 3]]], np.uint8), 0, "camera")
    color.encoding = "bgr8"
    assert to_array(color).tolist() == [[[3, 2, 1]]]
    color.encoding = "yuv422"
    with pytest.raises(ObservationError, match="yuv422"):
        to_array(color)


def test_trajectories_survive_the_message() -> None:
    """A plan arrives bit for bit, shifted to the ROS clock for the controller and back for the Ruckig node."""
    random = np.random.default_rng(2)
    q, dq, ddq = (random.normal(size=(3, 7)) for _ in range(3))
    dq[-1] = ddq[-1] = 0.0  # a plan ends at rest
    names = tuple(f"panda_joint{i}" for i in range(1, 8))
    sent = JtcMessage(0.125, names, np.array([0.025, 0.05, 0.075]), q, dq, ddq)
    message = to_trajectory(sent, 10**12)
    assert message.header.stamp == stamp(10**12 + 125_000_000)
    back = to_plan(message, 10**12).to_trajectory()
    np.testing.assert_array_equal(back.times_s, sent.to_trajectory().times_s)
    for arrived, original in ((back.q_rad, q), (back.dq_rad_s, dq), (back.ddq_rad_s2, ddq)):
        np.testing.assert_array_equal(arrived, original)
    assert from_message(message).stamp_s == pytest.approx(1000.125, abs=1e-9)


@pytest.mark.parametrize("names", [tuple(f"panda_joint{i}" for i in range(1, 8)), ("a",), ("ab", "abc"), ("é", "abcd")])
@pytest.mark.parametrize("n", [0, 1, 18])
def test_plans_as_bytes_are_what_rclpy_reads(names: tuple[str, ...], n: int) -> None:
    """Wherever the names' lengths put the first point, and both ways; bytes of rclpy's own making are read as well."""
    random = np.random.default_rng(3)
    q, dq, ddq = (random.normal(size=(n, len(names))) for _ in range(3))
    sent = JtcMessage(-0.125, names, 0.001 * np.arange(1, n + 1, dtype=np.float64), q, dq, ddq)
    plans = TrajectoryBytes(names)
    assert plans.is_exact
    start_ns = 1_700_000_000_123_456_789
    data, message = plans.of(sent, start_ns), to_trajectory(sent, start_ns)
    assert isinstance(data, bytes)
    assert deserialize_message(data, JointTrajectory) == message
    for received in (data, bytes(serialize_message(message))):
        back = plans.plan(received, start_ns)
        assert back.stamp_s == pytest.approx(sent.stamp_s, abs=1e-9)
        np.testing.assert_allclose(back.times_from_start_s, sent.times_from_start_s, atol=1e-12)
        for arrived, original in ((back.positions, q), (back.velocities, dq), (back.accelerations, ddq)):
            np.testing.assert_array_equal(arrived.reshape(original.shape), original)


def test_a_plan_of_others_is_read_as_it_was_meant() -> None:
    """With efforts, or names in another order: the bytes are not ours."""
    names = ("a", "b")
    plan = to_trajectory(JtcMessage(0.0, names, np.array([0.5]), *(np.ones((1, 2)) * k for k in (1, 2, 3))), 10**18)
    (point,) = plan.points
    point.effort = array("d", [7.0, 8.0])
    plan.joint_names = ["b", "a"]
    back = TrajectoryBytes(names).plan(bytes(serialize_message(plan)), 10**18)
    assert back.joint_names == ("b", "a")
    np.testing.assert_array_equal(back.accelerations, [[3.0, 3.0]])


@given(st.integers(1, 9), st.data())
def test_setpoints_as_bytes_are_the_message(n_joints: int, data: st.DataObject) -> None:
    """Bit for bit, for every number that a double can be, and from a row of a larger array."""
    rows = np.array(data.draw(st.lists(st.floats(), min_size=2 * n_joints, max_size=2 * n_joints))).reshape(-1, 2)
    row = rows[:, 1]
    sent = SetpointBytes(n_joints)
    assert sent.is_exact
    whole = sent.of(row)
    assert isinstance(whole, bytes)
    received = deserialize_message(whole, Float64MultiArray)
    assert received.data.tobytes() == row.tobytes()
    assert received.layout == Float64MultiArray().layout
    assert whole == bytes(serialize_message(Float64MultiArray(data=array("d", row.tobytes()))))


def test_full_size_images_cross_processes_without_loss() -> None:
    """640x480 colour at 30 Hz between two processes: every frame arrives whole, best effort or not."""
    begun_s = time.time()
    with free_domain() as domain:
        variables = {**os.environ, **environment("sim"), "ROS_DOMAIN_ID": str(domain),
                     "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        with subprocess.Popen([sys.executable, PUBLISHER], env=variables) as publisher:
            try:
                reader = subprocess.run([sys.executable, READER], env=variables, capture_output=True, text=True,
                                        timeout=40, check=False)
            finally:
                publisher.kill()
    remove_orphaned_shared_memory(begun_s)
    assert reader.returncode == 0, reader.stderr
    assert reader.stdout.strip() == "lost: []"
