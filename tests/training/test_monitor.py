"""The monitor of a policy: what is normal stays below its limits, what is not exceeds them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from ladle.errors import CheckpointError, ConfigError
from ladle.policy import MonitorScore, ObservationWindow
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_text
from training.calibrate import CalibrationSettings, calibrate, episode_windows
from training.inference import CheckpointPolicy, load_policy
from training.monitor import BANK, FOLDER, LIMITS, FeatureBank
from training.train import run

TICKS, EVERY = 12, 2
EPISODES = 64


def moving_square(seed: int) -> dict[str, NDArray]:
    """The arm goes down and up, and a bright square shows how far."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 2 * np.pi, TICKS)
    images = rng.integers(54, 67, (TICKS, 120, 240, 3), np.uint8)
    for image, now in zip(images, phase, strict=True):
        column = round(100 + 40 * np.cos(now))
        image[50:80, column:column + 30] += 120
    eef = np.zeros((TICKS, 7), np.float32)
    eef[:, :3] = rng.uniform(-0.02, 0.02, 3) + np.array([0.45, 0.0, 0.3])
    eef[:, 2] += 0.1 * np.cos(phase)
    eef[:, 3] = 1.0
    return {"camera_1": images, "eef": eef,
            "action": np.concatenate([eef[1:], eef[-1:]])}


def buffer_of(path: Path, seeds: range) -> Path:
    """Episodes as a replay buffer."""
    with ReplayBufferWriter(path, {"task": task_text(load_task("scoop"))}) as writer:
        for seed in seeds:
            writer.append_episode(moving_square(seed))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of the episodes is held out."""
    return buffer_of(tmp_path_factory.mktemp("monitor") / "b.zarr", range(EPISODES))


@pytest.fixture(scope="module")
def uncalibrated(data: Path, tiny_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy, trained for a little."""
    return run([*tiny_overrides, f"task.dataset_path={data}", "observations.stage=none", "training.max_steps=60",
                "training.validate_every=60", "training.checkpoint_every=60", "diffusion.sample_steps=4",
                f"training.output_dir={tmp_path_factory.mktemp('policy')}"])


