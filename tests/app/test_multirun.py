"""Several seeds, here and on Ray: each in its folder, none hurt by another's failure, none run twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.multirun import TRAIN_LOG, multirun_from_arguments, plan
from ladle.errors import ConfigError
from ladle.replay_buffer import ReplayBufferWriter
from training.run_log import read_log

SMALL = ["--config-name", "pusht_lowdim", "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16",
         "training.batch_size=8", "training.threads=1", "training.precision=float32", "training.warmup_steps=1",
         "training.max_steps=2", "training.val_ratio=0.25", "training.val_windows=4", "training.checkpoint_every=2",
         "training.validate_every=2", "diffusion.sample_steps=2", "diffusion.train_steps=4"]


@pytest.fixture(scope="module")
def buffer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Push-T's arrays, four episodes of walks."""
    path = tmp_path_factory.mktemp("pusht") / "b.zarr"
    rng = np.random.default_rng(0)
    with ReplayBufferWriter(path, {}) as writer:
        for _ in range(4):
            walk = 250 + np.cumsum(rng.normal(0, 5, (24, 23)), axis=0).astype(np.float32)
            writer.append_episode({"keypoint": walk[:, :18].reshape(24, 9, 2), "state": walk[:, 18:],
                                   "action": walk[:, 18:20]})
    return path


def metrics(output: Path) -> list[dict]:
    """What was put together at the end."""
    return json.loads((output / "multirun_metrics.json").read_text())["groups"]


@pytest.mark.slow
def test_one_failed_seed_costs_no_other_and_the_same_command_goes_on(buffer: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]):
    """Seed 43 finds a file where its folder's checkpoints should be; 42 and 44 train, and are not run again."""
    (tmp_path / "seed_43").mkdir()
    (tmp_path / "seed_43" / "checkpoints").write_text("in the way")
    arguments = [*SMALL, "--seeds=42,43,44", f"task.dataset_path={buffer}", f"training.output_dir={tmp_path}"]
    with pytest.raises(ConfigError, match=r"^1 of 3 runs failed: seed_43: exit code 2, .*checkpoints") as caught:
        multirun_from_arguments(arguments)
    assert "\n" not in str(caught.value)
    losses = {seed: [row["train_loss"] for row in read_log(tmp_path / f"seed_{seed}")] for seed in (42, 44)}
    assert losses[42] != losses[44]

    (tmp_path / "seed_43" / "checkpoints").unlink()
    before = (tmp_path / "seed_42" / TRAIN_LOG).stat().st_mtime_ns
    capsys.readouterr()
    multirun_from_arguments([*arguments, "--monitor_key", "val_loss"])
    assert (tmp_path / "seed_42" / TRAIN_LOG).stat().st_mtime_ns == before
    (group,) = metrics(tmp_path)
    assert (group["key"], list(group["runs"])) == ("val_loss", ["seed_42", "seed_43", "seed_44"])
    assert "mean ± std" in capsys.readouterr().out


def test_a_sweep_is_every_combination_with_every_seed():
    """Only what is swept names folders; lists, paths and options stay as they are."""
    jobs = list(plan(["--config-name", "pusht_state", "training.learning_rate=1e-3,1e-4", "unet.down_dims=[16,32]",
                      "denoiser=unet,transformer", "task.dataset_path=a,b.zarr"], [1, 2], Path("/runs")))
    assert len(jobs) == 8
    assert jobs[0].name == "training.learning_rate=0.001/denoiser=unet/seed_1"
    assert jobs[-1].folder == Path("/runs/training.learning_rate=0.0001/denoiser=transformer/seed_2")
    assert jobs[-1].arguments == ("--config-name", "pusht_state", "training.learning_rate=0.0001",
                                  "unet.down_dims=[16,32]", "denoiser=transformer", "task.dataset_path=a,b.zarr",
                                  "training.seed=2", f"training.output_dir={jobs[-1].folder}")


@pytest.mark.parametrize(("argument", "message"), [
    ("training.batchsize=3", r"^unknown key .*did you mean 'training\.batch_size'"),
    ("denoiser=unet,transfomer", "denoiser: .*transfomer"),
    ("--config-name=pusht_lowdm", "did you mean 'pusht_lowdim'"),
])
def test_a_slip_is_said_before_any_run_starts(argument: str, message: str, tmp_path: Path):
    """Once, and no folder is made; in a sweep every value is looked at."""
    with pytest.raises(ConfigError, match=message):
        multirun_from_arguments(["--seeds", "1,2", f"training.output_dir={tmp_path / 'x'}", argument])
    assert not list(tmp_path.iterdir())


def test_seeds_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One line, exit code 2, nothing made."""
    for text in ("42,42", "a", "-1", ""):
        with pytest.raises(SystemExit, match="2"):
            multirun_from_arguments([f"--seeds={text}", f"training.output_dir={tmp_path / 'x'}"])
    assert "expected whole numbers such as 42,43,44" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"--seeds sets training\.seed; leave it out"):
        multirun_from_arguments(["--seeds=1", "training.seed=3", f"training.output_dir={tmp_path / 'x'}"])
    assert not list(tmp_path.iterdir())


def test_without_ray_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Ray is optional."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"--ray needs the package ray; install it with"):
        multirun_from_arguments(["--seeds=1", "--ray=local", f"training.output_dir={tmp_path}"])


@pytest.mark.slow
def test_seeds_run_on_ray(root: Path, buffer: Path, tmp_path: Path):
    """As users type it, from another folder with relative paths; more cores than there are is refused."""
    pytest.importorskip("ray")
    (tmp_path / "data").symlink_to(buffer.parent)
    env = os.environ | {"HOME": str(tmp_path / "home"), "RAY_TMPDIR": str(tmp_path.parent)}
    command = [sys.executable, str(root / "ray_train_multirun.py"), "--seeds=42,43", "--monitor_key=val_action_error",
               "--ray=local", "--", *SMALL, f"task.dataset_path=data/{buffer.name}", "training.output_dir=runs"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (group,) = metrics(tmp_path / "runs")
    assert (group["key"], list(group["runs"])) == ("val_action_error", ["seed_42", "seed_43"])
    refused = subprocess.run([*command[:2], "--cpus=999", *command[2:]], cwd=tmp_path, env=env, capture_output=True,
                             text=True, timeout=300, check=False)
    assert refused.returncode == 2
    assert "--cpus 999 for each run, but the cluster local has" in refused.stderr
