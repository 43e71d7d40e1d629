"""Each configuration that comes with Ladle builds, trains, is saved, loads and predicts."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from ladle.errors import CheckpointError, ConfigError
from ladle.policy import Guidance, GuidedPolicy, ObservationWindow
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import TaskConfig, load_task, task_text
from training.compose import compose_config
from training.inference import CheckpointPolicy, load_policy
from training.loop import threads
from training.policy import DiffusionPolicy
from training.schema import PolicyConfig, known_keys
from training.train import run

PUSHT = ("pusht_lowdim", "pusht_state", "pusht_keypoint", "pusht_transformer", "pusht_image", "pusht_basic",
         "pusht_advanced", "pusht_fast", "pusht_cpu", "pusht_multigpu")
SCOOP = ("franka_end_effector_image_obs", "franka_end_effector_image_obs_mass")
POLICIES = (*PUSHT, *SCOOP, "aloha")

# ResNets are tried where they differ; elsewhere the small CNN takes their place.
RESNETS = ("pusht_image", "pusht_multigpu")
# The same networks, narrower.
SMALL = ["training.device=cpu", "training.batch_size=4", "training.max_steps=2", "training.warmup_steps=1",
         "training.precision=float32", "training.threads=1", "training.val_ratio=0", "training.checkpoint_every=2",
         "training.validate_every=2", "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16",
         "transformer.layers=1", "transformer.width=16", "encoder.keypoints=4", "encoder.channels=[16,16]",
         "encoder.strides=[4,2]", "diffusion.train_steps=8", "diffusion.sample_steps=2"]


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small lose by two."""
    with threads(1):
        yield


def scoop_streams(ticks: int, mass_g: float) -> dict[str, NDArray[Any]]:
    """An episode of the scooping task with colour, depth view, pose and mass."""
    rng = np.random.default_rng(ticks)
    eef = np.zeros((ticks, 7), np.float32)
    eef[:, :3] = rng.normal(0, 0.1, (ticks, 3))
    eef[:, 3] = 1.0
    return {"camera_1": rng.integers(0, 255, (ticks, 120, 240, 3), np.uint8), "eef": eef,
            "camera_0": np.repeat(rng.integers(0, 255, (ticks, 120, 240, 1), np.uint8), 3, axis=-1),
            "label": np.zeros((ticks, 1), np.float32), "mass": np.full((ticks, 1), mass_g, np.float32),
            "action": np.concatenate([eef[1:], eef[-1:]])}


def streams_of(task: str, ticks: int, seed: int) -> dict[str, NDArray[Any]]:
    """Made-up streams under the names that the configurations read."""
    rng = np.random.default_rng(seed)
    if task == "scoop":
        return scoop_streams(ticks, 2.0 + seed)
    if task == "pusht":
        return {"img": rng.uniform(0, 255, (ticks, 96, 96, 3)).astype(np.float32),
                "state": rng.uniform(0, 512, (ticks, 5)).astype(np.float32),
                "keypoint": rng.uniform(0, 512, (ticks, 9, 2)).astype(np.float32),
                "action": rng.uniform(0, 512, (ticks, 2)).astype(np.float32)}
    cameras = {key: rng.integers(0, 255, (ticks, 240, 320, 3), np.uint8)
               for key in ("cam_high", "cam_left_wrist", "cam_right_wrist")}
    return {**cameras, "joints": rng.uniform(-1, 1, (ticks, 14)).astype(np.float32),
            "action": rng.uniform(-1, 1, (ticks, 14)).astype(np.float32)}


