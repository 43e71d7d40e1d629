"""Checkpoints are whole, checked, and refuse what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from ladle.errors import CheckpointError
from training import checkpoint as checkpoint_module
from training.checkpoint import open_checkpoint, prune, save_checkpoint


def save(folder: Path, step: int, value: float | None = None) -> None:
    """A checkpoint with one tensor."""
    save_checkpoint(folder, kind="policy", tensors={"ema.safetensors": {"w": torch.tensor([float(step)])}},
                    texts={"config.yaml": "{}"}, meta={"step": step, "monitor_value": value})


def test_what_is_saved_is_read_back(tmp_path: Path):
    """Tensors, texts and step return; the run folder, `latest` and the folder itself all open it."""
    folder = tmp_path / "run" / "checkpoints" / "epoch=0001-x=1"
    save(folder, 3)
    for path in (folder, folder.parent, folder.parent / "latest", tmp_path / "run"):
        opened = open_checkpoint(path, "policy")
        assert opened.step == 3
        assert opened.tensors("ema.safetensors")["w"].item() == 3.0


def test_a_full_disk_leaves_the_older_checkpoint_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When writing fails, `latest` still opens and nothing half-written is left."""
    save(tmp_path / "epoch=0001", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path / "epoch=0002", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0001", "latest"]
    assert open_checkpoint(tmp_path, "policy").step == 1


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What safetensors raises then is no traceback for the user."""
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing:\nIoError(No space left on device)")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left.*free disk space") as caught:
        save(tmp_path / "epoch=0001", 1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_a_kill_left_of_a_removed_checkpoint_is_removed(tmp_path: Path):
    """A folder without meta.json neither stops pruning nor stays."""
    save(tmp_path / "epoch=0001", 1, 0.5)
    save(tmp_path / "epoch=0000", 0, 0.1)
    (tmp_path / "epoch=0000" / "meta.json").unlink()
    prune(tmp_path, 1)
    assert [path.name for path in tmp_path.glob("epoch=*")] == ["epoch=0001"]


def test_only_the_best_and_the_latest_are_kept(tmp_path: Path):
    """keep_top_k counts from the lowest monitored value; the latest stays whatever its value."""
    for step, value in enumerate([0.5, 0.1, 0.3, 0.9]):
        save(tmp_path / f"epoch={step:04d}", step, value)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("epoch=*")) == ["epoch=0001", "epoch=0002", "epoch=0003"]


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "ema.safetensors").write_bytes(b"x" * 80), "is damaged"),
    (lambda folder: (folder / "ema.safetensors").unlink(), r"has no ema\.safetensors"),
    (lambda folder: (folder / "task.yaml").write_text("name: x\nrate_hz: 1"), r"task\.yaml is damaged"),
    (lambda folder: (folder / "meta.json").write_text("{"), r"meta\.json is damaged"),
    (lambda folder: (folder / "meta.json").unlink(), "no checkpoint at"),
])
def test_a_damaged_checkpoint_is_refused_by_name(damage, message: str, tiny_policy: Path, tmp_path: Path):
    """A changed or missing file never becomes a policy."""
    from training.inference import load_policy

    folder = tmp_path / "copy"
    shutil.copytree(tiny_policy, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_policy(folder)


def test_another_schema_version_and_the_other_kind_are_refused(tiny_policy: Path, tiny_classifier: Path,
                                                               tmp_path: Path):
    """A classifier is not a policy, and the future's format is not guessed at."""
    with pytest.raises(CheckpointError, match="holds a classifier, but a policy is needed"):
        open_checkpoint(tiny_classifier, "policy")
    folder = tmp_path / "copy"
    shutil.copytree(tiny_policy, folder)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "schema_version": 99}))
    with pytest.raises(CheckpointError, match="schema version 99"):
        open_checkpoint(folder, "policy")


def test_a_checkpoint_without_a_value_takes_the_place_of_none_with_one(tmp_path: Path):
    """It was saved between two validations: nobody knows that it is better."""
    for step, value in enumerate([0.5, None, 0.3, None]):
        save(tmp_path / f"epoch={step:04d}", step, value)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.glob("epoch=*")) == ["epoch=0000", "epoch=0002", "epoch=0003"]
