"""Training as users start it: overrides, resuming, results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ladle.errors import ConfigError, LadleError, ReplayBufferError
from ladle.replay_buffer import ReplayBuffer
from ladle.task import load_task
from training import loop, train
from training.checkpoint import file_sha256, open_checkpoint
from training.dataset import WindowBatches, load_steps
from training.features import ActionCodec
from training.policy import DiffusionPolicy
from training.run_log import read_log
from training.schema import PolicyConfig
from training.train import Validation, run, window_batches
from training.windows import validation_mask


class KilledError(Exception):
    """Stands for a kill."""


def start(overrides: list[str], buffer: Path, classifier: Path, output: Path, *more: str) -> Path:
    """Train as `python train.py` does."""
    return run([*overrides, f"task.dataset_path={buffer}", f"training.output_dir={output}",
                f"training.path_classifier_state_dict={classifier}", "training.max_steps=12", *more])


def losses(folder: Path) -> list[float]:
    """The training losses of a run, in order."""
    rows = read_log(folder)
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return [row["train_loss"] for row in rows]


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training die when it begins a step."""
    real = loop.step_generator

    def dying(seed: int, now: int, device: str):
        if now == step and seed == 42:
            raise KilledError
        return real(seed, now, device)

    monkeypatch.setattr(loop, "step_generator", dying)


@pytest.mark.parametrize("killed_at", [2, 7])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    killed_at: int, tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path, tiny_policy: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
):
    """Losses and final weights are those of the uninterrupted run, killed before or after the first checkpoint."""
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at(killed_at, patch)
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path)
    resumed = start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path)
    assert losses(tmp_path) == losses(tiny_policy.parents[1])
    ours, theirs = (open_checkpoint(path, "policy").tensors("ema.safetensors") for path in (resumed, tiny_policy))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_a_killed_transformer_goes_on_too(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                          tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its dropout follows from the step, and each moment finds its parameter though the optimiser sorts them anew."""
    chosen = ["denoiser=transformer", "transformer.layers=1", "transformer.width=16"]
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "whole", *chosen)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at(7, patch)
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "killed", *chosen)
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "killed", *chosen)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_another_seed_gives_other_losses(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                         tiny_policy: Path, tmp_path: Path):
    """training.seed reaches the weights, the noise and the order of the windows."""
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, "training.seed=7")
    assert losses(tmp_path)[0] != losses(tiny_policy.parents[1])[0]


def test_a_folder_with_another_run_is_refused(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                              tiny_policy: Path):
    """Resuming with another learning rate would mix two runs; the error names the key."""
    with pytest.raises(ConfigError, match=r"training\.learning_rate=0\.001, this one has .*=0\.5"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, tiny_policy.parents[1], "training.learning_rate=0.5")


def test_a_run_at_a_constant_rate_can_be_made_longer(tiny_overrides: list[str], scoop_buffer: Path,
                                                     tiny_classifier: Path, tmp_path: Path):
    """Its losses are those of a run that was that long from the start; when it is validated may change on the way."""
    constant = "training.schedule=constant"
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "whole", constant, "training.max_steps=8")
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "parts", constant, "training.max_steps=6")
    folder = start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "parts", constant, "training.max_steps=8",
                   "training.validate_every=7", "training.val_windows=4", "rollout.n_envs=3")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert json.loads((folder / "meta.json").read_text())["step"] == 8
    assert [row["step"] + 1 for row in read_log(tmp_path / "parts") if "val_loss" in row] == [4, 6, 7, 8]


def test_a_falling_rate_or_a_longer_warm_up_cannot_be_made_longer(
    tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path, tiny_policy: Path, tmp_path: Path,
):
    """The steps that are done would have had other rates, which the error says."""
    with pytest.raises(ConfigError, match=r"max_steps=12, this one has .*=14 .*schedule=cosine .*other learning rates"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, tiny_policy.parents[1], "training.max_steps=14")
    rising = ["training.schedule=constant", "training.warmup_steps=50"]
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, *rising, "training.max_steps=3")
    with pytest.raises(ConfigError, match=r"schedule=constant and warmup_steps=50 .*other learning rates"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, *rising, "training.max_steps=5")


def test_a_fresh_start_in_a_used_folder_is_refused(tiny_overrides: list[str], scoop_buffer: Path,
                                                   tiny_classifier: Path, tiny_policy: Path, tmp_path: Path):
    """Two runs in one folder would prune one another's checkpoints; nothing of the first is touched."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_policy.parents[1], folder, symlinks=True)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"holds the checkpoints of a run, .*; choose another training\.output_dir, "
                                          "or remove that folder$"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, folder, "training.resume=false", "training.seed=7")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    assert start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "empty", "training.resume=false").is_dir()


