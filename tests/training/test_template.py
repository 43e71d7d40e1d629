"""robomimic's template trains on robomimic's file."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import ConfigError
from ladle.policy import ObservationWindow
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter
from ladle.task import load_task, task_text
from training.checkpoint import open_checkpoint
from training.inference import load_policy
from training.interop.robomimic_write import write_robomimic
from training.interop.zarr_format import read_zarr
from training.schema import PolicyConfig
from training.template import compose_template
from training.train import train_from_arguments

TEMPLATE: dict[str, Any] = {
    "algo_name": "diffusion_policy",
    "experiment": {"name": "stack", "validate": False, "epoch_every_n_steps": 3, "logging": {"log_wandb": False},
                   "save": {"every_n_epochs": 50}, "rollout": {"enabled": True, "n": 50}, "render": False},
    "train": {"data": None, "cuda": False, "batch_size": 4, "num_epochs": 1, "seed": 7, "max_grad_norm": None,
              "hdf5_filter_key": None, "hdf5_cache_mode": "all"},
    "algo": {
        "optim_params": {"policy": {"optimizer_type": "adamw", "regularization": {"L2": 1e-5},
                                    "learning_rate": {"initial": 2e-4, "scheduler_type": "cosine", "warmup_steps": 1}}},
        "horizon": {"observation_horizon": 3, "action_horizon": 4, "prediction_horizon": 8},
        "unet": {"enabled": True, "diffusion_step_embed_dim": 16, "down_dims": [16, 32], "kernel_size": 3,
                 "n_groups": 4},
        "ema": {"enabled": True, "power": 0.8},
        "ddpm": {"enabled": False, "num_train_timesteps": 100},
        "ddim": {"enabled": True, "num_train_timesteps": 20, "num_inference_timesteps": 5,
                 "beta_schedule": "squaredcos_cap_v2", "prediction_type": "epsilon", "clip_sample": True},
    },
    "observation": {"modalities": {"obs": {"low_dim": ["pos", "gripper"], "rgb": ["front"], "depth": []}},
                    "encoder": {"rgb": {"core_class": "VisualCore", "core_kwargs": {},
                                        "obs_randomizer_class": "CropRandomizer",
                                        "obs_randomizer_kwargs": {"crop_height": 40, "crop_width": 44}}}},
    "meta": {"hp_keys": []},
}


@pytest.fixture(scope="module")
def hdf5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demonstrations of an arm of others: 20 Hz, actions of 7 numbers; one more stream that nobody reads."""
    folder, rng = tmp_path_factory.mktemp("robomimic"), np.random.default_rng(0)
    meta = {"env_args": {"env_name": "Stack", "type": 1, "env_kwargs": {"control_freq": 20}},
            "filters": {"train": [0, 2]}}
    with ReplayBufferWriter(folder / "b.zarr", meta) as writer:
        for steps in (12, 14, 16):
            writer.append_episode({"pos": rng.normal(size=(steps, 3)), "gripper": rng.normal(size=(steps, 2)),
                                   "front": rng.integers(0, 255, (steps, 48, 48, 3), np.uint8),
                                   "object": rng.normal(size=(steps, 10)), "action": rng.normal(size=(steps, 7))})
    write_robomimic(folder / "stack.hdf5", read_zarr(folder / "b.zarr"))
    with h5py.File(folder / "stack.hdf5", "a") as file:
        del file["ladle"]  # as others write it
    return folder / "stack.hdf5"


def template(folder: Path, **changes: Any) -> Path:
    """The template with dotted changes, written to a file."""
    content = deepcopy(TEMPLATE)
    for dotted, value in changes.items():
        *sections, last = dotted.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    path = folder / "template.json"
    path.write_text(json.dumps(content))
    return path


