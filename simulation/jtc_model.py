"""What a JointTrajectoryController does with the messages on its topic, distribution by distribution.

Written after `joint_trajectory_controller/src/joint_trajectory_controller.cpp` of ros2_controllers, branches humble,
jazzy, kilted and master of August 2026: `validate_trajectory_msg`, `topic_callback`, `update`,
`blend_with_active_trajectory`. What differs between them:

| | humble | jazzy, kilted | master |
|---|---|---|---|
| a message that ends with a velocity | accepted | refused by default | refused by default |
| a new message while one runs | replaces it | replaces it | blends: the stamp is the switch time |
| set-point written in the cycle at t | plan at t | plan at t + period | plan at t + period |

Not modelled, because the pipeline never uses them: the action interface and its tolerances, speed scaling, angle
wraparound, effort, points without positions, interpolation "none", cmd_timeout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ladle.errors import SimulationError
from simulation.jtc_trajectory import Floats, HeldTrajectory, JointState, to_ns

Distribution = Literal["humble", "jazzy", "kilted", "master"]
FLOAT32_EPSILON = float(np.finfo(np.float32).eps)  # what the controller takes for a velocity of zero


@dataclass(frozen=True)
class JtcParameters:
    """The controller's parameters that change what it does with a topic message.

    None stands for the distribution's default.

    Attributes:
        interpolate_from_desired_state: start from the last command, not from the measured state
            (`open_loop_control` on Humble).
        allow_trajectory_replacement: blending of master; ignored elsewhere.
        update_period_s: period of the control cycle.
    """

    allow_nonzero_velocity_at_trajectory_end: bool | None = None
    allow_partial_joints_goal: bool = False
    interpolate_from_desired_state: bool = False
    allow_trajectory_replacement: bool = True
    update_period_s: float = 0.001


@dataclass(frozen=True)
class TrajectoryMessage:
    """trajectory_msgs/JointTrajectory without ROS.

    Attributes:
        stamp_s: header stamp; 0 means "start when received".
        times_from_start_s: (m,) seconds.
        positions_rad, velocities_rad_s, accelerations_rad_s2: (m, n), columns in the order of `joint_names`.
    """

    stamp_s: float
    joint_names: tuple[str, ...]
    times_from_start_s: Floats
    positions_rad: Floats
    velocities_rad_s: Floats | None = None
    accelerations_rad_s2: Floats | None = None


class JtcModel:
    """The controller: messages in, one position set-point a cycle out."""

    def __init__(
        self,
        distribution: Distribution,
        joint_names: Sequence[str],
        start_rad: Floats,
        parameters: JtcParameters | None = None,
    ) -> None:
        """Activate at rest at `start_rad` (n,).

        Raises:
            SimulationError: an unknown distribution, or a start of another width than the joint names.
        """
        if distribution not in get_args(Distribution):
            known = ", ".join(get_args(Distribution))
            raise SimulationError(f"no model of the JTC of {distribution!r}; known distributions: {known}")
        if len(start_rad) != len(joint_names):
            raise SimulationError(f"start has {len(start_rad)} joints, the controller has {len(joint_names)}")
        self.distribution: Distribution = distribution
        self.joint_names = tuple(joint_names)
        self.parameters = parameters or JtcParameters()
        zeros = np.zeros(len(start_rad))
        self._last = JointState(np.array(start_rad, float), zeros, zeros)
        self._last_ns: int | None = None
        self._held: HeldTrajectory | None = None
        self._pending: TrajectoryMessage | None = None

    def accept(self, message: TrajectoryMessage, now_s: float) -> str | None:
        """A message arrives at `now_s`: None when taken, else why the controller ignores it.

        A taken message comes into force in the next cycle; of several between two cycles the newest counts.
        """
        reason = self._refusal(message, to_ns(now_s))
        if reason is None:
            self._pending = message
        return reason

    def setpoints(
        self, times_s: Floats, measured_rad: Floats | None = None, measured_rad_s: Floats | None = None
    ) -> Floats:
        """Position set-points (k, n) rad of the cycles at `times_s` (k,), increasing and after earlier calls.

        Args:
            measured_rad, measured_rad_s: (n,) the arm's state in the first of these cycles, from which a new
                trajectory is approached; without them the arm is taken to follow its commands exactly.
        """
        at_ns = np.array([to_ns(time) for time in times_s], np.int64)
        if len(at_ns) == 0:
            return np.zeros((0, len(self.joint_names)))
        if self._pending is not None:
            self._take(self._pending, int(at_ns[0]))
            self._pending = None
        if self._held is None:
            self._last_ns = int(at_ns[-1])
            return np.tile(self._last.position_rad, (len(at_ns), 1))
        if not self._held.is_sampled:
            self._begin(int(at_ns[0]), measured_rad, measured_rad_s)
        ahead_ns = 0 if self.distribution == "humble" else to_ns(self.parameters.update_period_s)
        state = self._held.sample(at_ns + ahead_ns)
        self._last, self._last_ns = state.at(-1), int(at_ns[-1])
        return state.position_rad

    @property
    def is_finished(self) -> bool:
        """Whether the last point has been reached and is held (also true before the first message)."""
        if self._pending is not None:
            return False
        held = self._held
        if held is None:
            return True
        return held.start_ns is not None and (self._last_ns or 0) >= held.start_ns + int(held.points_ns[-1])

    def _begin(self, now_ns: int, measured_rad: Floats | None, measured_rad_s: Floats | None) -> None:
        assert self._held is not None
        if self.parameters.interpolate_from_desired_state:
            # Humble counts from this cycle, later ones from the last cycle's time with the set-point written in it.
            since_ns = now_ns if self.distribution == "humble" or self._last_ns is None else self._last_ns
            self._held.begin(now_ns, since_ns, self._last)
            return
        position = self._last.position_rad if measured_rad is None else np.asarray(measured_rad, float)
        velocity = self._last.velocity_rad_s if measured_rad is None else measured_rad_s
        self._held.begin(now_ns, now_ns, JointState(position, velocity, None))

    def _take(self, message: TrajectoryMessage, now_ns: int) -> None:
        points = self._in_own_order(message)
        points_ns = np.array([to_ns(time) for time in message.times_from_start_s], np.int64)
        stamp_ns = to_ns(message.stamp_s)
        held = self._held
        blends = self.distribution == "master" and self.parameters.allow_trajectory_replacement
        if blends and held is not None and held.is_sampled and len(held.points_ns) > 1 and self._last_ns is not None:
            points_ns, points = self._blended(held, points_ns, points, max(stamp_ns - now_ns, 0))
            stamp_ns = 0
        self._held = HeldTrajectory(stamp_ns or None, points_ns, points)

    def _blended(
        self, held: HeldTrajectory, points_ns: NDArray[np.int64], points: JointState, wait_ns: int
    ) -> tuple[NDArray[np.int64], JointState]:
        """The running plan up to the switch time, then the new points, in time from this cycle.

        A stamp in the past is not honoured: the new plan starts at the controller's cursor. The cursor is the time
        of the last cycle while the blend starts in this one, so that each replacement lags by one cycle.
        """
        assert held.start_ns is not None
        assert self._last_ns is not None
        cursor_ns = self._last_ns
        switch_ns = cursor_ns + wait_ns
        old_ns = held.start_ns + held.points_ns
        kept = np.flatnonzero((old_ns > cursor_ns) & (old_ns < switch_ns))
        parts_ns = [old_ns[kept] - cursor_ns]
        parts = [held.points.at(kept)]
        if points_ns[0] > 0:
            parts_ns.append(np.array([wait_ns]))
            parts.append(held.sample(np.array([switch_ns])))
        parts_ns.append(points_ns + wait_ns)
        parts.append(points)
        return np.concatenate(parts_ns), _joined(parts)

    def _in_own_order(self, message: TrajectoryMessage) -> JointState:
        """Points (m, n) in the controller's joint order; joints that a partial message omits hold their command."""
        columns = {name: column for column, name in enumerate(message.joint_names)}

        def ordered(values: Floats | None, fill: Floats) -> Floats | None:
            if values is None:
                return None
            out = np.tile(fill, (len(message.times_from_start_s), 1))
            for own, name in enumerate(self.joint_names):
                if name in columns:
                    out[:, own] = np.asarray(values)[:, columns[name]]
            return out

        zeros = np.zeros(len(self.joint_names))
        positions = ordered(message.positions_rad, self._last.position_rad)
        assert positions is not None
        return JointState(
            positions, ordered(message.velocities_rad_s, zeros), ordered(message.accelerations_rad_s2, zeros)
        )

    def _refusal(self, message: TrajectoryMessage, now_ns: int) -> str | None:
        names, n_points = message.joint_names, len(message.times_from_start_s)
        if not names:
            return "empty joint names"
        if not self.parameters.allow_partial_joints_goal and len(names) != len(self.joint_names):
            return f"{len(names)} joints do not match the controller's {len(self.joint_names)}"
        if n_points == 0:
            return "empty trajectory"
        unknown = [name for name in names if name not in self.joint_names]
        if unknown:
            return f"joint {unknown[0]} is not one of the controller's joints: {', '.join(self.joint_names)}"
        for label, values in (
            ("positions", message.positions_rad),
            ("velocities", message.velocities_rad_s),
            ("accelerations", message.accelerations_rad_s2),
        ):
            if values is not None and np.shape(values) != (n_points, len(names)):
                return f"{label} have shape {np.shape(values)}, expected {(n_points, len(names))}"
        return self._time_refusal(message, now_ns)

    def _time_refusal(self, message: TrajectoryMessage, now_ns: int) -> str | None:
        allow_moving_end = self.parameters.allow_nonzero_velocity_at_trajectory_end
        if allow_moving_end is None:
            allow_moving_end = self.distribution == "humble"
        if not allow_moving_end and message.velocities_rad_s is not None:
            final = np.abs(np.asarray(message.velocities_rad_s)[-1])
            if final.max() > FLOAT32_EPSILON:
                return f"velocity of the last point of joint {message.joint_names[int(final.argmax())]} is not zero"
        end_ns = to_ns(message.stamp_s) + to_ns(float(message.times_from_start_s[-1]))
        if message.stamp_s != 0.0 and end_ns < now_ns:
            return f"the trajectory ended {(now_ns - end_ns) / 1e9:.3f} s ago"
        if (np.diff(message.times_from_start_s) <= 0).any():
            return "time from start is not strictly increasing"
        return None


def _joined(parts: Sequence[JointState]) -> JointState:
    """Points one after the other; a rate that one part lacks is zero there, or absent where all lack it."""

    def column(rates: list[Floats | None]) -> Floats | None:
        if rates[-1] is None:
            return None
        widths = [part.position_rad.shape for part in parts]
        filled = [np.zeros(shape) if rate is None else rate for rate, shape in zip(rates, widths, strict=True)]
        return np.concatenate(filled)

    return JointState(
        np.concatenate([part.position_rad for part in parts]),
        column([part.velocity_rad_s for part in parts]),
        column([part.acceleration_rad_s2 for part in parts]),
    )
