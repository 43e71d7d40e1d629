"""Training straight from a LeRobot folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ladle.errors import ConfigError
from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBuffer
from training.checkpoint import open_checkpoint
from training.inference import load_policy
from training.lerobot_training import compose_lerobot, refuse_other_times
from training.schema import PolicyConfig
from training.train import run, train_from_arguments

SMALL = ["unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16", "training.batch_size=8",
         "training.threads=1", "training.precision=float32", "training.warmup_steps=1", "training.max_steps=3",
         "training.val_ratio=0", "training.checkpoint_every=3", "diffusion.sample_steps=2"]


@pytest.fixture(scope="module")
def so101(shared_data: Path) -> Path:
    """Six episodes of a real arm, 30 Hz, one camera."""
    return shared_data / "lerobot" / "v30_so101_real_6ep"


def test_a_folder_trains_as_it_is_and_its_checkpoint_predicts(so101: Path, tmp_path: Path):
    """Task and observations follow from the data; only what is read is converted, and only once."""
    arguments = [f"dataset.lerobot={so101}", "observations.images=[]", f"training.output_dir={tmp_path / 'run'}",
                 f"dataset.delta_timestamps={[round(step / 30, 6) for step in range(16)]}", *SMALL]
    train_from_arguments(arguments)
    (buffer,) = (tmp_path / "converted").glob("*.zarr")
    opened = ReplayBuffer.open(buffer)
    assert opened.keys() == ["action", "state"]
    assert (opened.n_episodes, opened.n_steps) == (6, 1782)

    policy = load_policy(tmp_path / "run")
    assert policy.task.rate_hz == 30
    chunk = policy.predict(ObservationWindow(0.1, np.array([0.0, 1 / 30]), {"state": opened["state"][:2]}))
    assert chunk.parts["action"].shape == (15, 6)
    assert np.isfinite(chunk.parts["action"]).all()

    written_ns = buffer.stat().st_mtime_ns
    train_from_arguments(arguments)
    assert buffer.stat().st_mtime_ns == written_ns


def test_cameras_of_the_folder_are_observed_smaller(so101: Path):
    """What the derived configuration asks for, without reading a frame."""
    from training.foreign_data import open_foreign
    from training.lerobot_training import _derived

    observations = _derived(open_foreign(so101))["observations"]
    assert observations["images"] == [{"key": "wrist", "width_px": 213, "height_px": 120}]
    assert [item["key"] for item in observations["low_dim"]] == ["state"]


def test_a_configuration_for_another_rate_is_refused(so101: Path, tmp_path: Path):
    """dataset_path may lead to the folder; the task's rate must be the data's, else the horizon lies."""
    overrides = [f"task.dataset_path={so101}", f"training.output_dir={tmp_path}", *SMALL,
                 "observations.low_dim=[{key: state, kind: vector, shape: [6]}]"]
    with pytest.raises(ConfigError, match="has 30 steps a second, but task pusht has 10"):
        run(overrides, config_name="pusht_lowdim")
    assert not list(tmp_path.iterdir())


def test_dataset_path_may_lead_to_the_folder(so101: Path, tmp_path: Path):
    """With a task of its own, an ordinary configuration trains on it."""
    task = tmp_path / "so101.yaml"
    task.write_text("{name: so101, rate_hz: 30, action: [{name: action, kind: vector, size: 6}]}")
    checkpoint = run([f"task.dataset_path={so101}", f"task.name={task}", f"training.output_dir={tmp_path / 'run'}",
                      "observations.low_dim=[{key: state, kind: vector, shape: [6]}]", *SMALL],
                     config_name="pusht_lowdim")
    opened = open_checkpoint(checkpoint, "policy")
    assert opened.step == 3
    assert Path(opened.config(PolicyConfig).task.dataset_path).parent == tmp_path / "converted"


@pytest.mark.parametrize(("more", "message"), [
    (["horizon=400"], r"horizon 400 is longer than episode 4 .* which has 90 steps; lower `horizon`"),
    (["observations.low_dim=[{key: gripper, kind: vector, shape: [1]}]"], "has no 'gripper'.*; it has action, state"),
    (["dataset.lerobto=x"], "did you mean 'dataset.lerobot'"),
    (["dataset.delta_timestamps=[0.0, 0.0333333]"], "has 2 times, but horizon is 16"),
    (["hoizon=3"], "did you mean 'horizon'"),
])
def test_what_does_not_fit_is_one_line(more: list[str], message: str, so101: Path, tmp_path: Path):
    """And nothing is converted for it."""
    with pytest.raises(ConfigError, match=message) as caught:
        compose_lerobot([f"dataset.lerobot={so101}", f"training.output_dir={tmp_path / 'run'}",
                         "observations.images=[]", *more])
    assert "\n" not in str(caught.value)


def test_times_of_another_rate_are_refused():
    """Ten a second are not thirty."""
    refuse_other_times("[-0.1, 0.0, 0.1]", 3, 10.0)
    with pytest.raises(ConfigError, match=r"has a step of 0.1 s, but the data have 30 steps a second, 0\.03333 s each"):
        refuse_other_times("[0.0, 0.1]", 2, 30.0)
    with pytest.raises(ConfigError, match="expected a list of seconds"):
        refuse_other_times("soon", 2, 30.0)
