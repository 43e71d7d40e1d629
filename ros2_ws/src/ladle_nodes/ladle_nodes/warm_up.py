"""Before anything moves: how long does the policy take, on this machine, for what the robot sees now?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ladle.errors import DeploymentError, ObservationError
from ladle.policy import ActionChunk, ObservationWindow
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.latency import refuse_short_horizon
from real_world_deployment.observation import ObservationBuffer
from real_world_deployment.process_caller import ProcessCaller

log = logging.getLogger("ladle.policy")

QUESTIONS = 10
WINDOW_TIMEOUT_S = 60.0


def measure_latency(caller: ProcessCaller, observations: ObservationBuffer, receive: Callable[[], float],
                    config: DeploymentConfig, period_s: float) -> None:
    """Ask a few times and throw the answers away: the run begins with a reset.

    Args:
        receive: takes in what has come, and tells the time of the observations' clock.

    Raises:
        DeploymentError: no observations come, the policy fails or ends, or its horizon cannot cover its latency.
    """
    window = _first_window(caller, observations, receive, period_s / config.speed)
    chunk = _answer(caller, window, receive)  # the first one also pays for what is made at first use
    caller.latency.clear()
    for _ in range(QUESTIONS):
        chunk = _answer(caller, window, receive)
    log.info("the policy answers in %.3f s (median), %.3f s (95 %%)", caller.latency.p50_s, caller.latency.p95_s)
    refuse_short_horizon(caller.latency, chunk, window.decision_time_s, config, period_s, caller.n_action_steps)


def _first_window(caller: ProcessCaller, observations: ObservationBuffer, receive: Callable[[], float],
                  period_s: float) -> ObservationWindow:
    give_up_s, reason = time.monotonic() + WINDOW_TIMEOUT_S, "nothing"
    while time.monotonic() < give_up_s:
        now_s = receive()
        try:
            return observations.window([now_s - age * period_s for age in reversed(range(caller.n_obs_steps))],
                                       caller.observation_keys)
        except ObservationError as error:
            reason = str(error)
    raise DeploymentError(f"waited {WINDOW_TIMEOUT_S:.0f} s for a first observation: {reason}")


def _answer(caller: ProcessCaller, window: ObservationWindow, receive: Callable[[], float]) -> ActionChunk:
    caller.ask(window)
    while (chunk := caller.answer()) is None:
        receive()
    return chunk