def test_a_run_from_before_a_key_existed_goes_on(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                                  tiny_policy: Path, tmp_path: Path):
    """What an older configuration does not say is at its default, which is no other run."""
    shutil.copytree(tiny_policy.parents[1], tmp_path / "run", symlinks=True)
    folder = (tmp_path / "run" / "checkpoints" / "latest").resolve()
    older = yaml.safe_load((folder / "config.yaml").read_text())
    del older["denoiser"], older["encoder"]["backbone"]
    (folder / "config.yaml").write_text(yaml.safe_dump(older))
    meta = json.loads((folder / "meta.json").read_text())
    meta["sha256"]["config.yaml"] = file_sha256(folder / "config.yaml")
    (folder / "meta.json").write_text(json.dumps(meta))
    assert start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "run") == folder
    with pytest.raises(ConfigError, match="holds a run with denoiser=unet, this one has denoiser=transformer"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "run", "denoiser=transformer")


def test_a_finished_run_is_not_trained_again(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                             tiny_policy: Path):
    """The same command again returns the checkpoint that is there."""
    before = (tiny_policy / "meta.json").stat().st_mtime_ns
    assert start(tiny_overrides, scoop_buffer, tiny_classifier, tiny_policy.parents[1]) == tiny_policy.resolve()
    assert (tiny_policy / "meta.json").stat().st_mtime_ns == before


def test_a_checkpoint_says_what_it_is(tiny_policy: Path):
    """Name with the monitor, `latest` pointing to it, texts, and the classifier inside."""
    assert tiny_policy.name.startswith("epoch=")
    assert "val_action_error=" in tiny_policy.name
    assert (tiny_policy.parent / "latest").resolve() == tiny_policy.resolve()
    meta = json.loads((tiny_policy / "meta.json").read_text())
    assert meta["step"] == 12
    assert set(meta["sha256"]) == {"ema.safetensors", "train_state.safetensors", "config.yaml", "task.yaml",
                                   "normalizer.json", "starts.json"}
    assert (tiny_policy / "classifier" / "ema.safetensors").is_file()
    assert len(list(tiny_policy.parent.glob("epoch=*"))) <= 2, "keep_top_k=1 beside the last"


def test_a_checkpoint_between_two_validations_has_no_value(
    tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path, tmp_path: Path,
):
    """Named by its step, two in one epoch do not overwrite one another; none is ranked by an old value."""
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, "training.max_steps=7", "training.keep_top_k=9",
          "training.checkpoint_every=1", "training.validate_every=3")
    values: dict[int, float | None] = {}
    for folder in (tmp_path / "checkpoints").glob("epoch=*"):
        meta = json.loads((folder / "meta.json").read_text())
        values[meta["step"]] = meta["monitor_value"]
        assert folder.name.endswith(f"-step={meta['step']:06d}") == (meta["monitor_value"] is None)
    assert sorted(values) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(step for step, value in values.items() if value is not None) == [3, 6, 7]


