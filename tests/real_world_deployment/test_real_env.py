"""`RealEnv` under a script as one writes it for the Diffusion Policy code."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import DeploymentError, MotionError, ObservationError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from real_world_deployment.arm_condition import ArmCondition
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.frame_ring import RingReader, RingWriter
from real_world_deployment.real_env import RealEnv
from real_world_deployment.ring_layout import RingLayout
from real_world_deployment.splice import Splice
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
SECOND_NS = 10**9
START_NS = 1_700_000_000 * SECOND_NS


class Robot:
    """An arm that is always on its plan, and a camera, both writing to their rings; the clock is ours."""

    def __init__(self, task: TaskConfig, chain: KinematicChain, home_rad: Array) -> None:
        self.now_ns, self.home_rad, self.plan, self.sent, self.is_alive = START_NS, home_rad, None, 0, True
        name = secrets.token_hex(4)
        frame, q = {"image": np.zeros((120, 240, 3), np.uint8)}, {"q": home_rad}
        self.camera = RingWriter(f"test-camera-{name}", RingLayout.like(frame, 16))
        self.joints = RingWriter(f"test-joints-{name}", RingLayout.like(q, 512))
        self.env = RealEnv(task, chain, self, {"camera_1": self.camera.name}, self.joints.name,
                           clock_ns=lambda: self.now_ns)
        self.setpoints: list[Array] = []
        self.moved_rad, self.moved_rad_s, self.has_joints, self.mode = 0.0, 0.0, True, ""

    def follow(self, splice: Splice, now_s: float) -> None:
        self.plan, self.sent = splice.trajectory, self.sent + 1

    def advance(self, cycles: int) -> None:
        """Each of 1 ms; joints every 5 ms, a frame that tells its number every 33 ms."""
        for _ in range(cycles):
            self.now_ns += 1_000_000
            ms = (self.now_ns - START_NS) // 1_000_000
            q = self.home_rad if self.plan is None else self.plan.sample(ms / 1000.0).q_rad[0]
            self.setpoints.append(q)
            self.moved_rad += 0.001 * self.moved_rad_s
            if self.mode and ms % 20 == 0:
                now_s = (self.now_ns - self.env.start_ns) * 1e-9
                self.env.watchdogs.arm.see(ArmCondition(self.mode, (), 1.0, now_s))
            if self.is_alive and ms % 10 == 0:
                self.env.refresh()
            if ms % 5 == 0 and self.has_joints:
                self.joints.put({"q": q + self.moved_rad}, self.now_ns - 1_000_000, self.now_ns)
            if ms % 33 == 0:
                image = np.full((120, 240, 3), ms // 33, np.uint8)
                self.camera.put({"image": image}, self.now_ns - 20_000_000, self.now_ns)

    def kill(self) -> None:
        """The script's process is gone: neither its thread nor the test renews anything."""
        self.is_alive = False
        self.env.refresh = lambda: None  # type: ignore[method-assign]

    def close(self) -> None:
        self.env.stop()
        self.camera.close()
        self.joints.close()


@pytest.fixture
def robot(task: TaskConfig, chain: KinematicChain, home_rad: Array) -> Iterator[Robot]:
    """At home."""
    robot = Robot(task, chain, home_rad)
    yield robot
    robot.close()


def test_observations_are_what_was_seen_at_instants_dt_apart(robot: Robot, chain: KinematicChain) -> None:
    """The newest frame and the one a tenth of a second before, joints and poses of the same instants."""
    assert not robot.env.is_ready
    robot.advance(400)
    with robot.env as env:
        obs = env.get_obs()
        assert env.is_ready
    np.testing.assert_allclose(obs["timestamp"] - START_NS * 1e-9, [0.296, 0.396], atol=1e-6)
    assert obs["camera_1"].shape == (2, 120, 240, 3)
    assert obs["camera_1"][:, 0, 0, 0].tolist() == [8, 12]  # frames of 0.264 and 0.396 s
    np.testing.assert_array_equal(obs["robot_joint"], [robot.home_rad] * 2)
    pose = chain.forward(robot.home_rad[None])[0]
    np.testing.assert_allclose(obs["robot_eef_pose"][-1, :3], pose[:3])
    assert np.linalg.norm(obs["robot_eef_pose"][-1, 3:]) == pytest.approx(np.pi, abs=1e-6)


