"""From a checkpoint to a policy, and what it answers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ladle.errors import CheckpointError, ObservationError
from ladle.policy import ObservationWindow, Policy
from ladle.replay_buffer import ReplayBuffer
from ladle.task import load_task
from training.checkpoint import EMA, open_checkpoint
from training.dataset import load_steps
from training.features import ActionCodec
from training.inference import load_policy
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig
from training.window_batch import make_batch
from training.windows import validation_mask


def shifted(window: ObservationWindow, ticks: int) -> ObservationWindow:
    """The same images so many ticks later."""
    return replace(window, decision_time_s=window.decision_time_s + 0.1 * ticks,
                   observation_times_s=window.observation_times_s + 0.1 * ticks)


def test_a_loaded_policy_predicts_what_the_trained_one_does(tiny_policy: Path, scoop_window: ObservationWindow):
    """Sampling the averaged network by hand gives the chunk's poses."""
    policy = load_policy(tiny_policy)
    assert not any(module.training for module in policy.network.modules()), "no dropout, no batch statistics"
    policy.reset(3)
    chunk = policy.predict(scoop_window)
    opened = open_checkpoint(tiny_policy, "policy")
    config = opened.config(PolicyConfig)
    network = DiffusionPolicy(config, opened.task)
    network.load_state_dict(opened.tensors(EMA))
    batch = make_batch(scoop_window, config.observations, "cpu", stage=chunk.stage)
    expected = network.eval().sample(batch, torch.Generator().manual_seed(3))[0, 1:].numpy()
    np.testing.assert_allclose(chunk.parts["pose"][:, :3], expected[:, :3], atol=1e-6)


def test_a_policy_knows_where_its_training_episodes_began(tiny_policy: Path, scoop_buffer: Path):
    """First poses of the episodes that it was trained on, not of the one held out."""
    buffer = ReplayBuffer.open(scoop_buffer)
    held_out = validation_mask(buffer.n_episodes, 0.25, open_checkpoint(tiny_policy, "policy").config(
        PolicyConfig).training.seed)
    firsts = [buffer["eef"][buffer.episode_slice(number)][0] for number in np.flatnonzero(~held_out)]
    starts = load_policy(tiny_policy).start_poses
    assert len(firsts) == 3
    np.testing.assert_allclose(starts, np.stack(firsts), atol=1e-6)


def test_the_chunk_begins_one_period_after_the_observation(tiny_policy: Path, scoop_window: ObservationWindow):
    """Element i of the horizon is due at t0 + (i - To + 2) dt and those before the present are left out."""
    policy: Policy = load_policy(tiny_policy)
    policy.reset(0)
    chunk = policy.predict(scoop_window)
    assert chunk.observation_time_s == scoop_window.time_s
    np.testing.assert_allclose(chunk.times_s, scoop_window.time_s + 0.1 * np.arange(1, 16))
    assert chunk.parts["pose"].shape == (15, 7)
    np.testing.assert_allclose(np.linalg.norm(chunk.parts["pose"][:, 3:], axis=1), 1.0)
    assert policy.observation_keys == ("camera_1", "eef")
    assert policy.n_obs_steps == 2


def test_the_seed_decides_the_noise(tiny_policy: Path, scoop_window: ObservationWindow):
    """The same seed repeats an answer, another one does not."""
    policy = load_policy(tiny_policy)

    def ask(seed: int) -> np.ndarray:
        policy.reset(seed)
        return policy.predict(scoop_window).parts["pose"]

    assert np.array_equal(ask(1), ask(1))
    assert not np.array_equal(ask(1), ask(2))


def test_the_stage_is_held_until_two_ticks_agree(tiny_policy: Path, scoop_window: ObservationWindow,
                                                  scoop_window_lifted: ObservationWindow):
    """The classifier runs once a tick; a single frame of another stage does not switch the policy."""
    policy = load_policy(tiny_policy)
    policy.reset(0)
    assert policy.predict(scoop_window).stage == 1
    lifted = scoop_window_lifted.streams["camera_1"]
    mixed = {**scoop_window.streams, "camera_1": np.stack([scoop_window.streams["camera_1"][1], lifted[1]])}
    later = replace(shifted(scoop_window, 1), streams=mixed)
    first = policy.predict(later)
    assert first.stage == 1
    assert first.stage_probabilities is not None
    assert int(np.argmax(first.stage_probabilities)) == 2
    assert policy.predict(later).stage == 1, "the same tick asked twice counts once"
    both = replace(shifted(scoop_window, 2), streams={**scoop_window.streams, "camera_1": lifted})
    assert policy.predict(both).stage == 2
    policy.reset(0)
    assert policy.predict(scoop_window).stage == 1


def test_a_blind_policy_sees_black(tiny_policy: Path, scoop_window: ObservationWindow):
    """What the camera shows makes no difference to it."""
    blind = load_policy(tiny_policy, blind=True)
    black = {**scoop_window.streams, "camera_1": np.zeros_like(scoop_window.streams["camera_1"])}
    answers = []
    for window in (scoop_window, replace(scoop_window, streams=black)):
        blind.reset(0)
        answers.append(blind.predict(window).parts["pose"])
    assert np.array_equal(*answers)


