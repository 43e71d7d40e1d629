"""`ladle bench load`: windows a second, next to a sampler that works window by window and to a bare gather.

Frames are made up, as many and as large as Push-T's; ours and the baselines alternate in one process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.benchmarks.baselines_training import PerSampleSampler
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task
from training.compose import compose_config
from training.dataset import Steps, WindowBatches, load_steps
from training.features import ActionCodec
from training.frames import load_frames
from training.loop import available_threads, threads
from training.policy import DiffusionPolicy
from training.schema import DataSection, PolicyConfig
from training.train import window_batches

CONFIG = "pusht_image_proof"
N_EPISODES, EPISODE_STEPS = 206, 125
STORE_EPISODES = 56  # of the data set that is larger than its memory
MEMORY_SHARE = 4
BATCH_SIZE = 64
ROUNDS, BATCHES_A_ROUND = 7, 8
TRAIN_STEPS = 6


def measure_load(n_episodes: int = N_EPISODES, store_episodes: int = STORE_EPISODES) -> dict[str, float]:
    """Ratios, and the windows a second that they come from."""
    config = compose_config(PolicyConfig, CONFIG, [f"training.batch_size={BATCH_SIZE}"]).config
    batches = _made_up(config, n_episodes)
    found = _against_per_sample(batches) | _against_gather(batches)
    return {key: round(value, 3) for key, value in (found | _larger_than_memory(config, store_episodes)).items()}


def table(found: dict[str, float]) -> str:
    """For people."""
    return "\n".join(f"{key:<28} {value:>12,.2f}" for key, value in found.items())


def _made_up(config: PolicyConfig, n_episodes: int) -> WindowBatches:
    n_steps = n_episodes * EPISODE_STEPS
    rng = np.random.default_rng(0)
    steps = Steps(
        images={"img": rng.integers(0, 256, (n_steps, 96, 96, 3), np.uint8)},
        low_dim={"state": rng.random((n_steps, 2), np.float32)}, action=rng.random((n_steps, 2), np.float32),
        episode_ends=np.arange(1, n_episodes + 1) * EPISODE_STEPS, fingerprint="")
    return window_batches(config, steps, np.ones(n_episodes, bool))


def converted(images: torch.Tensor) -> torch.Tensor:
    """As on the device: (B, To, H, W, 3) uint8 -> (B, To, 3, H, W) float32 in 0..1."""
    return images.permute(0, 1, 4, 2, 3).to(torch.float32) / 255


def _against_per_sample(batches: WindowBatches) -> dict[str, float]:
    """Both end in float32 frames, channels first."""
    steps = batches.steps
    assert steps.action is not None
    frames = steps.images["img"]
    assert isinstance(frames, np.ndarray)
    sampler = PerSampleSampler(frames, {**steps.low_dim, "action": steps.action}, batches.index, batches.horizon)
    windows = _random_windows(batches)

    def ours(number: int) -> None:
        converted(batches.gather(windows[number]).images["img"])

    seconds = _alternate(ours, lambda number: sampler.batch(windows[number]))
    return {"ratio_vs_per_sample": seconds[1] / seconds[0], "windows_per_s_as_float": BATCH_SIZE / seconds[0],
            "per_sample_windows_per_s": BATCH_SIZE / seconds[1]}


def _against_gather(batches: WindowBatches) -> dict[str, float]:
    """A bare gather is told the rows; it has the same output."""
    steps, index = batches.steps, batches.index
    assert steps.action is not None
    windows = _random_windows(batches)
    rows = [(index.steps(some, 0, batches.n_obs_steps), index.steps(some, 0, batches.horizon)) for some in windows]
    frames, state, action = steps.images["img"], steps.low_dim["state"], steps.action
    assert isinstance(frames, np.ndarray)

    def bare(number: int) -> tuple[NDArray[Any], ...]:
        observed, whole = rows[number]
        return np.take(frames, observed, axis=0), np.take(state, observed, axis=0), np.take(action, whole, axis=0)

    seconds = _alternate(lambda number: batches.gather(windows[number]), bare)
    return {"share_of_gather": seconds[1] / seconds[0], "windows_per_s": BATCH_SIZE / seconds[0]}


def _larger_than_memory(config: PolicyConfig, n_episodes: int) -> dict[str, float]:
    """Training steps a second with frames that take four times the memory they may have, against all in memory.

    The loop gathers, then steps, so the times add; a gather's is the mean over a whole epoch.
    """
    with tempfile.TemporaryDirectory() as folder:
        buffer = _write_store(Path(folder) / "store.zarr", n_episodes)
        size_mb = max(1, buffer.n_steps * 96 * 96 * 3 // MEMORY_SHARE // 1_000_000)
        whole = load_steps(buffer, config.observations, ActionCodec(load_task(config.task.name)))
        mask = np.ones(n_episodes, bool)
        step_s = _step_seconds(config, window_batches(config, whole, mask))
        gather_s: dict[str, float] = {}
        for storage in ("ram", "memmap", "zarr"):
            limit = 8192 if storage == "ram" else size_mb
            data = DataSection(storage=storage, ram_limit_mb=limit, cache_dir=folder)
            steps = replace(whole, images=load_frames(buffer, config.observations.images, data))
            batches = window_batches(config, steps, mask)
            n_batches = len(batches.index) // BATCH_SIZE
            began_s = time.perf_counter()
            for number in range(n_batches):
                batches(number)
            gather_s[storage] = (time.perf_counter() - began_s) / n_batches
    in_memory_s = step_s + gather_s["ram"]
    return {"larger_than_ram_share": in_memory_s / (step_s + gather_s["zarr"]),
            "memmap_share": in_memory_s / (step_s + gather_s["memmap"]),
            "zarr_windows_per_s": BATCH_SIZE / gather_s["zarr"],
            "memmap_windows_per_s": BATCH_SIZE / gather_s["memmap"],
            "train_windows_per_s": BATCH_SIZE / in_memory_s}


def _write_store(path: Path, n_episodes: int) -> ReplayBuffer:
    rng = np.random.default_rng(1)
    with ReplayBufferWriter(path, {}) as writer:
        for _ in range(n_episodes):
            frames = np.full((EPISODE_STEPS, 96, 96, 3), 255, np.uint8)
            corners = rng.integers(0, 64, (EPISODE_STEPS, 2))
            for frame, (y, x) in zip(frames, corners, strict=True):
                frame[y:y + 32, x:x + 32] = rng.integers(0, 256, (32, 32, 3))  # this much does not compress
            state = rng.random((EPISODE_STEPS, 5)).astype(np.float32)
            writer.append_episode({"img": frames, "state": state, "action": state[:, :2]})
    return ReplayBuffer.open(path)


def _step_seconds(config: PolicyConfig, batches: WindowBatches) -> float:
    policy = DiffusionPolicy(config, load_task(config.task.name)).train()
    optimizer = torch.optim.AdamW(policy.parameters(), fused=True)
    batch, times = batches(0), list[float]()
    with threads(available_threads()):
        for number in range(TRAIN_STEPS):
            began_s = time.perf_counter()
            policy.compute_loss(batch, torch.Generator().manual_seed(number)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - began_s)
    return median(times[1:])


def _random_windows(batches: WindowBatches) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, len(batches.index), BATCH_SIZE) for _ in range(BATCHES_A_ROUND)]


def _alternate(*functions: Callable[[int], object]) -> list[float]:
    """Median seconds a call of each, taken in turns; the first round warms up."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, mine in zip(functions, times, strict=True):
            began_s = time.perf_counter()
            for number in range(BATCHES_A_ROUND):
                function(number)
            mine.append((time.perf_counter() - began_s) / BATCHES_A_ROUND)
    return [median(mine[1:]) for mine in times]