@pytest.fixture(scope="module")
def buffers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small replay buffer for each task."""
    folder, made = tmp_path_factory.mktemp("data"), dict[str, Path]()
    for task in ("scoop", "pusht", "aloha"):
        made[task] = folder / f"{task}.zarr"
        with ReplayBufferWriter(made[task], {"task": task_text(load_task(task)), "episodes": [0, 1]}) as writer:
            for seed in range(2):
                writer.append_episode(streams_of(task, (40 if task == "aloha" else 12) + seed, seed))
    return made


def train(name: str, buffers: dict[str, Path], folder: Path, *more: str) -> CheckpointPolicy:
    """Two steps of a configuration made small; the policy of its checkpoint."""
    config = compose_config(PolicyConfig, name, []).config
    stages = ["observations.stage=labels"] if config.observations.stage == "classifier" else []
    backbone = ["encoder.crop_px=[40,40]"] if name in RESNETS else ["encoder.backbone=small_cnn"]
    checkpoint = run([*SMALL, *backbone, *stages, f"task.dataset_path={buffers[config.task.name]}",
                      f"training.output_dir={folder}", *more], config_name=name)
    # A policy that reads labels has no classifier to ask when it runs: the tests below put the stage in themselves.
    return load_policy(checkpoint) if not stages else without_stage(checkpoint)


def without_stage(checkpoint: Path) -> CheckpointPolicy:
    """The checkpoint's network with the stage always 0."""
    from training.checkpoint import EMA, open_checkpoint

    opened = open_checkpoint(checkpoint, "policy")
    network = DiffusionPolicy(opened.config(PolicyConfig), opened.task)
    network.load_state_dict(opened.tensors(EMA))
    return CheckpointPolicy(network.eval(), opened.config(PolicyConfig), opened.task, AlwaysFirst(), "cpu", False)  # pyright: ignore[reportArgumentType]


class AlwaysFirst:
    """Stands for the classifier."""

    observations = compose_config(PolicyConfig, SCOOP[0], []).config.observations

    def reset(self) -> None:
        """Nothing to forget."""

    def update(self, window: ObservationWindow, blind: bool) -> tuple[int, None]:
        """Stage 0."""
        return 0, None


def window_of(task: TaskConfig) -> ObservationWindow:
    """Two observations of a task."""
    streams = streams_of(task.name, 12, 7)
    return ObservationWindow(0.2, np.array([0.1, 0.1 + task.period_s]), {key: value[4:6]
                                                                         for key, value in streams.items()})


@pytest.mark.parametrize("name", POLICIES)
def test_a_configuration_trains_and_its_checkpoint_predicts(name: str, buffers: dict[str, Path], tmp_path: Path):
    """Two steps with the networks made narrow; a chunk of the task's parts comes back."""
    policy = train(name, buffers, tmp_path)
    policy.reset(0)
    chunk = policy.predict(window_of(policy.task))
    assert set(chunk.parts) == {part.name for part in policy.task.action}
    assert len(chunk.times_s) == policy.horizon - policy.n_obs_steps + 1
    assert all(np.isfinite(part).all() for part in chunk.parts.values())


def test_every_configuration_is_tested():
    """A new file in training/config joins the list above."""
    files = {item.name.removesuffix(".yaml") for item in resources.files("training.config").iterdir()
             if item.name.endswith(".yaml")}
    assert {name for name in files if not name.endswith("_proof")} == {*POLICIES, "classifier_training"}


def test_the_advanced_configuration_explains_every_parameter():
    """No key of the schema is missing, and each has a comment beside it."""
    text = (resources.files("training.config") / "pusht_advanced.yaml").read_text()
    there: set[str] = set()

    def walk(value: object, prefix: str) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in pairs:
            name = f"{prefix}{'0' if isinstance(key, int) else key}"
            there.add(name)
            walk(inner, f"{name}.")

    walk(yaml.safe_load(text), "")
    empty_lists = ("action.relative.0.",)
    missing = [key for key in known_keys(PolicyConfig) if key not in there and not key.startswith(empty_lists)]
    assert not missing
    unexplained = [line for line in text.splitlines()
                   if re.match(r"\s*(- )?\w+: \S", line) and "  #" not in line]
    assert not unexplained


def test_the_advanced_configuration_is_the_basic_one():
    """It shows what there is and changes nothing."""
    basic, advanced = (compose_config(PolicyConfig, name, []).config for name in ("pusht_basic", "pusht_advanced"))
    assert replace(advanced, name=basic.name) == basic


