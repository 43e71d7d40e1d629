"""Small data sets in all formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_text

Streams = dict[str, NDArray[Any]]


def scoop_episode(rng: np.random.Generator, steps: int) -> Streams:
    """One episode with every kind of array that Ladle's own replay buffers hold, at a small size."""
    return {
        "camera_1": rng.integers(0, 256, (steps, 6, 8, 3), np.uint8),
        "depth_0": rng.integers(0, 65536, (steps, 6, 8), np.uint16),
        "eef": rng.standard_normal((steps, 7)).astype(np.float32),
        "action": rng.standard_normal((steps, 7)).astype(np.float32),
        "label": rng.integers(0, 4, (steps, 1)).astype(np.float32),
        "mass": np.full((steps, 1), rng.random(), np.float32),
    }


def write_store(path: Path, episodes: Sequence[Streams], meta: Mapping[str, Any]) -> Path:
    """Write a replay buffer."""
    with ReplayBufferWriter(path, meta) as writer:
        for streams in episodes:
            writer.append_episode(streams)
    return path


def assert_same_store(one: Path, other: Path) -> None:
    """Bit for bit the same arrays, types, episodes and meta."""
    a, b = ReplayBuffer.open(one), ReplayBuffer.open(other)
    assert a.keys() == b.keys()
    assert a.episode_ends.tolist() == b.episode_ends.tolist()
    for key in a.keys():  # noqa: SIM118  (a ReplayBuffer is no mapping)
        left, right = np.asarray(a[key][:]), np.asarray(b[key][:])
        assert (left.dtype, left.shape) == (right.dtype, right.shape), key
        assert left.tobytes() == right.tobytes(), key
    assert a.meta == b.meta


@pytest.fixture
def scoop_meta() -> dict[str, Any]:
    """What Ladle writes about three episodes whose numbers have gaps."""
    return {"task": task_text(load_task("scoop")), "episodes": [0, 3, 10]}


@pytest.fixture
def scoop_store(tmp_path: Path, scoop_meta: dict[str, Any]) -> Path:
    """Three episodes of 5, 1 and 9 steps."""
    rng = np.random.default_rng(0)
    return write_store(tmp_path / "scoop.zarr", [scoop_episode(rng, steps) for steps in (5, 1, 9)], scoop_meta)


@pytest.fixture
def robomimic_file(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file as robomimic does: demo_0, demo_3, demo_10 with 4, 5 and 11 steps."""

    def make(name: str = "robomimic.hdf5", *, total: int | None = 20) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            for number in (10, 0, 3):
                demo = data.create_group(f"demo_{number}")
                steps = number + 1 if number == 10 else number + 2 if number else 4
                demo.attrs["num_samples"] = steps
                demo.attrs["model_file"] = "<mujoco/>" * 1000
                demo.attrs["seed"] = number
                demo["actions"] = np.full((steps, 7), number, np.float64)
                demo["rewards"], demo["dones"] = np.zeros(steps), np.zeros(steps, np.int64)
                demo["states"] = np.arange(steps * 3.0).reshape(steps, 3)
                for group in ("obs", "next_obs"):
                    demo[f"{group}/robot0_eef_pos"] = np.arange(steps * 3.0).reshape(steps, 3)
                    demo[f"{group}/agentview_image"] = np.full((steps, 4, 6, 3), number, np.uint8)
            if total is not None:
                data.attrs["total"] = total
            data.attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}'
            file["mask/train"] = np.array(["demo_0", "demo_10"], "S")
            file["mask/valid"] = np.array(["demo_3"], "S")
        return path

    return make
