"""Push-T episodes in gym-pusht under the rules of the Diffusion Policy paper.

Ten physics steps of 10 ms a control step, PD control towards the action; the score of a step is the share of the goal
that the block covers over 0.95, at most 1; an episode ends above that, or after its last step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import ConfigError

RATE_HZ = 10.0
STREAMS = ("img", "keypoint", "state")
VIDEO_PX = 256
# The environment unites the block's shapes in the order of a set, so a score's last bit differs from run to run.
SCORE_DECIMALS = 9

# gym-pusht gives eight key points of its own; the recorded demonstrations hold nine others. These are theirs in the
# block's frame, in the environment's units: the mean of R(-angle) (keypoint - position) over all recorded steps.
LOCAL_KEYPOINTS = np.array([
    [9.2698, 90.0410], [-60.9835, -1.1867], [60.9128, -1.3934], [-0.2705, 25.5436], [-14.0649, 122.8159],
    [39.0027, 32.8574], [-39.9664, 32.7297], [-16.8243, 62.8632], [23.5415, -1.7003],
])


def initial_state(seed: int) -> NDArray[np.float64]:
    """Agent x, y, block x, y and angle with which the paper's environment begins for a seed: (5,).

    It draws from numpy's old generator; gym-pusht's own seeds give other scenes.
    """
    rng = np.random.RandomState(seed)
    corners = [rng.randint(50, 450), rng.randint(50, 450), rng.randint(100, 400), rng.randint(100, 400)]
    return np.array([*corners, rng.randn() * 2 * np.pi - np.pi], np.float64)


def keypoints(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """The block's key points as in the demonstrations: state (5,) -> (9, 2)."""
    cosine, sine = np.cos(state[4]), np.sin(state[4])
    return LOCAL_KEYPOINTS @ np.array([[cosine, sine], [-sine, cosine]]) + state[2:4]


class PushtEpisode:
    """One episode; what a policy sees is made only when it is asked for.

    Attributes:
        score: best so far. done: whether it is over. n_steps: control steps taken.
        frames: pictures for people, (VIDEO_PX, VIDEO_PX, 3) uint8, where they are wanted.
    """

    def __init__(self, seed: int, streams: Iterable[str], n_obs_steps: int, max_steps: int, film: bool = False) -> None:
        unknown = sorted(set(streams) - set(STREAMS))
        if unknown:
            raise ConfigError(f"Push-T has no {unknown[0]!r}; a policy for it can see {', '.join(STREAMS)}")
        self._streams, self._n_obs_steps, self._max_steps, self._film = tuple(streams), n_obs_steps, max_steps, film
        self._env = _environment()
        # As the paper does it: position before angle, then one physics step. That turns the block about its centre of
        # mass, so the block does not stand where the five numbers say; the same scenes are what matters here.
        state, _ = self._env.reset(seed=seed, options={"reset_to_state": initial_state(seed)})
        self.seed, self.score, self.done, self.n_steps = seed, 0.0, False, 0
        self.frames: list[NDArray[np.uint8]] = []
        self._observed = [self._observe(state)] * n_obs_steps
        self._take_frame()

    def window(self) -> dict[str, NDArray[Any]]:
        """The newest n_obs_steps observations, key -> (To, ...); the first repeats at the beginning."""
        return {key: np.stack([seen[key] for seen in self._observed]) for key in self._streams}

    def act(self, actions: NDArray[np.float64]) -> None:
        """Execute target positions (Ta, 2) one after the other, until the episode is over."""
        for number, action in enumerate(actions):
            if self.done:
                return
            state, reward, success, _, _ = self._env.step(action)
            self.n_steps += 1
            self.score = max(self.score, round(float(reward), SCORE_DECIMALS))
            self.done = bool(success) or self.n_steps >= self._max_steps
            self._take_frame()
            if len(actions) - number <= self._n_obs_steps:  # nothing else of a chunk is ever looked at
                self._observed = [*self._observed, self._observe(state)][-self._n_obs_steps:]

    def _observe(self, state: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        seen: dict[str, NDArray[Any]] = {}
        for key in self._streams:
            if key == "img":
                self._env.obs_type = "pixels"
                seen[key] = self._env.get_obs()
                self._env.obs_type = "state"
            else:
                seen[key] = (keypoints(state) if key == "keypoint" else state).astype(np.float32)
        return seen

    def _take_frame(self) -> None:
        if self._film:
            self.frames.append(np.asarray(self._env.render(), np.uint8))


def _environment() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        from gym_pusht.envs.pusht import PushTEnv
    except ImportError as error:
        raise ConfigError(f"Push-T needs the package gym-pusht ({error}); pip install gym-pusht, or "
                          "pip install 'ladle[pusht]'") from error
    return PushTEnv(obs_type="state", visualization_width=VIDEO_PX, visualization_height=VIDEO_PX)