@pytest.fixture(scope="module")
def calibrated(data: Path, uncalibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its monitor."""
    folder = tmp_path_factory.mktemp("calibrated") / uncalibrated.name
    shutil.copytree(uncalibrated, folder)
    calibrate(folder, data, CalibrationSettings(decision_ticks=EVERY))
    return folder


def decisions(policy: CheckpointPolicy, path: Path, change=lambda window: window) -> list[dict[str, MonitorScore]]:
    """The scores of all decisions over all episodes of a buffer, each window changed before it is shown."""
    found, buffer = [], ReplayBuffer.open(path)
    for episode in range(buffer.n_episodes):
        policy.reset(100 + episode)
        for window, due in episode_windows(buffer, episode, policy, EVERY):
            if due:
                scores = policy.predict(change(window)).monitor
                assert scores is not None
                found.append(dict(scores))
    return found


def beyond(scores: dict[str, MonitorScore]) -> bool:
    """Whether any limit for slow is exceeded."""
    return any(score.value > score.slow_above for score in scores.values())


def with_streams(window: ObservationWindow, **streams: NDArray) -> ObservationWindow:
    return replace(window, streams={**window.streams, **streams})


def test_normal_observations_stay_below(calibrated: Path, tmp_path: Path):
    """Of the decisions in episodes that neither training nor calibration has seen, at least 95 in 100."""
    scores = decisions(load_policy(calibrated), buffer_of(tmp_path / "new.zarr", range(100, 110)))
    share = {name: np.mean([found[name].value > found[name].slow_above for found in scores if name in found])
             for name in scores[1]}
    assert np.mean([beyond(found) for found in scores]) <= 0.05, share
    assert set(scores[1]) == {"spread", "distance", "disagreement"}
    assert set(scores[0]) == {"spread", "distance"}, "the first decision has none before it"


@pytest.mark.parametrize("what", ["black", "noise", "shuffled"])
def test_what_was_never_shown_exceeds(calibrated: Path, tmp_path: Path, what: str):
    """Black and noisy images, and the numbers of the pose in another order."""
    rng = np.random.default_rng(0)

    def change(window: ObservationWindow) -> ObservationWindow:
        image = window.streams["camera_1"]
        if what == "shuffled":
            return with_streams(window, eef=window.streams["eef"][:, [2, 0, 1, 5, 3, 6, 4]])
        return with_streams(window, camera_1=np.zeros_like(image) if what == "black"
                            else rng.integers(0, 256, image.shape, np.uint8))

    scores = decisions(load_policy(calibrated), buffer_of(tmp_path / "new.zarr", range(100, 102)), change)
    assert all(beyond(found) for found in scores)


def test_the_monitor_does_not_change_the_motion(calibrated: Path, uncalibrated: Path, data: Path):
    """Chunk for chunk, bit for bit."""
    policies = [load_policy(calibrated), load_policy(calibrated, monitored=False), load_policy(uncalibrated)]
    assert [policy.monitor is not None for policy in policies] == [True, False, False]
    answers = []
    for policy in policies:
        policy.reset(3)
        windows = [window for window, due in episode_windows(ReplayBuffer.open(data), 0, policy, EVERY) if due]
        answers.append(np.stack([policy.predict(window).parts["pose"] for window in windows]))
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def test_a_checkpoint_without_limits_says_so(uncalibrated: Path, caplog: pytest.LogCaptureFixture):
    """With the command that makes them."""
    load_policy(uncalibrated)
    assert "has no calibrated monitor" in caplog.text
    assert "ladle calibrate" in caplog.text


def test_what_was_written_is_read(calibrated: Path, data: Path):
    """Limits and bank: scores before and after are the same."""
    told = json.loads((calibrated / FOLDER / LIMITS).read_text())
    policy = load_policy(calibrated)
    policy.reset(1)
    window = next(window for window, _ in episode_windows(ReplayBuffer.open(data), 2, policy, 1))
    scores = policy.predict(window).monitor
    assert scores is not None
    assert [scores["distance"].slow_above, scores["distance"].hold_above] == told["limits"]["distance"]
    assert told["decisions"] == EPISODES // 4 * TICKS // EVERY
    assert told["limits"]["spread"][0] < told["limits"]["spread"][1]
    bank = load_file(calibrated / FOLDER / BANK)["features"]
    assert len(bank) == 3 * EPISODES // 4 * TICKS, "of the episodes that were trained on"


def damage_bank(folder: Path) -> None:
    (folder / "features.safetensors").write_bytes(b"no tensors")


def take_other_weights(folder: Path) -> None:
    told = json.loads((folder / LIMITS).read_text())
    told["sha256"]["ema.safetensors"] = "0" * 64
    (folder / LIMITS).write_text(json.dumps(told))


def cut_off(folder: Path) -> None:
    (folder / LIMITS).write_text((folder / LIMITS).read_text()[:40])


@pytest.mark.parametrize(("damage", "message"), [
    (damage_bank, "missing or damaged"), (take_other_weights, "other weights"), (cut_off, "is damaged")])
def test_a_damaged_monitor_is_refused(calibrated: Path, tmp_path: Path, damage, message: str):
    """Rather than run without: someone relies on it."""
    shutil.copytree(calibrated, tmp_path / "c")
    damage(tmp_path / "c" / FOLDER)
    with pytest.raises(CheckpointError, match=message):
        load_policy(tmp_path / "c")


def test_a_policy_that_has_seen_everything_cannot_be_calibrated(data: Path, uncalibrated: Path, tmp_path: Path,
                                                                tiny_overrides: list[str]):
    """The error says what to train with."""
    whole = run([*tiny_overrides, f"task.dataset_path={data}", "observations.stage=none", "training.max_steps=1",
                 "training.val_ratio=0.0", f"training.output_dir={tmp_path}"])
    with pytest.raises(ConfigError, match=r"trained on all 64 episodes .* higher training\.val_ratio"):
        calibrate(whole, data, CalibrationSettings())


def test_the_distance_is_that_to_the_nearest():
    """Five neighbours, each feature in units of its own spread."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((200, 3), generator=generator) * torch.tensor([1.0, 10.0, 0.0]) + 5
    bank, point = FeatureBank.of(rows), torch.tensor([5.0, 5.0, 5.1])
    spread = rows.std(dim=0).clamp_min(0.02)
    gaps = (((rows - point) / spread).square().mean(dim=1)).sqrt().sort().values[:5]
    assert bank.distance(point) == pytest.approx(float(gaps.mean()), rel=1e-4)
