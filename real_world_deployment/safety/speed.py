"""The speed override: the policy's time runs at a share of the clock's.

A chunk speaks of instants after its observation; at speed k what it wants T seconds later is to be reached T / k
later. Everything that is counted in the policy's time is stretched alike (period of the ticks, spacing of the observed
frames, motion held, filter), so a policy that is asked sees the motion that it would see at full speed. Velocity limits
shrink by k; those of acceleration stay, so that stopping takes no longer. Tail, staleness and latency are the machine's
and stay.
"""

from __future__ import annotations

from dataclasses import replace

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk
from real_world_deployment.config import DeploymentConfig

FASTEST_HOMING = 0.95  # share of the velocity limits: a plan at the limit itself fails by rounding


def stretched_chunk(chunk: ActionChunk, speed: float) -> ActionChunk:
    """The same targets in the same order, 1 / speed times as far from the observation."""
    if speed == 1.0:
        return chunk
    origin_s = chunk.observation_time_s
    return replace(chunk, times_s=origin_s + (chunk.times_s - origin_s) / speed)


def stretched_config(config: DeploymentConfig) -> DeploymentConfig:
    """The configuration in the machine's time: what counts in the policy's is divided by the speed."""
    return replace(config, held_motion_s=config.held_motion_s / config.speed,
                   cutoff_hz=config.cutoff_hz * config.speed)


def homing_share(config: DeploymentConfig) -> float:
    """Homing is held to the slower of its own share and the override, as a share of the scaled limits."""
    return min(config.home_speed_share / config.speed, FASTEST_HOMING)


def check_chunking(chunking: str, speed: float) -> None:
    """Raise DeploymentError for a way of joining chunks that would mix the policy's time with the machine's."""
    if speed != 1.0 and chunking in ("ensemble", "real_time"):
        raise DeploymentError(f"chunking {chunking} looks at chunks in the policy's own time, which at speed "
                              f"{speed:g} is not the machine's; use chunking replace, or speed 1")


def check_memory(n_obs_steps: int, period_s: float, kept_s: float) -> None:
    """Raise DeploymentError when the frames of a window lie farther apart than observations are kept."""
    span_s = (n_obs_steps - 1) * period_s
    if span_s > kept_s - period_s:
        raise DeploymentError(f"at this speed a policy of {n_obs_steps} observations looks back {span_s:.1f} s, but "
                              f"observations are kept for {kept_s:g} s; choose a speed of at least "
                              f"{n_obs_steps * period_s / kept_s:.2f} times the present one")
