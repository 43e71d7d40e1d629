"""Everything that is watched while the arm may move, in the order in which it is told."""

from __future__ import annotations

from real_world_deployment.arm_condition import ArmWatch
from real_world_deployment.arm_motion import SETTLED_S
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.observation import JOINTS, ObservationBuffer
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.clock_watch import ClockWatch
from real_world_deployment.safety.following import Following
from real_world_deployment.safety.frozen_cameras import FrozenCameras
from real_world_deployment.safety.hold_to_run import HoldToRun
from real_world_deployment.safety.self_checking import Acknowledging, SelfChecking
from real_world_deployment.trajectory import JointTrajectory


class Watchdogs:
    """Looks at clock, arm, controller, joints, cameras and button; the policy is watched where it is asked.

    Attributes:
        clock: to be told of every tick.
        arm: where the arm's reports go.
        button: where reports of the hold-to-run button go; None in a run without one.
    """

    def __init__(self, config: DeploymentConfig, observations: ObservationBuffer, controller: object,
                 periods_s: dict[str, float]) -> None:
        """
        Args:
            controller: asked if it is `SelfChecking`; whether plans arrive, if it is `Acknowledging`.
            periods_s: of each camera.
        """
        self._config, self._observations, self._controller = config, observations, controller
        self.clock, self.arm = ClockWatch(config.bounds.clock_leap_s), ArmWatch(config)
        self.button = None if config.hold_to_run_s is None else HoldToRun(config.hold_to_run_s)
        self._following = Following(observations, config)
        self._frozen = FrozenCameras(observations, config.bounds.camera_frozen_s, periods_s)
        self._reported: Trouble | None = None

    def reset(self) -> None:
        """Another run; arm and button are what they were."""
        self._following.reset()
        self._frozen.reset()
        self._reported = None

    def forget(self) -> None:
        """Another scene on another clock."""
        self.clock = ClockWatch(self._config.bounds.clock_leap_s)
        self.arm.reset()

    def report(self, trouble: Trouble) -> None:
        """What was seen outside, such as a message that nobody can believe; the first one counts."""
        self._reported = self._reported or trouble

    def look(self, now_s: float, plan: JointTrajectory | None) -> Trouble | None:
        """What is wrong now, the worst first; None if nothing is."""
        reported, self._reported = self._reported, None
        return (self._clock(now_s) or reported or self.arm.blocked() or self._commanded() or self._known_controller()
                or self._arrivals(now_s, plan) or self._following.trouble(now_s, plan) or self._sensors(now_s)
                or self.arm.trouble(now_s) or self._let_go(now_s))

    def _clock(self, now_s: float) -> Trouble | None:
        why = self.clock.problem(now_s)
        return None if why is None else Trouble(Alarm.CLOCK_JUMP, f"the clock {why}")

    def _commanded(self) -> Trouble | None:
        """An arm that has left its mode has lost its controller; what comes back later would begin with a step."""
        why = self.arm.unready()
        return None if why is None else Trouble(Alarm.CONTROLLER_DEAD, why)

    def _known_controller(self) -> Trouble | None:
        return self._controller.problem() if isinstance(self._controller, SelfChecking) else None

    def _arrivals(self, now_s: float, plan: JointTrajectory | None) -> Trouble | None:
        """A controller that was not reached ends what it holds: until it has, nobody knows where that leads."""
        if not isinstance(self._controller, Acknowledging) or (why := self._controller.unheard(now_s)) is None:
            return None
        if plan is not None and now_s < plan.end_s + SETTLED_S:
            return Trouble(Alarm.TRAJECTORIES_LOST, why)
        self._controller.begin_anew()
        return None

    def _sensors(self, now_s: float) -> Trouble | None:
        """A tick earlier than the bound, which the next one might miss."""
        config, bounds = self._config, self._config.bounds
        silent = self._observations.silent(now_s, bounds.joints_stale_s - bounds.tick_s,
                                           bounds.camera_stale_s - bounds.tick_s)
        if silent is not None:
            return Trouble(Alarm.JOINTS_STALE if silent == JOINTS else Alarm.CAMERA_STALE, f"{silent}: nothing comes")
        old = self._observations.stale(now_s, config.joints_age_s, config.camera_age_s)
        if old is not None:
            key = old.partition(":")[0]
            return Trouble(Alarm.JOINTS_STALE if key == JOINTS else Alarm.CAMERA_STALE, f"{key}: what comes is old, or "
                           "of the future; synchronise the clocks")
        frozen = self._frozen.frozen() if config.frozen_camera_check else None
        return None if frozen is None else Trouble(Alarm.CAMERA_FROZEN, f"{frozen}: every frame is the same")

    def _let_go(self, now_s: float) -> Trouble | None:
        if self.button is None or self.button.is_held(now_s):
            return None
        return Trouble(Alarm.HOLD_TO_RUN, "the button is not held")