def test_equal_values_in_one_epoch_are_two_checkpoints(
    tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The name has four digits of the value only; the second one says its step too."""
    monkeypatch.setattr("training.train.Validation.__call__", lambda *_: {"val_loss": 1.0, "val_action_error": 0.5})
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, "training.max_steps=3", "training.keep_top_k=9",
          "training.checkpoint_every=1", "training.validate_every=1")
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("epoch=*"))
    stem = "epoch=0000-val_action_error=0.5"
    assert names == [stem, f"{stem}-step=000002", f"{stem}-step=000003"]


@pytest.mark.parametrize(("asked", "used"), [("bfloat16", "bfloat16"), ("auto", "float32")])
def test_an_explicit_precision_wins_when_training_goes_on(
    asked: str, used: str, tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """`auto` keeps what the run began with; anything else is obeyed."""
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at(4, patch)
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path)
    folder = start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, f"training.precision={asked}")
    assert json.loads((folder / "meta.json").read_text())["precision"] == used


@pytest.mark.parametrize(("override", "message"), [
    ("training.sead=3", r"unknown key 'training.sead'; did you mean 'training.seed'\?"),
    ("+unet.dwn_dims=[1]", r"did you mean 'unet.down_dims'\?"),
    ("training.max_steps=0", "training.max_steps"),
    ("n_action_steps=99", "must fit into horizon 16"),
    ("task.name=scoopp", "no task named 'scoopp'"),
    ("a b", "cannot read an override|write key=value"),
])
def test_a_wrong_override_is_one_clear_error(override: str, message: str, scoop_buffer: Path, tmp_path: Path):
    """Unknown keys are told their neighbour, wrong values the key."""
    with pytest.raises(LadleError, match=message) as caught:
        run([f"task.dataset_path={scoop_buffer}", f"training.output_dir={tmp_path}", override])
    assert "\n" not in str(caught.value)


def test_a_missing_buffer_and_a_missing_classifier_are_named(tmp_path: Path, scoop_buffer: Path):
    """Both errors say what to run first."""
    with pytest.raises(ReplayBufferError, match="no replay buffer at"):
        run([f"task.dataset_path={tmp_path / 'none.zarr'}", f"training.output_dir={tmp_path / 'out'}"])
    with pytest.raises(ConfigError, match=r"train one with train_classifier\.py"):
        run([f"task.dataset_path={scoop_buffer}", f"training.output_dir={tmp_path / 'out'}"])


def test_a_loss_that_is_not_finite_stops_the_run(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                                 tmp_path: Path):
    """The error names the learning rate."""
    with pytest.raises(ConfigError, match=r"loss became (nan|inf) at step \d+; lower training\.learning_rate"):
        start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path, "training.learning_rate=1e30")


def test_the_root_script_ends_a_user_error_in_one_line(root: Path, tmp_path: Path):
    """`python train.py` from any folder: exit code 2, one line, nothing left behind."""
    done = subprocess.run([sys.executable, root / "train.py", "training.sead=1"], cwd=tmp_path, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "did you mean 'training.seed'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_results_go_to_the_users_folders_by_default(root: Path, tmp_path: Path):
    """`--cfg job` shows the configuration without training; results/ is Hydra's run folder."""
    from training.compose import compose_config
    from training.schema import ClassifierConfig, PolicyConfig

    assert compose_config(PolicyConfig, "franka_end_effector_image_obs", []).output_dir.parts[0] == "results"
    assert compose_config(ClassifierConfig, "classifier_training", []).output_dir.parts[0] == "results_classifier"
    moved = compose_config(PolicyConfig, "pusht_lowdim", [f"hydra.run.dir={tmp_path}/x"])
    assert moved.output_dir == tmp_path / "x"
    done = subprocess.run([sys.executable, root / "train_classifier.py", "--cfg", "job", "training.seed=5"],
                          cwd=tmp_path, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["training"]["seed"] == 5


def test_wandb_offline_needs_no_account(tiny_overrides: list[str], scoop_buffer: Path, tiny_classifier: Path,
                                        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """logging.mode=offline leaves an offline run in the output folder."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    start(tiny_overrides, scoop_buffer, tiny_classifier, tmp_path / "run", "training.max_steps=2",
          "logging.mode=offline")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_push_t_trains_with_the_same_code(shared_data: Path, tiny_overrides: list[str], tmp_path: Path):
    """The paper's own replay buffer, read where it lies: the loss falls and a window is answered."""
    from ladle.policy import ObservationWindow
    from training.inference import load_policy

    path = shared_data / "pusht_cchi_v7_replay.zarr"
    small = [item for item in tiny_overrides if not item.startswith(("encoder", "training.val_", "training.check"))]
    folder = run([*small, f"task.dataset_path={path}", f"training.output_dir={tmp_path}", "training.max_steps=150",
                  "training.batch_size=64", "training.checkpoint_every=150"], config_name="pusht_lowdim")
    rows = losses(tmp_path)
    assert np.mean(rows[-20:]) < 0.6 * np.mean(rows[:5])
    buffer = ReplayBuffer.open(path)
    window = ObservationWindow(0.1, np.array([0.0, 0.1]), {key: buffer[key][10:12] for key in ("keypoint", "state")})
    policy = load_policy(folder)
    policy.reset(0)
    chunk = policy.predict(window)
    assert chunk.parts["xy"].shape == (15, 2)
    assert np.all((chunk.parts["xy"] >= 0) & (chunk.parts["xy"] <= 512))
    assert chunk.stage is None
    shutil.rmtree(tmp_path / "checkpoints")


def test_held_out_episodes_are_for_validation_alone(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch):
    """Neither the windows nor the normalisers' limits know them; validation knows no other. Both are padded."""
    given: list[tuple[DiffusionPolicy, WindowBatches, WindowBatches]] = []

    def fit(policy: DiffusionPolicy, batches: WindowBatches, validate: WindowBatches, plan: loop.Run) -> Path:
        given.append((policy, batches, validate))
        return plan.folder

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(train, "Validation", lambda batches, _: batches)
    run([*tiny_overrides, f"task.dataset_path={scoop_buffer}", f"training.output_dir={tmp_path}",
         "observations.stage=none"])
    (policy, batches, validate), buffer = given[0], ReplayBuffer.open(scoop_buffer)
    held_out = validation_mask(buffer.n_episodes, 0.25, 42)
    for chosen, windows in ((~held_out, batches), (held_out, validate)):
        lengths = np.diff(buffer.episode_ends, prepend=0)[chosen]
        assert sorted(set(windows.index.episodes.tolist())) == np.flatnonzero(chosen).tolist()
        assert len(windows.index) == sum(lengths), "padded so that every step is once the newest observation"
    rows = np.repeat(~held_out, np.diff(buffer.episode_ends, prepend=0))
    for normalizer, key in ((policy.encoder.low_dim["eef"], "eef"), (policy.action_normalizer, "action")):
        scale, offset = normalizer.scale[:3].numpy(), normalizer.offset[:3].numpy()
        scaled = np.asarray(buffer[key][:])[rows, :3] * scale + offset
        np.testing.assert_allclose(scaled.min(axis=0), -1, atol=1e-3)
        np.testing.assert_allclose(scaled.max(axis=0), 1, atol=1e-3)


def test_validation_judges_the_actions_that_are_executed(tiny_policy: Path, scoop_buffer: Path,
                                                         monkeypatch: pytest.MonkeyPatch):
    """Elements 1 to 8 of the horizon with two observations and eight actions; errors elsewhere count for nothing."""
    opened, buffer = open_checkpoint(tiny_policy, "policy"), ReplayBuffer.open(scoop_buffer)
    config = opened.config(PolicyConfig)
    policy = DiffusionPolicy(config, opened.task)
    policy.load_state_dict(opened.tensors("ema.safetensors"))
    steps = load_steps(buffer, config.observations, ActionCodec(load_task("scoop")))
    steps = steps.with_stages(np.zeros(steps.n_steps, np.int64))
    validation = Validation(window_batches(config, steps, np.ones(4, bool)), config)

    def error(*wrong: int) -> float:
        def sample(batch, _) -> torch.Tensor:
            actions = batch.action.clone()
            actions[:, list(wrong)] += 1
            return actions

        monkeypatch.setattr(policy, "sample", sample)
        return validation(policy)["val_action_error"]

    assert error(0, *range(9, 16)) == 0.0
    assert error(1) > 0
    assert error(8) > 0
