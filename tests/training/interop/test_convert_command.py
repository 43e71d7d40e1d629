"""`ladle convert` in both of its forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ladle.errors import ReplayBufferError
from training.interop.convert import Choices, convert
from training.interop.kinds import Kind, kind_to_write

from .conftest import assert_same_store


def ladle(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run([sys.executable, "-m", "app.cli", "convert", *map(str, arguments)], capture_output=True,
                          text=True, check=False)


def test_source_and_target(tmp_path: Path, scoop_store: Path) -> None:
    """The target's name chooses the format; a target that exists is refused in one line, and replaced on demand."""
    target = tmp_path / "scoop.hdf5"
    assert ladle(scoop_store, target).returncode == 0
    again = ladle(scoop_store, target)
    assert again.returncode == 2
    assert [line for line in again.stderr.splitlines() if "--override" in line]
    assert "Traceback" not in again.stderr
    assert ladle(scoop_store, target, "--override").returncode == 0
    convert(target, tmp_path / "back.zarr")
    assert_same_store(scoop_store, tmp_path / "back.zarr")


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "SOURCE TARGET"), (["store"], "TARGET"), (["store", "x.npz"], "x.npz"),
    (["store", "x.hdf5", "--zip"], "--zip"),
    (["missing.zarr", "x.hdf5"], "missing.zarr"), (["store", "x.zarr", "--filter-key", "train"], "filter keys"),
    (["store", "set", "--fps", "0"], "--fps"), (["store", "set", "--fps", "25"], "leave out --fps"),
])
def test_what_does_not_fit_is_one_clear_line(tmp_path: Path, scoop_store: Path, arguments: list[str],
                                             said: str) -> None:
    """With exit code 2, and nothing written."""
    done = ladle(*[scoop_store if word == "store" else word if word.startswith("-") or word in {"train", "0", "25"}
                   else tmp_path / word for word in arguments])
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("E ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["scoop.zarr"]


@pytest.mark.parametrize(("name", "kind"), [
    ("a.zarr", Kind.ZARR), ("a.zarr.zip", Kind.ZARR_ZIP), ("a.hdf5", Kind.ROBOMIMIC), ("a.h5", Kind.ROBOMIMIC),
    ("a", Kind.LEROBOT),
])
def test_the_name_chooses_the_format(name: str, kind: Kind) -> None:
    """As documented."""
    assert kind_to_write(Path(name)) is kind


def test_a_data_set_is_not_converted_into_itself(scoop_store: Path) -> None:
    """Not even with --override."""
    with pytest.raises(ReplayBufferError, match="itself"):
        convert(scoop_store, scoop_store, Choices(override=True))
