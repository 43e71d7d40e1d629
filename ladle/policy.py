"""What a policy is asked and what it answers, without saying who provides it.

Deployment takes a `Policy`; training builds one from a checkpoint. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ladle.errors import MotionError, ObservationError

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
class ActionChunk:
    """Future targets with the instants at which they are to be reached.

    Attributes:
        observation_time_s: t0 of the window that the chunk answers.
        times_s: (n,) strictly increasing, same clock as the window; element i of the horizon is at
            t0 + (i - To + 2) dt.
        parts: named action part -> (n, D): pose (n, 7) metres and quaternion xyzw, joints (n, 7) rad, xy (n, 2).
        stage: most likely stage of the newest observation after hysteresis, None without a classifier.
        stage_probabilities: (n_stages,) of the newest observation, None without a classifier.
    """

    observation_time_s: float
    times_s: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]]
    stage: int | None = None
    stage_probabilities: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.times_s)
        if n == 0 or bool(np.any(np.diff(self.times_s) <= 0)):
            raise MotionError(f"an action chunk needs strictly increasing times, got {n} times {self.times_s}")
        for name, part in self.parts.items():
            if len(part) != n or not bool(np.all(np.isfinite(part))):
                raise MotionError(f"action part {name!r} has {len(part)} rows for {n} times, or is not finite")


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