def test_the_template_trains_and_its_checkpoint_predicts(hdf5: Path, tmp_path: Path,
                                                         caplog: pytest.LogCaptureFixture):
    """Each value lies where it belongs, and what has no counterpart is named in one warning."""
    with caplog.at_level(logging.WARNING):
        train_from_arguments(["--config", str(template(tmp_path)), "--dataset", str(hdf5), "training.threads=1",
                              f"training.output_dir={tmp_path / 'run'}", "encoder.backbone=small_cnn",
                              "encoder.channels=[16,16]", "encoder.strides=[4,2]", "training.precision=float32"])
    (warning,) = [record.message for record in caplog.records if "without counterpart" in record.message]
    assert warning.endswith("experiment.rollout.enabled, experiment.rollout.n, train.hdf5_cache_mode, "
                            "algo.ddim.clip_sample, observation.encoder.rgb.core_class, "
                            "observation.encoder.rgb.obs_randomizer_class")

    config = open_checkpoint(tmp_path / "run", "policy").config(PolicyConfig)
    training, diffusion, unet = config.training, config.diffusion, config.unet
    assert (config.name, config.n_obs_steps, config.n_action_steps, config.horizon) == ("stack", 3, 4, 8)
    assert (training.max_steps, training.batch_size, training.seed, training.max_gradient_norm) == (3, 4, 7, None)
    assert (training.learning_rate, training.warmup_steps, training.weight_decay) == (2e-4, 1, 1e-5)
    assert (training.val_ratio, training.device, config.ema.power) == (0.0, "cpu", 0.8)
    assert (diffusion.sampler, diffusion.train_steps, diffusion.sample_steps) == ("ddim", 20, 5)
    assert (unet.down_dims, unet.groups, unet.kernel_size, unet.step_embedding) == ((16, 32), 4, 3, 16)
    assert config.encoder.crop_px == (40, 44)
    assert ReplayBuffer.open(config.task.dataset_path).keys() == ["action", "front", "gripper", "pos"]

    policy = load_policy(tmp_path / "run")
    assert policy.task.rate_hz == 20
    streams = {"pos": np.zeros((3, 3)), "gripper": np.zeros((3, 2)), "front": np.zeros((3, 48, 48, 3), np.uint8)}
    chunk = policy.predict(ObservationWindow(0.2, np.array([0.0, 0.05, 0.1]), streams))
    assert chunk.parts["action"].shape == (6, 7)
    assert np.isfinite(chunk.parts["action"]).all()


def test_other_schedules_and_no_average_are_taken_over(hdf5: Path, tmp_path: Path):
    """A line instead of a cosine; weights that are followed at once."""
    path = template(tmp_path, **{"algo.optim_params.policy.learning_rate.scheduler_type": "linear",
                                 "algo.ema.enabled": False})
    config = compose_template(["--config", str(path), "--dataset", str(hdf5), "--name", "mine",
                               f"training.output_dir={tmp_path / 'run'}"]).config
    assert (config.name, config.training.schedule, config.ema.max_decay) == ("mine", "linear", 0.0)


def test_a_filter_key_takes_its_demonstrations_only(hdf5: Path, tmp_path: Path):
    """Two of three, in a buffer of their own."""
    path = template(tmp_path, **{"train.hdf5_filter_key": "train", "train.data": str(hdf5)})
    composed = compose_template([f"--config={path}", f"training.output_dir={tmp_path / 'run'}"])
    assert list(ReplayBuffer.open(composed.config.task.dataset_path).episode_ends) == [12, 28]
    everything = compose_template(["--config", str(template(tmp_path)), "--dataset", str(hdf5),
                                   f"training.output_dir={tmp_path / 'run'}"])
    assert ReplayBuffer.open(everything.config.task.dataset_path).n_episodes == 3


def test_a_file_of_ladle_keeps_its_task(tmp_path: Path):
    """An export of Push-T: its own task file, its parts and its rate; the pose of an arm would stay a pose."""
    rng = np.random.default_rng(1)
    with ReplayBufferWriter(tmp_path / "b.zarr", {"task": task_text(load_task("pusht"))}) as writer:
        writer.append_episode({"state": rng.normal(size=(20, 5)), "action": rng.normal(size=(20, 2))})
    write_robomimic(tmp_path / "pusht.hdf5", read_zarr(tmp_path / "b.zarr"))
    path = template(tmp_path, **{"observation.modalities.obs.low_dim": ["state"],
                                 "observation.modalities.obs.rgb": []})
    train_from_arguments(["--config", str(path), "--dataset", str(tmp_path / "pusht.hdf5"), "training.threads=1",
                          f"training.output_dir={tmp_path / 'run'}", "training.precision=float32"])
    assert open_checkpoint(tmp_path / "run", "policy").task == load_task("pusht")


