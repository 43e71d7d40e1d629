"""What the arm says of itself: its mode and its errors, as a Franka reports them."""

from __future__ import annotations

from dataclasses import dataclass

from ladle.errors import DeploymentError
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.safety.alarms import Alarm, Trouble
from real_world_deployment.safety.freshness import is_fresh

IDLE, GUIDING, REFLEX, USER_STOPPED, RECOVERY, MOVE = (
    "idle", "guiding", "reflex", "user_stopped", "automatic_error_recovery", "move")
# libfranka's RobotMode, in the order of its values.
MODES = ("other", IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED, RECOVERY)


@dataclass(frozen=True)
class ArmCondition:
    """One report.

    Attributes:
        mode: one of MODES.
        errors: names of the errors that hold.
        command_success_rate: share of the last 100 commands that reached the arm.
        stamp_s: when it was received, on the run's clock.
    """

    mode: str
    errors: tuple[str, ...]
    command_success_rate: float
    stamp_s: float

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise DeploymentError(f"the arm reports the mode {self.mode!r}; known are {', '.join(MODES)}")

    def trouble(self) -> Trouble | None:
        """Why the arm must not be moved, None if it may: what an operator has to see to."""
        errors = f" ({', '.join(self.errors)})" if self.errors else ""
        if self.mode == USER_STOPPED:
            return Trouble(Alarm.ARM_USER_STOPPED, f"the arm is stopped by its user{errors}")
        if self.mode == GUIDING:
            return Trouble(Alarm.ARM_GUIDING, f"the arm is guided by hand{errors}")
        if self.mode in {REFLEX, RECOVERY} or self.errors:
            return Trouble(Alarm.ARM_REFLEX, f"the arm has stopped in mode {self.mode}{errors}")
        return None

    @property
    def is_commanded(self) -> bool:
        """Whether a controller moves or holds the arm, also at rest.

        A Franka is in mode move from the start of a control loop to its end. It is idle before, and after a stop that
        its user has released: no error is reported then, and still it follows nothing before its recovery (franka_ros
        issue 308).
        """
        return self.mode == MOVE


class ArmWatch:
    """Remembers the newest report.

    Args:
        is_required: whether silence is trouble; reports that come are looked at in any case.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self._bounds, self._is_required = config.bounds, config.arm_condition_required
        self._newest: ArmCondition | None = None

    def see(self, condition: ArmCondition) -> None:
        """A report."""
        self._newest = condition

    def reset(self) -> None:
        """Forget it: another scene, another clock."""
        self._newest = None

    def blocked(self) -> Trouble | None:
        """What the arm itself reported last, however long ago."""
        return None if self._newest is None else self._newest.trouble()

    def unready(self) -> str | None:
        """Why no motion must begin though nothing is wrong: a command would be lost, or followed when it is old."""
        if self._newest is None or self._newest.is_commanded:
            return None
        return f"no controller commands the arm, its mode is {self._newest.mode}"

    def trouble(self, now_s: float) -> Trouble | None:
        """What the arm reports, or that it has fallen silent, or that commands do not reach it."""
        newest = self._newest
        if newest is None:
            return Trouble(Alarm.ARM_UNKNOWN, "the arm has not reported its condition") if self._is_required else None
        blocked = newest.trouble()
        if blocked is not None:
            return blocked
        if self._is_required and not is_fresh(newest.stamp_s, now_s, self._bounds.arm_unknown_s):
            return Trouble(Alarm.ARM_UNKNOWN, "the arm's last report is older than "
                                              f"{self._bounds.arm_unknown_s:g} s, or of the future")
        if newest.mode == MOVE and newest.command_success_rate < self._bounds.command_success_rate:
            return Trouble(Alarm.ARM_UNKNOWN, "less of the commands reach the arm than "
                                              f"{100.0 * self._bounds.command_success_rate:.0f} %")
        return None
