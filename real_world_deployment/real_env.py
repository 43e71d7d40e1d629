"""`RealEnv` as in the Diffusion Policy code (diffusion_policy/real_world/real_env.py), on our rings and controllers.

A script written for that class finds the same calls with the same meaning: `get_obs()` gives the last n_obs_steps of
every stream at instants dt apart, with their timestamps in seconds of time.time(); `exec_actions(actions, timestamps)`
schedules poses and drops those whose time has passed. Cameras and joints come from rings that other processes write.
What is different lies underneath: a chunk becomes a motion that keeps the task's limits and ends at rest, or is refused
and the running motion goes on; stale joints refuse too. The controller never holds more than 150 ms of it and a way to
rest (`receding.py`): a thread renews that, so the arm comes to rest when the script dies, and goes on while the script
thinks. A frame *at* an instant counts as seen, not only one before it. The thread also asks the watchdogs that need no
policy (`safety/watchdogs.py`, docs/safety.md): on trouble the arm comes to rest. What leads to HOLD is over with its
cause, once the arm stands; what leads to STOPPED or FAULT needs a new RealEnv.

A real robot (`config.real_robot`) has to report its own condition: hand its reports to `watchdogs.arm.see`, and those
of a hold-to-run button to `watchdogs.button`. Without them nothing moves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladle.errors import DeploymentError, MotionError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from ladle.pose import quaternion_from_rotation_vector
from ladle.task import TaskConfig
from real_world_deployment.arm_motion import SETTLED_S
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import Controller
from real_world_deployment.receding import RecedingPlan
from real_world_deployment.ring_sight import RingSight
from real_world_deployment.ring_watch import RingWatch
from real_world_deployment.safety.alarms import Trouble
from real_world_deployment.safety.following import allowed_error_rad
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.sensor_rings import JOINTS
from real_world_deployment.splice import Splicer
from real_world_deployment.trajectory import JointTrajectory, at_rest

log = logging.getLogger(__name__)

POSE_PART = "pose"
Array = NDArray[np.float64]


class RealEnv:
    """One arm and its cameras.

    Attributes:
        frequency, n_obs_steps, dt: as in the Diffusion Policy code.
        start_ns: where the controller's times count from, on the clock of time.time_ns().
        refusal: why the last actions were refused; empty where they were not.
        watchdogs: where the arm's reports go.
        fault: what has stopped the arm for good; None while nothing has.
    """

    def __init__(self, task: TaskConfig, chain: KinematicChain, controller: Controller,
                 camera_rings: Mapping[str, str] | None = None, joints: str | None = None, *, n_obs_steps: int = 2,
                 frequency: float | None = None, config: DeploymentConfig | None = None,
                 clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Nothing moves.

        Args:
            controller: carries out plans; their times count from start_ns.
            camera_rings: camera of the task -> ring with records {"image"}; joints: ring with {"q": (J,)}. By default
                those that ring_node of ros2_ws writes (`sensor_rings.py`).
            frequency: of observations, by default the task's rate.

        Raises:
            MotionError: the task has no limits or joints.
            DeploymentError: a real robot that need not report its own condition.
        """
        if task.limits is None or task.joints is None or task.home is None:
            raise MotionError(f"task {task.name} cannot move an arm: its file needs joints, limits and home")
        config = config or DeploymentConfig()
        if config.real_robot and not config.arm_condition_required:
            raise DeploymentError("a real robot must be watched by its own reports: set arm_condition_required in the "
                                  "config, and hand them to RealEnv.watchdogs.arm.see")
        self.refusal = ""
        self._config, self._clock_ns, self.start_ns = config, clock_ns, clock_ns()
        self._sight = RingSight(task, chain, config, camera_rings, joints, n_obs_steps, frequency, clock_ns)
        self.frequency, self.n_obs_steps, self.dt = self._sight.frequency, n_obs_steps, self._sight.dt
        limits = limits_of(task, self._config.limits, chain, self._config.speed)
        posture_rad = np.asarray(task.home.posture_rad, np.float64)
        self._splicer = Splicer(chain, limits, self._config, POSE_PART, "pose", posture_rad, self.dt)
        self._receding = RecedingPlan(limits, self._config, controller.follow)
        self._watch_over = RingWatch(task, chain, limits, self._config, controller, self._sight.joints,
                                     self._sight.cameras, self.start_ns)
        self.watchdogs = self._watch_over.watchdogs
        self._held: Trouble | None = None
        self.fault: Trouble | None = None
        self._lock, self._is_ending = threading.Lock(), False
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> RealEnv:
        """Wait until everything is there."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Come to rest."""
        self.stop()

    @property
    def running(self) -> JointTrajectory | None:
        """The plan in force; None before the first."""
        return self._receding.plan

    @property
    def is_ready(self) -> bool:
        """Whether every camera and the joints have been seen."""
        return self._sight.is_whole

    def start(self, wait: bool = True, timeout_s: float = 10.0) -> None:
        """Wait for cameras and joints. Raises ObservationError naming what stays away."""
        if wait:
            self._sight.wait(timeout_s)

    def stop(self) -> None:
        """Brake as fast as the limits allow; the plan in force ends at rest in any case."""
        now_s = self._now_s()
        with self._lock:
            self._is_ending = True
            self._rest(now_s)

    def refresh(self) -> None:
        """Look for trouble, and give the controller the next part of the running plan if it is due: what the thread
        does all the time.
        """
        with self._lock:
            self._watch(self._now_s())

    def get_obs(self) -> dict[str, NDArray[Any]]:
        """The last n_obs_steps at instants dt apart, the last one that of the newest frame.

        Returns:
            key of each camera (To, H, W, 3), robot_joint (To, J), robot_eef_pose (To, 6) metres and rotation vector,
            eef (To, 7) metres and quaternion xyzw, timestamp (To,) seconds of time.time().

        Raises:
            ObservationError: a stream has nothing, or is older than allowed.
        """
        return self._sight.window()

    def get_robot_state(self) -> dict[str, NDArray[Any]]:
        """The newest joints: robot_joint (J,), robot_eef_pose (6,) and timestamp."""
        return self._sight.robot_state()

    def exec_actions(self, actions: ArrayLike, timestamps: ArrayLike) -> int:
        """Schedule poses; those in the past are dropped, later ones replace what was scheduled for after their first.

        Args:
            actions: (n, 6) metres and rotation vector, or (n, 7) metres and quaternion xyzw, of the task's tip frame.
            timestamps: (n,) increasing seconds of time.time() at which they are to be reached.

        Returns:
            How many of them were not in the past; 0 as well where the motion was refused, see `refusal`.

        Raises:
            ObservationError: the joints are stale: the arm must not be moved blindly.
            MotionError: actions and timestamps do not fit together.
        """
        poses, times = _poses(np.asarray(actions, np.float64)), np.asarray(timestamps, np.float64)
        if len(poses) != len(times):
            raise MotionError(f"{len(poses)} actions have {len(times)} timestamps; one each is needed")
        joints = self._sight.fresh_joints()
        now_ns = self._clock_ns()
        now_s = (now_ns - self.start_ns) * 1e-9
        is_new = times > now_ns * 1e-9
        if not is_new.any():
            return 0
        relative_s = times[is_new] - self.start_ns * 1e-9
        chunk = ActionChunk(now_s, relative_s, {POSE_PART: poses[is_new]})
        with self._lock:
            self._watch(now_s)
            q_rad = np.asarray(joints.arrays[JOINTS], np.float64)
            try:
                running = self._begun(q_rad, now_s)
                self._refuse_astray(q_rad, running, joints.receive_ns)
                self._receding.follow(self._splicer.join(chunk, running, now_s), now_s)
            except MotionError as error:
                # An event and not an exit: the running plan goes on to rest.
                self.refusal = str(error)
                log.warning("actions refused: %s", error)
                return 0
        self.refusal = ""
        self._renew()
        return int(is_new.sum())

    def _renew(self) -> None:
        """Keep a thread that supplies the controller, until the plan that `stop` leaves has ended."""
        self._is_ending = False
        if self._renewing is None or not self._renewing.is_alive():
            self._renewing = threading.Thread(target=self._supply, name="real_env", daemon=True)
            self._renewing.start()

    def _supply(self) -> None:
        while not (self._is_ending and (self.running is None or self._now_s() >= self.running.end_s)):
            self.refresh()
            time.sleep(self._config.refresh_s / 3)

    def _watch(self, now_s: float) -> None:
        """Ask the watchdogs, and keep the controller supplied."""
        self._watch_over.take_joints(now_s)
        if self.running is None:
            return
        trouble = self.fault or self._watch_over.look(now_s, self.running)
        if trouble is not None and trouble is not self.fault:
            self._react(trouble, now_s)
        elif trouble is None and self._held is not None and now_s >= self.running.end_s + SETTLED_S:
            log.info("over: %s", self._held.reason)
            self._held = None
            self._receding.clear()  # the next actions begin from the measured joints
        self._receding.refresh(now_s)

    def _react(self, trouble: Trouble, now_s: float) -> None:
        """Come to rest; told once."""
        if self._held is None:
            log.warning("%s: %s", trouble.alarm.value, trouble)
            if trouble.reaction.brakes:
                self._rest(now_s)
        if not trouble.reaction.brakes:
            self._receding.let_go()
        self._held = trouble
        if trouble.reaction.state != "HOLD":
            self.fault = trouble

    def _rest(self, now_s: float) -> None:
        """Brake; where no way to rest is safe from here on, the controller ends what it holds."""
        running = self._receding.refresh(now_s)
        if running is None or now_s >= running.end_s:
            return
        try:
            self._receding.follow(self._splicer.stop(running, now_s), now_s)
        except MotionError as error:
            log.warning("no shorter stop than what is held: %s", error)
            self._receding.let_go()

    def _begun(self, q_rad: Array, now_s: float) -> JointTrajectory:
        """The plan in force; at the first actions, and after a hold, it stands where the arm is.

        Raises:
            MotionError: something is wrong, or not known to be good.
        """
        if self.fault is not None:
            raise MotionError(f"{self.fault}; make a new RealEnv then")
        if self._held is not None:
            raise MotionError(str(self._held))
        if self.running is not None:
            return self.running
        self._watch_over.expect_good(now_s)
        running = at_rest(q_rad, now_s)
        self._receding.stand(running)
        return running

    def _refuse_astray(self, q_rad: Array, running: JointTrajectory, receive_ns: int) -> None:
        """An arm that was moved away from its plan, or left behind by its controller, must not be pulled there."""
        error_rad = float(np.max(np.abs(q_rad - running.sample((receive_ns - self.start_ns) * 1e-9).q_rad[0])))
        if error_rad > allowed_error_rad(self._config):
            raise MotionError(f"the arm is {error_rad:.3f} rad from its plan, at most "
                              f"{allowed_error_rad(self._config):g} rad are allowed; make a new RealEnv once it may "
                              "move again")

    def _now_s(self) -> float:
        return (self._clock_ns() - self.start_ns) * 1e-9


def _poses(actions: Array) -> Array:
    """(n, 7) poses of actions with six or seven columns."""
    if actions.ndim != 2 or actions.shape[1] not in (6, 7) or not np.isfinite(actions).all():
        raise MotionError(f"actions of shape {actions.shape}; expected finite (n, 6) with a rotation vector or (n, 7) "
                          "with a quaternion xyzw")
    if actions.shape[1] == 7:
        return actions
    return np.hstack([actions[:, :3], quaternion_from_rotation_vector(actions[:, 3:])])