@pytest.mark.parametrize(("name", "million"), [
    ("pusht_keypoint", 66), ("pusht_transformer", 9), ("pusht_image", 262.7), ("aloha", 138.4),
])
def test_the_papers_networks_have_the_papers_size(name: str, million: float):
    """Millions of parameters; the published image policy has 262.7 with its encoder. Of aloha, 64 are ResNets."""
    config = compose_config(PolicyConfig, name, []).config
    with torch.device("meta"):
        made = DiffusionPolicy(config, load_task(config.task.name))
    assert sum(value.numel() for value in made.parameters()) / 1e6 == pytest.approx(million, abs=0.5)


def test_rgbd_and_relative_poses_come_by_configuration_alone(buffers: dict[str, Path], tmp_path: Path):
    """Four channels, and poses in the frame of the observed one: the answer moves with the robot."""
    policy = train(SCOOP[0], buffers, tmp_path,
                   "observations.images=[{key: camera_1, width_px: 60, height_px: 30, depth_key: camera_0}]",
                   "action.relative=[{part: pose, to: eef}]", "encoder.shared=true")
    assert policy.observation_keys == ("camera_0", "camera_1", "eef")
    window = window_of(policy.task)
    policy.reset(0)
    chunk = policy.predict(window)
    reach = np.abs(chunk.parts["pose"][:, :3] - window.streams["eef"][-1, :3]).max()
    assert reach < 1.0, "relative targets stay where the data's were: within some decimetres"
    with pytest.raises(ConfigError, match="which is not among observations"):
        compose_config(PolicyConfig, SCOOP[0], ["action.relative=[{part: pose, to: hand}]"])


def test_a_policy_that_knows_the_mass_can_be_asked_for_one(buffers: dict[str, Path], tmp_path: Path):
    """Two masses, two answers; weight 0 is the answer without a wish; asking none again forgets it."""
    policy = train(SCOOP[1], buffers, tmp_path)
    assert isinstance(policy, GuidedPolicy)
    window = window_of(policy.task)

    def ask(guidance: Guidance | None) -> NDArray[np.float64]:
        policy.guide(guidance)
        policy.reset(0)
        return policy.predict(window).parts["pose"]

    free = ask(None)
    assert not np.array_equal(ask(Guidance(2.0)), ask(Guidance(3.0)))
    assert not np.array_equal(ask(Guidance(2.0, 3.0)), ask(Guidance(2.0)))
    assert np.array_equal(ask(Guidance(2.0, 0.0)), free)
    assert np.array_equal(ask(None), free)


def test_a_policy_that_was_not_told_the_mass_refuses_to_be_asked(buffers: dict[str, Path], tmp_path: Path):
    """The error names the remedy, at loading and later."""
    policy = train("pusht_lowdim", buffers, tmp_path)
    with pytest.raises(CheckpointError, match=r"trained without the mass; train one with mass\.condition=true"):
        load_policy(tmp_path, guidance=Guidance(2.5))
    with pytest.raises(CheckpointError, match=r"2\.5 g is asked"):
        policy.guide(Guidance(2.5, 2.0))


@pytest.mark.parametrize(("override", "message"), [
    ("encoder.backbone=resnet19", "encoder.backbone.*resnet18"),
    ("encoder.back_bone=resnet18", "did you mean 'encoder.backbone'"),
    ("transformer.layer=2", "did you mean 'transformer.layers'"),
    ("denoiser=unett", "denoiser"),
    ("diffusion.sample_steps=101", "sample_steps 101 must not exceed train_steps 100"),
    ("transformer.heads=3", "must be even and a multiple of heads 3"),
    ("encoder.crop_px=[97,84]", r"crop_px \(97, 84\) does not fit into img"),
    ("unet.groups=7", "groups 7 must divide every entry of down_dims"),
    ("unet.kernel_size=4", "kernel_size 4 must be odd"),
    ("encoder.channels=[32,40,64,64]", r"channels \[40\] are not multiples of 16"),
    ("mass.conditoin=true", "did you mean 'mass.condition'"),
])
def test_a_choice_that_does_not_exist_is_named(override: str, message: str):
    """One line with what there is."""
    with pytest.raises(ConfigError, match=message) as caught:
        compose_config(PolicyConfig, "pusht_image", [override])
    assert "\n" not in str(caught.value)