def test_a_script_of_that_code_moves_the_arm_within_its_limits(robot: Robot) -> None:
    """get_obs, eight poses 1 cm lower each 0.1 s, exec_actions: the tip sinks, rests at the end, and no reflex."""
    robot.advance(400)
    for _ in range(4):
        obs = robot.env.get_obs()
        actions = np.tile(obs["robot_eef_pose"][-1], (8, 1))
        actions[:, 2] -= 0.004 * np.arange(1, 9)
        assert robot.env.exec_actions(actions, obs["timestamp"][-1] + 0.1 * np.arange(1, 9)) in (7, 8)
        robot.advance(400)
    before_m = robot.env.get_robot_state()["robot_eef_pose"][2]
    robot.env.stop()
    robot.advance(1500)
    assert robot.env.get_robot_state()["robot_eef_pose"][2] < before_m + 1e-9
    np.testing.assert_array_equal(robot.setpoints[-1], robot.setpoints[-200])
    rows = np.array(robot.setpoints)
    assert ReflexModel(robot.home_rad).check(rows) == (len(rows), None)
    assert robot.sent > 40, "renewed all the time"


def test_the_arm_rests_when_the_script_dies(robot: Robot) -> None:
    """Nothing renews the plan any more: 150 ms, a way to rest, and no reflex."""
    _sink(robot)
    moving = np.abs(np.diff(robot.setpoints[-2:], axis=0)).max()
    robot.kill()
    robot.advance(1000)
    rows = np.array(robot.setpoints)
    rest_ms = 1000 - int(np.argmax(np.any(np.diff(rows[::-1], axis=0) != 0.0, axis=1)))
    assert moving > 1e-5
    assert 100 < rest_ms < 450
    assert ReflexModel(robot.home_rad).check(rows) == (len(rows), None)


def test_an_arm_that_was_moved_away_is_not_pulled_back(robot: Robot) -> None:
    """By hand, or by a controller that stopped: the actions are refused and say so."""
    robot.advance(400)
    pose = robot.env.get_obs()["robot_eef_pose"][-1:]
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 1
    robot.advance(1500)
    sent = robot.sent
    robot.moved_rad_s = 0.5
    robot.advance(500)
    robot.moved_rad_s = 0.0
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 0
    assert "rad from its plan; has the controller stopped?" in robot.env.refusal
    assert robot.env.fault is not None
    robot.advance(2000)
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 0
    assert robot.sent == sent


def _sink(robot: Robot) -> None:
    """On the way down for a second and a half."""
    robot.advance(400)
    obs = robot.env.get_obs()
    actions = np.tile(obs["robot_eef_pose"][-1], (16, 1))
    actions[:, 2] -= 0.012 * np.arange(1, 17)
    assert robot.env.exec_actions(actions, obs["timestamp"][-1] + 0.1 * np.arange(1, 17)) > 0
    robot.advance(700)


def test_an_arm_whose_joints_fall_silent_comes_to_rest_and_goes_on_from_where_it_stands(robot: Robot) -> None:
    """The script's thread does not renew blindly what nobody sees; later actions begin from the measured joints."""
    _sink(robot)
    robot.has_joints = False
    robot.advance(600)
    rows = np.array(robot.setpoints)
    np.testing.assert_array_equal(rows[-1], rows[-100])
    robot.has_joints = True
    robot.advance(1000)
    obs = robot.env.get_obs()
    assert robot.env.exec_actions(obs["robot_eef_pose"][-1:], [robot.now_ns * 1e-9 + 0.3]) == 1, robot.env.refusal
    robot.advance(500)
    rows = np.array(robot.setpoints)
    assert ReflexModel(robot.home_rad).check(rows) == (len(rows), None)


