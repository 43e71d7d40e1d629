"""robomimic's HDF5: what its loader needs is there, and what others got wrong is survived."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from training.interop.convert import Choices, convert
from training.interop.robomimic_read import read_robomimic

from .conftest import write_store

Make = Callable[..., Path]


def test_robomimics_loader_finds_all_it_needs(tmp_path: Path, scoop_store: Path) -> None:
    """total, env_args, num_samples, obs, actions, rewards, dones; demonstrations bear the episodes' numbers."""
    with h5py.File(convert(scoop_store, tmp_path / "scoop.hdf5")) as file:
        data = file["data"]
        assert sorted(data) == ["demo_0", "demo_10", "demo_3"]
        assert data.attrs["total"] == 15
        assert set(json.loads(data.attrs["env_args"])) == {"env_name", "type", "env_kwargs"}
        demo = data["demo_10"]
        assert demo.attrs["num_samples"] == 9
        assert set(demo) == {"obs", "actions", "rewards", "dones"}
        assert demo["obs/camera_1"].shape == (9, 6, 8, 3)
        assert demo["obs/depth_0"].dtype == np.uint16
        assert demo["dones"][:].tolist() == [0] * 8 + [1]


def test_gaps_in_the_numbering_and_a_wrong_total_survive(tmp_path: Path, robomimic_file: Make) -> None:
    """Demonstrations come in the order of their numbers, not of their names."""
    store = ReplayBuffer.open(convert(robomimic_file(total=999), tmp_path / "back.zarr"))
    assert store.meta["episodes"] == [0, 3, 10]
    assert store.episode_ends.tolist() == [4, 9, 20]
    assert np.unique(store["action"][9:]).tolist() == [10.0]
    assert store.keys() == ["action", "agentview_image", "dones", "rewards", "robot0_eef_pos", "states"]


def test_what_is_not_carried_is_named(robomimic_file: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """next_obs can be made from obs; a simulator's model file does not belong into a replay buffer."""
    convert(robomimic_file(), tmp_path / "back.zarr")
    assert "next_obs" in caplog.text
    assert "model_file" in caplog.text


def test_filter_keys_environment_and_attributes_come_back(tmp_path: Path, robomimic_file: Make) -> None:
    """By way of a replay buffer and LeRobot, which know none of them."""
    convert(robomimic_file(), tmp_path / "one.zarr")
    convert(tmp_path / "one.zarr", tmp_path / "two")
    with h5py.File(convert(tmp_path / "two", tmp_path / "back.hdf5")) as file:
        assert file["mask/train"][:].tolist() == [b"demo_0", b"demo_10"]
        assert file["mask/valid"][:].tolist() == [b"demo_3"]
        assert json.loads(file["data"].attrs["env_args"])["env_kwargs"] == {"control_freq": 20}
        assert file["data/demo_10"].attrs["seed"] == 10
        assert file["data/demo_3/states"].shape == (5, 3)


def test_a_filter_key_chooses_the_demonstrations(tmp_path: Path, robomimic_file: Make) -> None:
    """Only those named are read; an unknown key is answered with the known ones."""
    chosen = convert(robomimic_file(), tmp_path / "train.zarr", Choices(filter_key="train"))
    assert ReplayBuffer.open(chosen).meta["episodes"] == [0, 10]
    with pytest.raises(ReplayBufferError, match=r"'test'.*train, valid"):
        convert(robomimic_file(), tmp_path / "test.zarr", Choices(filter_key="test"))


def test_the_environments_rate_serves_lerobot(robomimic_file: Make) -> None:
    """robosuite's control_freq is the number of steps per second."""
    assert read_robomimic(robomimic_file()).fps_hz == 20.0


def test_raw_robosuite_data_are_refused_with_the_remedy(tmp_path: Path, shared_data: Path) -> None:
    """They have no observations; who wants the states alone says so."""
    raw = shared_data / "hdf5" / "robosuite_stack_panda.hdf5"
    with pytest.raises(ReplayBufferError, match="dataset_states_to_obs"):
        convert(raw, tmp_path / "raw.zarr")
    assert not list(tmp_path.iterdir())
    store = ReplayBuffer.open(convert(raw, tmp_path / "raw.zarr", Choices(without_obs=True)))
    assert store.keys() == ["action", "joint_torques", "states"]
    with h5py.File(raw) as file:
        assert store["states"][:].tobytes() == file["data/demo_1/states"][:].tobytes()


def test_demonstrations_that_differ_are_refused_by_name(tmp_path: Path, robomimic_file: Make) -> None:
    """An array that is too short, and an array of another shape."""
    path = robomimic_file()
    with h5py.File(path, "a") as file:
        del file["data/demo_3/obs/robot0_eef_pos"]
        file["data/demo_3/obs/robot0_eef_pos"] = np.zeros((5, 4))
    with pytest.raises(ReplayBufferError, match=r"episode 3: 'robot0_eef_pos' has shape \(5, 4\)"):
        convert(path, tmp_path / "back.zarr")
    with h5py.File(path, "a") as file:
        del file["data/demo_3/obs/robot0_eef_pos"]
        file["data/demo_3/obs/robot0_eef_pos"] = np.zeros((4, 3))
    with pytest.raises(ReplayBufferError, match="demo_3: all arrays must have the same number of steps"):
        convert(path, tmp_path / "back.zarr")
    assert not (tmp_path / "back.zarr").exists()


def test_made_up_rewards_do_not_come_back_but_real_ones_do(tmp_path: Path) -> None:
    """robomimic insists on rewards; a store that had some keeps them."""
    action = np.zeros((2, 1), np.float32)
    store = write_store(tmp_path / "store.zarr", [{"action": action, "rewards": np.array([0.5, 1.0])}], {})
    convert(store, tmp_path / "file.hdf5")
    back = ReplayBuffer.open(convert(tmp_path / "file.hdf5", tmp_path / "back.zarr"))
    assert back.keys() == ["action", "rewards"]
    assert back["rewards"][:].tolist() == [0.5, 1.0]


def test_no_hdf5_file_is_one_clear_line(tmp_path: Path) -> None:
    """Neither a text file nor somebody else's HDF5 passes."""
    path = tmp_path / "x.hdf5"
    path.write_text("no")
    with pytest.raises(ReplayBufferError, match="not a readable HDF5 file"):
        read_robomimic(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(ReplayBufferError, match="not a robomimic file"):
        read_robomimic(path)
