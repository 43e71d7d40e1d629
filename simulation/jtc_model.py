"""What a JointTrajectoryController does with trajectories from topic and action, distribution by distribution.

Written after `joint_trajectory_controller/src/joint_trajectory_controller.cpp` of ros2_controllers, branches humble,
jazzy, kilted and master of August 2026: `topic_callback`, `goal_accepted_callback`, `update`. What differs:

| | humble | jazzy, kilted | master |
|---|---|---|---|
| a last velocity (`validate_trajectory_msg`) | accepted | refused by default | refused by default |
| a new message while one runs (`update`) | replaces it | replaces it | blends: the stamp is the switch time |
| set-point written in the cycle at t (`update`) | plan at t | plan at t + period | plan at t + period |
| desired-state start counts from (`update`) | this cycle | the last command's cycle | the last command's cycle |

What all of them do (`Trajectory::sample` in trajectory.cpp, `jtc_trajectory.py` here): a stamp of 0 counts from the
first cycle that sees the message; before its first point a trajectory is a bridge from that cycle's state; a first
point at time 0, or a stamp in the past, leaves no bridge and may be a step; the last point is held with its velocity as
an interface value, but no position moves on. Tolerances, time-outs and goals: `jtc_goal.py`; what is refused:
`jtc_messages.py`; master's blending: `jtc_blend.py`. Not modelled: speed scaling and angle wraparound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from ladle.errors import SimulationError
from simulation.jtc_blend import blended
from simulation.jtc_goal import Outcome, Tolerances, Verdict, supervise
from simulation.jtc_messages import Distribution, JtcParameters, TrajectoryMessage, refusal
from simulation.jtc_trajectory import Floats, HeldTrajectory, JointState, all_to_ns, to_ns

__all__ = ["Distribution", "JtcModel", "JtcParameters", "TrajectoryMessage"]


class JtcModel:
    """The controller: messages in, one position set-point a cycle out.

    Attributes:
        outcomes: how action goals ended, in order.
        goal_is_active: whether one is under way.
        is_holding: whether the controller holds a position of its own choice: after activation, a violated tolerance,
            a time-out or a goal's success.
    """

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
        self._tolerances = Tolerances.of(self.parameters)
        self.outcomes: list[Outcome] = []
        self.goal_is_active, self.is_holding = False, True

    def accept(self, message: TrajectoryMessage, now_s: float) -> str | None:
        """A message arrives at `now_s`: None when taken, else why the controller ignores it.

        A taken message comes into force in the next cycle; of several between two cycles the newest counts.
        """
        reason = refusal(message, to_ns(now_s), self.joint_names, self.distribution, self.parameters)
        if reason is None:
            self._pending = message
            self.is_holding = False
        return reason

    def accept_goal(self, message: TrajectoryMessage, now_s: float, tolerances: Tolerances | None = None) -> str | None:
        """The same as a goal of FollowJointTrajectory: None when accepted, else why it is rejected.

        A goal that is under way is aborted with INVALID_GOAL. A message on the topic aborts none: the goal is then
        judged by the trajectory that replaced its own.
        """
        reason = self.accept(message, now_s)
        if reason is not None:
            return reason
        if self.goal_is_active:
            self.outcomes.append("INVALID_GOAL")
        self.goal_is_active = True
        self._tolerances = Tolerances.of(self.parameters).overridden(tolerances or Tolerances())
        return None

    def setpoints(
        self, times_s: Floats, measured_rad: Floats | None = None, measured_rad_s: Floats | None = None
    ) -> Floats:
        """Position set-points (k, n) rad of the cycles at `times_s` (k,), increasing and after earlier calls.

        Args:
            measured_rad, measured_rad_s: (n,) the arm's state in the first of these cycles: from it a new trajectory is
                approached, and by it tolerances and time-outs are judged, in this cycle only. Without them the arm is
                taken to follow its commands exactly.
        """
        at_ns = all_to_ns(times_s)
        if len(at_ns) == 0:
            return np.zeros((0, len(self.joint_names)))
        if self._pending is not None:
            self._take(self._pending, int(at_ns[0]))
            self._pending = None
        held = self._held
        if held is None:
            self._last_ns = int(at_ns[-1])
            return np.tile(self._last.position_rad, (len(at_ns), 1))
        is_first = not held.is_sampled
        if is_first:
            self._begin(int(at_ns[0]), measured_rad, measured_rad_s)
        verdict = self._judged(held, int(at_ns[0]), measured_rad, is_first)
        if verdict.holds:
            return self._given_up(held, times_s, verdict, measured_rad)
        state = held.sample(at_ns + self._ahead_ns)
        self._last, self._last_ns = state.at(-1), int(at_ns[-1])
        return state.position_rad

    @property
    def _ahead_ns(self) -> int:
        return 0 if self.distribution == "humble" else to_ns(self.parameters.update_period_s)

    def _judged(self, held: HeldTrajectory, now_ns: int, measured_rad: Floats | None, is_first: bool) -> Verdict:
        """Look at tolerances and time-outs, and end a goal that has succeeded or failed."""
        if self.is_holding:
            return Verdict()
        assert held.start_ns is not None
        now = np.array([now_ns], np.int64)
        error = np.zeros(1) if measured_rad is None else held.sample(now).position_rad[0] - np.asarray(measured_rad)
        past_end_ns = now_ns - held.start_ns - int(held.points_ns[-1])
        verdict = supervise(self._tolerances, self.parameters, error, is_first, past_end_ns)
        if self.goal_is_active and verdict.outcome is not None:
            self.outcomes.append(verdict.outcome)
            self.goal_is_active = False
            if verdict.outcome == "SUCCESSFUL":
                self.is_holding = True  # the last point, which is held anyway
                return Verdict()
        return verdict

    def _given_up(self, held: HeldTrajectory, times_s: Floats, verdict: Verdict, measured_rad: Floats | None) -> Floats:
        """This cycle's set-point, or the last one again, then the measured position as if a message had asked."""
        now = np.array([to_ns(float(times_s[0]))], np.int64)
        position = self._last.position_rad if measured_rad is None else np.asarray(measured_rad, float)
        if verdict.writes:
            self._last = held.sample(now + self._ahead_ns).at(0)
        written = self._last.position_rad
        self._last_ns, self.is_holding = int(now[0]), True
        self._held = HeldTrajectory(None, np.zeros(1, np.int64), JointState(position[None], None, None))
        return np.concatenate([written[None], self.setpoints(times_s[1:])])

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
        points_ns = all_to_ns(message.times_from_start_s)
        stamp_ns = to_ns(message.stamp_s)
        held = self._held
        blends = self.distribution == "master" and self.parameters.allow_trajectory_replacement and not self.is_holding
        if blends and held is not None and held.is_sampled and len(held.points_ns) > 1 and self._last_ns is not None:
            points_ns, points = blended(held, points_ns, points, self._last_ns, max(stamp_ns - now_ns, 0))
            stamp_ns = 0
        interpolates = self.parameters.interpolation_method == "splines"
        self._held = HeldTrajectory(stamp_ns or None, points_ns, points, interpolates=interpolates)

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