def test_images_are_the_same_in_training_and_on_the_robot(scoop_buffer: Path, tiny_policy: Path):
    """The batch made from a live window equals the rows that training gathers, bit for bit."""
    from ladle.replay_buffer import ReplayBuffer

    config = open_checkpoint(tiny_policy, "policy").config(PolicyConfig)
    buffer = ReplayBuffer.open(scoop_buffer)
    steps = load_steps(buffer, config.observations, ActionCodec(load_task("scoop")))
    window = ObservationWindow(1.0, np.array([0.9, 1.0]), {key: buffer[key][9:11] for key in ("camera_1", "eef")})
    live = make_batch(window, config.observations, "cpu")
    assert np.array_equal(live.images["camera_1"][0].numpy(), steps.images["camera_1"][9:11])
    assert live.images["camera_1"].shape == (1, 2, 60, 120, 3)
    assert np.array_equal(live.low_dim["eef"][0].numpy(), steps.low_dim["eef"][9:11])


@pytest.mark.parametrize(("change", "message"), [
    ({"rate_hz": 5.0}, "rate_hz is 10.0, task scoop has 5.0"),
    ({"name": "stir"}, "name is 'scoop'"),
    ({"cameras": {}}, "its cameras is"),
])
def test_a_checkpoint_for_another_task_is_refused(change: dict, message: str, tiny_policy: Path):
    """The error names what differs."""
    with pytest.raises(CheckpointError, match=message):
        load_policy(tiny_policy, task=replace(load_task("scoop"), **change))
    assert load_policy(tiny_policy, task=load_task("scoop")).task == load_task("scoop")


def test_a_window_that_does_not_fit_is_refused(tiny_policy: Path, scoop_window: ObservationWindow):
    """Missing streams, other sizes and other numbers of steps are named."""
    policy = load_policy(tiny_policy)
    streams = dict(scoop_window.streams)
    with pytest.raises(ObservationError, match="lacks camera_1"):
        policy.predict(replace(scoop_window, streams={"eef": streams["eef"]}))
    with pytest.raises(ObservationError, match=r"camera_1 has shape \(60, 120\)"):
        policy.predict(replace(scoop_window, streams={**streams, "camera_1": streams["camera_1"][:, ::2, ::2]}))
    with pytest.raises(ObservationError, match="needs 2 observations, the window has 1"):
        policy.predict(ObservationWindow(1.5, np.array([1.5]), {key: value[1:] for key, value in streams.items()}))


def test_the_robot_needs_neither_hydra_nor_diffusers_nor_zarr(root: Path):
    """Importing the door to a policy loads none of them."""
    code = ("import sys, training.inference; "
            "print(sorted({'hydra', 'omegaconf', 'diffusers', 'zarr', 'wandb', 'rclpy'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_watched_ticks_count_for_the_stage(tiny_policy: Path, scoop_window: ObservationWindow,
                                           scoop_window_lifted: ObservationWindow):
    """A policy that is asked at every fourth tick only is shown the others, and its stage follows them."""
    policy = load_policy(tiny_policy)
    policy.reset(0)
    assert policy.predict(scoop_window).stage == 1
    streams = {**scoop_window.streams, "camera_1": scoop_window_lifted.streams["camera_1"]}
    lifted = replace(scoop_window, streams=streams)
    policy.observe(shifted(lifted, 1))
    policy.observe(shifted(lifted, 2))
    back = policy.predict(shifted(scoop_window, 3))
    assert back.stage == 2, "two watched ticks changed it, and one tick back does not"


def test_a_new_episode_knows_nothing_of_the_last_ones_stage(tiny_policy: Path, scoop_window: ObservationWindow,
                                                            scoop_window_lifted: ObservationWindow):
    """Its first tick decides at once, also where its clock begins where the last one stood."""
    policy = load_policy(tiny_policy)
    policy.reset(0)
    assert policy.predict(scoop_window).stage == 1
    camera = np.stack([scoop_window_lifted.streams["camera_1"][0], scoop_window.streams["camera_1"][1]])
    policy.reset(0)
    assert policy.predict(replace(scoop_window, streams={**scoop_window.streams, "camera_1": camera})).stage == 2


def test_a_blind_policy_watches_blindly(tiny_policy: Path, scoop_window: ObservationWindow,
                                        scoop_window_lifted: ObservationWindow):
    """Its stage follows nothing that the camera showed between two questions."""
    policy, stages = load_policy(tiny_policy, blind=True), set[int | None]()
    for camera in (scoop_window.streams["camera_1"], scoop_window_lifted.streams["camera_1"]):
        policy.reset(0)
        watched = replace(scoop_window, streams={**scoop_window.streams, "camera_1": camera})
        policy.observe(watched)
        policy.observe(shifted(watched, 1))
        stages.add(policy.predict(shifted(watched, 2)).stage)
    assert len(stages) == 1