def test_a_stop_that_cannot_be_planned_lets_go(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller ends what it holds, and not what the script had still in mind."""
    _sink(robot)

    def impossible(*_: object) -> None:
        raise MotionError("the way to rest crosses the table")

    monkeypatch.setattr(robot.env._splicer, "stop", impossible)
    sent = robot.sent
    robot.env.stop()
    robot.advance(400)
    assert robot.sent <= sent + 1, "a refresh that was due, and nothing more"
    np.testing.assert_array_equal(robot.setpoints[-1], robot.setpoints[-50])


def test_a_real_robot_is_watched_by_its_own_reports(task: TaskConfig, chain: KinematicChain, robot: Robot) -> None:
    """Without reports nothing moves; a reflex while it moves is a fault, after which nothing is sent."""
    with pytest.raises(DeploymentError, match=r"hand them to RealEnv\.watchdogs\.arm\.see"):
        RealEnv(task, chain, robot, {}, robot.joints.name, config=DeploymentConfig(real_robot=True))
    robot.env = RealEnv(task, chain, robot, {"camera_1": robot.camera.name}, robot.joints.name,
                        config=DeploymentConfig(real_robot=True, arm_condition_required=True),
                        clock_ns=lambda: robot.now_ns)
    robot.advance(400)
    pose = robot.env.get_obs()["robot_eef_pose"][-1:]
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 0
    assert "has not reported its condition" in robot.env.refusal
    robot.mode = "move"
    robot.advance(100)
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 1, robot.env.refusal
    robot.advance(100)
    robot.mode = "reflex"
    robot.advance(50)
    assert robot.env.fault is not None
    sent = robot.sent
    robot.advance(500)
    assert robot.sent == sent


def test_actions_of_the_past_are_dropped(robot: Robot) -> None:
    """All of them: nothing is sent; the same as in that code."""
    robot.advance(400)
    pose = robot.env.get_obs()["robot_eef_pose"][-1:]
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 - 0.01]) == 0
    assert robot.sent == 0


def test_what_is_not_safe_is_refused_and_said(robot: Robot) -> None:
    """Out of reach: an event; stale joints or frames and wrong shapes: an error; nothing is sent in any case."""
    robot.advance(400)
    now_s = robot.now_ns * 1e-9
    far = np.array([[3.0, 0, 0, 0, 0, 0, 1.0]] * 2)
    assert robot.env.exec_actions(far, now_s + np.array([0.3, 0.4])) == 0
    assert "out of reach" in robot.env.refusal
    with pytest.raises(MotionError, match="expected finite"):
        robot.env.exec_actions(np.zeros((2, 3)), now_s + np.array([0.3, 0.4]))
    with pytest.raises(MotionError, match="2 actions have 1 timestamps"):
        robot.env.exec_actions(far, [now_s])
    robot.now_ns += SECOND_NS // 4
    with pytest.raises(ObservationError, match=r"joints: newest sample is 0\.2"):
        robot.env.exec_actions(far, now_s + np.array([0.5, 0.6]))
    assert robot.sent == 0


def test_only_the_actions_that_are_still_to_come_are_carried_out(robot: Robot) -> None:
    """A chunk that came late is begun in its middle, and told how much of it is left."""
    robot.advance(400)
    poses = np.tile(robot.env.get_obs()["robot_eef_pose"][-1], (4, 1))
    times_s = robot.now_ns * 1e-9 + np.array([-0.2, -0.1, 0.3, 0.4])
    assert robot.env.exec_actions(poses, times_s) == 2, robot.env.refusal
    assert robot.env.exec_actions(poses[:2], times_s[:2]) == 0
    assert robot.env.refusal == ""


def test_old_frames_are_not_shown_and_no_camera_may_fall_silent(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the joints still coming: no observation of them, and no motion, whichever camera it is."""
    robot.advance(400)
    pose = robot.env.get_obs()["robot_eef_pose"][-1:]
    monkeypatch.setattr(robot.camera, "put", lambda *_: 0)
    robot.advance(1000)
    with pytest.raises(ObservationError, match=r"camera_1: newest sample is 1\.0"):
        robot.env.get_obs()
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 0
    assert "camera_1: nothing comes" in robot.env.refusal
    monkeypatch.undo()
    watch = robot.env._watch_over
    watch._cameras = {**watch._cameras, "camera_0": RingReader("test-nobody-writes")}
    robot.advance(400)
    assert robot.env.exec_actions(pose, [robot.now_ns * 1e-9 + 0.3]) == 0
    assert "camera_0: nothing comes" in robot.env.refusal
