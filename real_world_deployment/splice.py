"""A chunk of targets, late by its inference -> the continuation of the running motion."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.errors import KinematicsError, MotionError
from ladle.inverse_path import inverse_path
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from real_world_deployment.braking import braking_tail
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.fit import fit_motion
from real_world_deployment.safety import MotionLimits, check_seam, within_limits
from real_world_deployment.trajectory import JointState, JointTrajectory, on_grid

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

# Shares of the cut-off frequency, tried in this order: the path as asked, in time or slower; then smoother paths.
ATTEMPTS = (1.0, 0.7, 0.5, 0.35)


@dataclass(frozen=True)
class Splice:
    """A plan that repeats the running one until switch_s and then follows the chunk to rest.

    Attributes:
        trajectory: nodes of the running plan bit for bit before the switch, new ones from there.
        switch_s: where the new motion begins; a node of the trajectory.
        first_element: index into the chunk of the first target after the switch.
        slowed: whether the motion had to be made smoother or slower than asked to keep the limits.
        unreachable: how many targets at the end of the chunk were left out because no joints reach them.
    """

    trajectory: JointTrajectory
    switch_s: float
    first_element: int
    slowed: bool
    unreachable: int


class Splicer:
    """Joins chunks to the running motion.

    Args:
        part: name of the action part to follow, and its kind: "pose" (through inverse kinematics) or "joints".
        posture_rad: (J,) where the null space drifts to.
        spacing_s: the task's period, the time between two elements of a chunk.
    """

    def __init__(self, chain: KinematicChain, limits: MotionLimits, config: DeploymentConfig, part: str, kind: str,
                 posture_rad: Array, spacing_s: float) -> None:
        if kind not in {"pose", "joints"}:
            raise MotionError(f"action part {part!r} is of kind {kind!r}; an arm follows kind pose or joints")
        self._chain = chain
        self._limits = limits
        self._config = config
        self._part = part
        self._kind = kind
        self._posture = posture_rad
        self._spacing_s = spacing_s

    def join(self, chunk: ActionChunk, running: JointTrajectory, now_s: float) -> Splice:
        """The plan that follows the chunk from the first instant of the running plan that can still be changed.

        Targets are aligned by their time stamps; those up to the switch are past and dropped.

        Raises:
            MotionError: nothing of the chunk is left, its first target is out of reach, or no smooth motion keeps
                the limits. The running plan then goes on to its tail.
        """
        start = self._switch(running, now_s)
        times = chunk.times_s - self._config.tracking_delay_s
        kept = np.flatnonzero((times > start.time_s) & (times <= start.time_s + self._config.held_motion_s))
        if len(kept) == 0:
            raise MotionError(f"the chunk's targets end at {times[-1]:.3f} s, but the arm is committed until "
                              f"{start.time_s:.3f} s; the policy is slower than its horizon")
        joints = self._joints(self._targets(chunk)[kept], start.q_rad)
        new, slowed = self._planned(start, times[kept][:len(joints)], joints)
        plan = running.since(now_s - self._config.prefix_s).until(start.time_s, new)
        return Splice(plan, start.time_s, int(kept[0]), slowed, len(kept) - len(joints))

    def stop(self, running: JointTrajectory, now_s: float) -> Splice:
        """The plan that brings the arm to rest as fast as the limits allow.

        Raises:
            MotionError: the way to rest leaves the position range; the running plan then goes on to its tail.
        """
        start = self._switch(running, now_s)
        plan = running.since(now_s - self._config.prefix_s).until(start.time_s, braking_tail(start, self._limits))
        return Splice(plan, start.time_s, 0, slowed=False, unreachable=0)

    def _switch(self, running: JointTrajectory, now_s: float) -> JointState:
        """The running plan's state at the first millisecond at which it may be left."""
        return running.state(max(on_grid(now_s + self._config.switch_lead_s), running.start_s))

    def _targets(self, chunk: ActionChunk) -> Array:
        if self._part not in chunk.parts:
            raise MotionError(f"the chunk has no part {self._part!r}; it has: {', '.join(chunk.parts)}")
        targets = chunk.parts[self._part]
        width = 7 if self._kind == "pose" else self._chain.n_joints
        if targets.shape[1] != width:
            raise MotionError(f"action part {self._part!r} has {targets.shape[1]} columns, expected {width}")
        return targets

    def _joints(self, targets: Array, seed_rad: Array) -> Array:
        """(m, J) joints for targets, each seeded by the one before; shorter if a later one is out of reach."""
        if self._kind == "joints":
            return targets
        together = inverse_path(self._chain, targets, seed_rad, self._posture)
        if together is not None:
            return together
        joints: list[Array] = []
        for target in targets:
            try:
                seed_rad = self._chain.inverse(target, seed_rad, self._posture, restarts=0)
            except KinematicsError as error:
                if not joints:
                    raise MotionError(f"the chunk's first target is out of reach: {error}") from error
                log.warning("the last %d of %d targets are left out: %s", len(targets) - len(joints), len(targets),
                            error)
                break
            joints.append(seed_rad)
        return np.array(joints)

    def _planned(self, start: JointState, times_s: Array, q_rad: Array) -> tuple[JointTrajectory, bool]:
        """The first motion of ATTEMPTS that keeps the limits, and whether it is not the one asked for.

        One that is only too fast is slowed along its own path before a smoother path is tried.
        """
        reason = MotionError("no motion was tried")
        for cutoff_share in ATTEMPTS:
            motion = fit_motion(start, times_s, q_rad, self._config.tail_s, cutoff_share * self._config.cutoff_hz,
                                self._spacing_s)
            try:
                motion, slowed = within_limits(motion, self._limits)
                check_seam(start, motion.state(start.time_s))
            except MotionError as error:
                reason = error
                continue
            if slowed or cutoff_share < 1.0:
                log.info("motion made slower or smoother (cut-off x%.2f): %s", cutoff_share, slowed or reason)
            return motion, bool(slowed) or cutoff_share < 1.0
        raise reason

