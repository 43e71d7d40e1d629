"""Push-T as the paper evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.env_pool import EpisodePool
from app.pusht import PushtEpisode, initial_state, keypoints
from app.runners import PushtRunner, make_runner
from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBuffer
from ladle.task import load_task

pytest.importorskip("gym_pusht")


class TowardsTheBlock:
    """Pushes through the block's centre, and beyond."""

    def reset(self, seed: int) -> None:
        """No noise."""

    def __call__(self, windows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """(n, To, 5) -> (n, 8, 2)."""
        state = windows["state"][:, -1]
        target = state[:, None, 2:4] + 30 * np.sin(np.arange(8))[None, :, None]
        return {"xy": target.astype(np.float64)}


def test_the_key_points_are_those_of_the_demonstrations(shared_data: Path):
    """Nine points from the recorded pose of the block, to a hundredth of a unit on nearly all steps."""
    buffer = ReplayBuffer.open(shared_data / "pusht_cchi_v7_replay.zarr")
    state, recorded = np.asarray(buffer["state"][:], np.float64), np.asarray(buffer["keypoint"][:])
    made = np.stack([keypoints(row) for row in state[::50]])
    error = np.abs(made - recorded[::50]).max(axis=(1, 2))
    assert np.quantile(error, 0.99) < 0.05


def test_pictures_are_those_of_the_demonstrations(shared_data: Path):
    """The environment drawn in recorded states, colours in the same order."""
    from app import pusht

    buffer = ReplayBuffer.open(shared_data / "pusht_cchi_v7_replay.zarr")
    env = pusht._environment()
    env.reset(seed=0)
    env.obs_type = "pixels"
    for step in (10, 100):
        state = np.asarray(buffer["state"][step], np.float64)
        env.agent.position, env.block.angle, env.block.position = state[:2].tolist(), state[4], state[2:4].tolist()
        env.space.reindex_shapes_for_body(env.agent)
        env.space.reindex_shapes_for_body(env.block)
        recorded = np.asarray(buffer["img"][step])
        assert np.mean(np.abs(env.get_obs() - recorded) > 30) < 0.01


def test_scenes_are_the_papers():
    """The old generator's draws in the paper's order; a seed is a scene for ever."""
    rng = np.random.RandomState(100_000)
    expected = [rng.randint(50, 450), rng.randint(50, 450), rng.randint(100, 400), rng.randint(100, 400)]
    state = initial_state(100_000)
    assert state[:4].tolist() == expected
    assert state[4] == rng.randn() * 2 * np.pi - np.pi


def test_physics_runs_at_the_papers_rates():
    """Ten steps of 10 ms a control step, PD gains 100 and 20."""
    episode = PushtEpisode(100_001, ["state"], 2, 5)
    env = episode._env
    assert (env.dt, env.control_hz, env.k_p, env.k_v, env.success_threshold) == (0.01, 10, 100, 20, 0.95)
    counted: list[float] = []
    step = env.space.step
    env.space.step = lambda dt: (counted.append(dt), step(dt))
    episode.act(np.array([[256.0, 256.0]]))
    assert counted == [0.01] * 10


def test_a_window_holds_the_newest_observations():
    """The first repeats at the start; after a chunk the last two steps are there, as without a chunk."""
    chunk = np.linspace([200, 200], [300, 300], 8)
    whole, single = (PushtEpisode(100_002, ["state", "keypoint"], 2, 300) for _ in range(2))
    first = whole.window()
    assert np.array_equal(first["state"][0], first["state"][1])
    assert first["keypoint"].shape == (2, 9, 2)
    whole.act(chunk)
    for action in chunk:
        single.act(action[None])
    assert np.array_equal(whole.window()["state"], single.window()["state"])
    assert not np.array_equal(whole.window()["state"][0], whole.window()["state"][1])


def test_an_episode_ends_after_its_last_step_and_keeps_its_best_score():
    """20 steps, although the chunks would be 24; the score never falls."""
    episode = PushtEpisode(100_003, ["state"], 2, 20)
    scores: list[float] = []
    while not episode.done:
        episode.act(np.full((8, 2), 250.0) + len(scores) * 20)
        scores.append(episode.score)
    assert episode.n_steps == 20
    assert scores == sorted(scores)


def test_processes_give_what_one_process_gives():
    """The same scores in the same order for one worker and for two."""
    found = [PushtRunner(range(100_000, 100_003), ["state"], 2, 40, workers).run(TowardsTheBlock())
             for workers in (1, 2)]
    assert found[0].scores.tolist() == found[1].scores.tolist()
    assert found[0].seeds.tolist() == [100_000, 100_001, 100_002]
    assert set(found[0].summary()) == {"rollout_score", "rollout_success"}


def test_a_workers_error_reaches_the_user():
    """A stream that Push-T lacks is one line, from another process too."""
    with EpisodePool([1, 2], ["wrist"], 2, 10, 2) as pool, pytest.raises(ConfigError, match="Push-T has no 'wrist'"):
        pool.windows()


def test_a_task_without_environment_is_refused():
    """The error says what to do instead."""
    from training.compose import compose_config
    from training.schema import PolicyConfig

    config = compose_config(PolicyConfig, "pusht_lowdim", []).config
    with pytest.raises(ConfigError, match=r"no rollouts while training for task 'scoop'.*rollout\.every=0"):
        make_runner(config, load_task("scoop"))