def test_the_template_that_comes_with_ladle_trains_on_an_export(scoop_buffer: Path, tmp_path: Path, root: Path,
                                                                caplog: pytest.LogCaptureFixture):
    """No key of it is ignored, and the arm's pose stays one. The networks are made small."""
    write_robomimic(tmp_path / "scoop.hdf5", read_zarr(scoop_buffer))
    with caplog.at_level(logging.WARNING):
        train_from_arguments([
            "--config", str(root / "training" / "config" / "robomimic_scoop.json"), "--dataset",
            str(tmp_path / "scoop.hdf5"), f"training.output_dir={tmp_path / 'run'}", "training.max_steps=3",
            "training.batch_size=4", "training.threads=1", "training.precision=float32", "encoder.backbone=small_cnn",
            "encoder.channels=[16,16]", "encoder.strides=[4,2]", "unet.down_dims=[16,32]", "training.val_windows=4"])
    assert not [record.message for record in caplog.records if "ignored" in record.message]
    opened = open_checkpoint(tmp_path / "run", "policy")
    assert opened.task == load_task("scoop")
    assert [item.kind for item in opened.config(PolicyConfig).observations.low_dim] == ["pose"]
    assert load_policy(tmp_path / "run").observation_keys == ("camera_1", "eef")


def test_a_source_that_has_changed_is_converted_anew(hdf5: Path, tmp_path: Path):
    """The old buffer stays; who reads other streams has one of its own."""
    copy = tmp_path / "stack.hdf5"
    copy.write_bytes(hdf5.read_bytes())

    def actions(*changes: tuple[str, Any]) -> NDArray[Any]:
        path = template(tmp_path, **dict(changes))
        composed = compose_template(["--config", str(path), "--dataset", str(copy),
                                     f"training.output_dir={tmp_path / 'run'}"])
        return np.asarray(ReplayBuffer.open(composed.config.task.dataset_path)["action"][:])

    before = actions()
    actions(("observation.modalities.obs.rgb", []))
    assert len(list((tmp_path / "converted").glob("*.zarr"))) == 2
    with h5py.File(copy, "a") as file:
        file["data/demo_0/actions"][0] = 99.0
    assert (actions()[0] == 99.0).all()
    assert not (before[0] == 99.0).any()
    assert len(list((tmp_path / "converted").glob("*.zarr"))) == 3
    assert not list((tmp_path / "converted").glob(".*")), "nothing half-written, no lock"


@pytest.mark.parametrize(("changes", "message"), [
    ({"algo.horizn": 3}, "has no key 'algo.horizn'; did you mean 'algo.horizon'"),
    ({"algo.horizon.prediction_horizn": 3}, "did you mean 'algo.horizon.prediction_horizon'"),
    ({"algoritm": {"a": 1}}, "has no key 'algoritm'; did you mean 'algo"),
    ({"algo.horizon": 3}, "algo.horizon is a section"),
    ({"algo_name": "bc"}, 'algo_name is "bc", here there is only "diffusion_policy"'),
    ({"algo.ddpm.enabled": True}, "enable one of algo.ddpm and algo.ddim"),
    ({"algo.ddim.beta_schedule": "cubic"}, "beta_schedule is 'cubic', expected one of squaredcos_cap_v2, linear"),
    ({"observation.modalities.obs.low_dim": ["eef"]}, "has no 'eef'; it has action, dones, front"),
    ({"observation.modalities.obs.rgb": ["pos"]}, "'pos' has shape .* expected an RGB image"),
    ({"observation.modalities.obs.depth": ["d"]}, r"obs\.depth is \[\"d\"\], here there is only \[\]"),
    ({"algo.horizon.prediction_horizon": 13}, "horizon 13 is longer than episode 0 of .* which has 12 steps"),
    ({"algo.optim_params.policy.learning_rate.scheduler_type": "multistep"}, "scheduler_type is 'multistep', expected"),
    ({"train.batch_size": 0}, "training.batch_size"),
])
def test_what_cannot_be_is_one_line(changes: dict[str, Any], message: str, hdf5: Path, tmp_path: Path):
    """And nothing is converted for it."""
    with pytest.raises(ConfigError, match=message) as caught:
        compose_template(["--config", str(template(tmp_path, **changes)), "--dataset", str(hdf5),
                          f"training.output_dir={tmp_path / 'run'}"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "converted").exists()
