"""Checkpoints: a folder of safetensors and text, whole or absent, checked when it is read. Nothing is pickled.

    checkpoints/
        epoch=0030-val_action_error=0.913/
            ema.safetensors          weights and normalisers that are deployed
            train_state.safetensors  raw weights and optimiser, to go on training
            config.yaml, task.yaml   as trained
            normalizer.json          the limits, for people
        starts.json              where the training episodes began, for data with poses
            meta.json                schema version, kind, step, monitor, git revision, SHA-256 of the files
        latest -> epoch=...
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ladle.atomic import PARTIAL, flush, flush_tree
from ladle.errors import CheckpointError
from ladle.task import TaskConfig, task_from_text
from training.schema import AnyConfig, parse_config

SCHEMA_VERSION = 1
META, CONFIG, TASK = "meta.json", "config.yaml", "task.yaml"
EMA, TRAIN_STATE = "ema.safetensors", "train_state.safetensors"
LATEST = "latest"
Kind = Literal["policy", "classifier"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose text is read and whose tensors are read on request."""

    folder: Path
    meta: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.meta["step"])

    @property
    def task(self) -> TaskConfig:
        """The task that it was trained for."""
        return task_from_text(self.text(TASK), str(self.folder / TASK))

    def text(self, name: str) -> str:
        """A text file of the folder, its checksum compared."""
        return self._verified(name).read_text()

    def config(self, kind: type[AnyConfig]) -> AnyConfig:
        """The configuration that it was trained with."""
        return parse_config(kind, yaml.safe_load(self.text(CONFIG)), str(self.folder / CONFIG))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of a file, on the CPU."""
        path = self._verified(name)
        try:
            return load_file(path)
        except SafetensorError as error:
            raise CheckpointError(f"{path} cannot be read ({error}); take another checkpoint") from error

    def _verified(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise CheckpointError(f"checkpoint {self.folder} has no {name}; copy the whole folder again")
        if file_sha256(path) != self.meta["sha256"].get(name):
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {META}; copy it again")
        return path


def open_checkpoint(path: str | Path, kind: Kind) -> Checkpoint:
    """Open a checkpoint folder, or the latest one of a run folder.

    Raises:
        CheckpointError: nothing there, not a checkpoint, of the other kind, or of an unknown version.
    """
    given = Path(path)
    candidates = [given, given / LATEST, given / "checkpoints" / LATEST]
    folder = next((item for item in candidates if (item / META).is_file()), None)
    if folder is None:
        raise CheckpointError(f"no checkpoint at {given}: expected a folder with {META}, or a run folder with "
                              f"checkpoints/{LATEST}; train one with train.py or train_classifier.py")
    folder = folder.resolve()
    try:
        meta = json.loads((folder / META).read_text())
        version, found, _ = meta["schema_version"], meta["kind"], (meta["sha256"], meta["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / META} is damaged ({error}); copy the checkpoint again") from error
    if version != SCHEMA_VERSION:
        raise CheckpointError(f"checkpoint {folder} has schema version {version}, this Ladle reads {SCHEMA_VERSION}; "
                              "use the Ladle that wrote it")
    if found != kind:
        raise CheckpointError(f"checkpoint {folder} holds a {found}, but a {kind} is needed here")
    return Checkpoint(folder, meta)


def save_checkpoint(
    folder: Path,
    *,
    kind: Kind,
    tensors: Mapping[str, Mapping[str, Tensor]],
    texts: Mapping[str, str],
    meta: Mapping[str, Any],
    copies: Mapping[str, Path] | None = None,
) -> None:
    """Write a checkpoint beside its place, flush it to disk, rename it, then point `latest` to it.

    tensors and texts are file name -> content; copies are name inside -> folder that is copied in.

    Raises:
        CheckpointError: the tensors cannot be written; nothing half-written is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f"{PARTIAL}{folder.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, state in tensors.items():
            save_file({key: value.detach().contiguous().cpu() for key, value in state.items()}, partial / name)
        for name, text in texts.items():
            (partial / name).write_text(text)
        sums = {name: file_sha256(partial / name) for name in (*tensors, *texts)}
        for name, source in (copies or {}).items():
            shutil.copytree(source, partial / name)
        content = {"schema_version": SCHEMA_VERSION, "kind": kind, "git_revision": git_revision(), **meta,
                   "sha256": sums}
        (partial / META).write_text(json.dumps(content, indent=2) + "\n")
        flush_tree(partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, SafetensorError):
            raise CheckpointError(f"{folder} cannot be written ({' '.join(str(error).split())}); free disk space and "
                                  "start again: training goes on from the checkpoint before") from error
        raise
    point_latest(folder)


def point_latest(folder: Path) -> None:
    """Let `latest` beside the folder point to it, in one step."""
    link = folder.parent / f".{LATEST}-new"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(folder.parent / LATEST)
    flush(folder.parent)


def prune(folder: Path, keep_top_k: int) -> None:
    """Remove all checkpoints but the latest and the keep_top_k with the best monitored value."""
    latest = (folder / LATEST).resolve()
    ranked: list[tuple[float, int, Path]] = []
    for item in folder.glob("epoch=*"):
        if not (item / META).is_file():  # a kill while it was removed
            shutil.rmtree(item, ignore_errors=True)
            continue
        meta = json.loads((item / META).read_text())
        value = meta.get("monitor_value")
        sign = -1.0 if meta.get("highest_best") else 1.0
        ranked.append((float("inf") if value is None else sign * float(value), int(meta["step"]), item))
    for _, _, item in sorted(ranked)[keep_top_k:]:
        if item.resolve() != latest:
            shutil.rmtree(item)


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def git_revision() -> str:
    """Revision of the code, `unknown` where it is not a working copy."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
