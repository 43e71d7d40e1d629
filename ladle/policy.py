"""What a policy is asked and what it answers, without saying who provides it.

Deployment takes a `Policy`; training builds one from a checkpoint. Neither knows the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError, MotionError, ObservationError

Array = NDArray[Any]


@dataclass(frozen=True)
class ObservationWindow:
    """The last To observations, oldest first.

    Attributes:
        decision_time_s: when the policy is asked (d), in seconds of the run's clock.
        observation_times_s: (To,) observation time of each tick; the last is t0 <= decision_time_s.
        streams: key -> (To, ...), named as in the replay buffer: camera_1 (To, H, W, 3) uint8 RGB,
            depth_0 (To, H, W) uint16 ticks, eef (To, 7) metres and quaternion xyzw.
    """

    decision_time_s: float
    observation_times_s: NDArray[np.float64]
    streams: Mapping[str, Array]

    def __post_init__(self) -> None:
        steps = len(self.observation_times_s)
        lengths = {key: len(value) for key, value in self.streams.items()}
        if steps == 0 or any(length != steps for length in lengths.values()):
            raise ObservationError(f"a window of {steps} observation times got streams of lengths {lengths}; "
                                   "every stream must have one entry per observation time")

    @property
    def time_s(self) -> float:
        """Observation time t0 of the newest entry."""
        return float(self.observation_times_s[-1])


@dataclass(frozen=True)
class MonitorScore:
    """How unlike the demonstrations something is; 0 is like them.

    Attributes:
        value: what was found.
        slow_above, hold_above: calibrated limits; beyond the second the robot had better not move.
    """

    value: float
    slow_above: float
    hold_above: float


@dataclass(frozen=True)
class ActionChunk:
    """Future targets with the instants at which they are to be reached.

    Attributes:
        observation_time_s: t0 of the window that the chunk answers.
        times_s: (n,) strictly increasing, same clock as the window; element i of the horizon is at
            t0 + (i - To + 2) dt.
        parts: named action part -> (n, D): pose (n, 7) metres and quaternion xyzw, joints (n, 7) rad, xy (n, 2).
        stage: most likely stage of the newest observation after hysteresis, None without a classifier.
        stage_probabilities: (n_stages,) of the newest observation, calibrated: of the decisions made with 0.8, eight
            in ten are right. None without a classifier.
        monitor: name of a score (spread, distance, disagreement) -> how far from the demonstrations the decision was
            made. None where the policy has no calibrated monitor, or did not look this time.
    """

    observation_time_s: float
    times_s: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]]
    stage: int | None = None
    stage_probabilities: NDArray[np.float64] | None = None
    monitor: Mapping[str, MonitorScore] | None = None

    def __post_init__(self) -> None:
        n = len(self.times_s)
        if n == 0 or bool(np.any(np.diff(self.times_s) <= 0)):
            raise MotionError(f"an action chunk needs strictly increasing times, got {n} times {self.times_s}")
        for name, part in self.parts.items():
            if len(part) != n or not bool(np.all(np.isfinite(part))):
                raise MotionError(f"action part {name!r} has {len(part)} rows for {n} times, or is not finite")

    @property
    def stage_confidence(self) -> float | None:
        """How likely the stage that holds is right; low while the hysteresis waits, None without a classifier."""
        if self.stage is None or self.stage_probabilities is None:
            return None
        return float(self.stage_probabilities[self.stage])


@dataclass(frozen=True)
class RunningChunk:
    """What the robot executes while the next chunk is made.

    Attributes:
        chunk: with the instants of its own targets.
        frozen_until_s: targets up to this instant will have been executed, or can no longer be changed, when the next
            chunk can first be used: the time of the decision and the expected delay.
    """

    chunk: ActionChunk
    frozen_until_s: float


@dataclass(frozen=True)
class Guidance:
    """A mass to ask for, and how hard.

    Attributes:
        target_mass_g: final mass in grams.
        weight: 0 ignores the mass, 1 follows it as it was learnt, more exaggerates it.
    """

    target_mass_g: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.target_mass_g) and self.target_mass_g >= 0):
            raise ConfigError(f"target_mass_g {self.target_mass_g}: a mass in grams must be 0 or more")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(f"guidance_weight {self.weight}: it must be 0 or more; 1 follows the mass as learnt")

    @classmethod
    def from_parameters(cls, target_mass_g: float, weight: float) -> Guidance | None:
        """The wish in plain numbers, as a node's parameters hold it: a target that is not a number asks for none.

        Raises:
            ConfigError: a value that cannot be, or a weight without a target.
        """
        if not math.isnan(target_mass_g):
            return cls(target_mass_g, weight)
        if weight != 1.0:
            raise ConfigError(f"guidance_weight {weight:g} has no target_mass_g to weigh; give one, or leave it out")
        return None


class Policy(Protocol):
    """Answers an observation window with an action chunk."""

    @property
    def n_obs_steps(self) -> int:
        """To: how many ticks a window holds."""
        ...

    @property
    def observation_keys(self) -> tuple[str, ...]:
        """The streams that the policy reads, named as in the replay buffer (`eef`, `camera_1`, ...)."""
        ...

    def reset(self, seed: int) -> None:
        """Forget the last episode; all randomness of the next one comes from the seed."""
        ...

    def predict(self, window: ObservationWindow) -> ActionChunk:
        """Targets for the ticks from t0 + dt on."""
        ...


@runtime_checkable
class GuidedPolicy(Policy, Protocol):
    """A policy that can be asked for a mass while it runs."""

    def guide(self, guidance: Guidance | None) -> None:
        """From the next prediction on, ask for a mass; None asks for none.

        Raises:
            CheckpointError: the policy was not told the mass in its training.
        """
        ...


@runtime_checkable
class ContinuingPolicy(Policy, Protocol):
    """A policy whose next chunk can continue the one that is being executed (real-time chunking)."""

    def predict_next(self, window: ObservationWindow, running: RunningChunk) -> ActionChunk:
        """As `predict`; what is frozen of the running chunk is kept, and the rest fits to it."""
        ...


@runtime_checkable
class DemonstratedPolicy(Policy, Protocol):
    """A policy that knows where its demonstrations began."""

    @property
    def start_poses(self) -> NDArray[np.float64] | None:
        """(n, 7) poses of the tip, metres and quaternion xyzw; None where it was not told."""
        ...


def starts_of(policy: Policy) -> NDArray[np.float64] | None:
    """(n, 7) where a policy's demonstrations began, if it knows."""
    return policy.start_poses if isinstance(policy, DemonstratedPolicy) else None


def action_steps_of(policy: Policy) -> int | None:
    """How many targets of a chunk the policy means to be executed (Ta); None where it does not tell."""
    told: int | None = getattr(policy, "n_action_steps", None)
    return told


def can_continue(policy: Policy) -> TypeGuard[ContinuingPolicy]:
    """Whether its next chunk can continue a running one; a policy elsewhere `continues` only if that one can."""
    return isinstance(policy, ContinuingPolicy) and bool(getattr(policy, "continues", True))
