"""Nothing of a robomimic file is dropped unnamed, and what cannot be read is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ladle.errors import ReplayBufferError
from training.interop.convert import convert
from training.interop.robomimic_read import read_robomimic
from training.interop.summary import summarise

Make = Callable[..., Path]


def put(path: Path, name: str, value: Any) -> None:
    """Add a dataset."""
    with h5py.File(path, "a") as file:
        file[name] = value


@pytest.mark.parametrize(("name", "value", "words"), [
    ("data/demo_2_retry/actions", np.zeros((3, 7)), "the group data/demo_2_retry, whose name is not demo_N"),
    ("data/episode_1/actions", np.zeros((3, 7)), "the group data/episode_1, whose name is not demo_N"),
    ("data/demo_7", np.zeros(3), "the array data/demo_7, whose name is not demo_N"),
    ("data/demo_3/success", 1.0, "the single value success"),
    ("data/demo_3/extra/x", np.zeros(3), "the group extra"),
    ("notes", np.zeros(3), "the array notes"),
    ("mask/odd/deeper", np.zeros(3), "the group mask/odd, which is no list of demonstrations"),
    ("mask/odd", np.array([b"trajectory_1", b"demo_0"]), "1 names of mask/odd that are not demo_N, as trajectory_1"),
])
def test_what_is_read_nowhere_is_named(tmp_path: Path, robomimic_file: Make, caplog: pytest.LogCaptureFixture,
                                       name: str, value: Any, words: str) -> None:
    """And the rest is converted."""
    path = robomimic_file()
    put(path, name, value)
    convert(path, tmp_path / "back.zarr")
    assert f"not carried over: {words}" in caplog.text
    assert summarise(path).episodes == 3


def test_attributes_are_carried_or_named(robomimic_file: Make) -> None:
    """LIBERO keeps its instruction in one of data; a few letters of it tell which one it is."""
    path = robomimic_file()
    with h5py.File(path, "a") as file:
        file["data"].attrs["problem_info"] = '{"language_instruction": "open the drawer"}'
        file["data"].attrs["macros_image_convention"] = "opengl"
        file["data/demo_0"].attrs["names"] = np.array([b"a", b"\xff"])
        file["data/demo_0"].attrs["empty"] = h5py.Empty("f")
        file.attrs["author"] = "x"
        file["data"].attrs["env_args"] = "no JSON"
    found = read_robomimic(path).not_carried
    for words in ('the attribute problem_info of data ({"language_instruction": "open the drawer"})',
                  "the attribute macros_image_convention of data (opengl)", "the attribute author of the file",
                  "the attribute names", "the attribute empty", "env_args, which is no JSON object"):
        assert words in found


@pytest.mark.parametrize(("name", "value", "words"), [
    ("data/demo_0/obs/images/front", np.zeros((4, 2, 2, 3), np.uint8), "/data/demo_0/obs/images is a group"),
    ("data/demo_0/obs/goal", 3.0, "/data/demo_0/obs/goal is a single value"),
    ("data/demo_0/obs/text", ["a", "b", "c", "d"], "/data/demo_0/obs/text is of type object, expected numbers"),
    ("data/demo_0/words", ["a", "b", "c", "d"], "/data/demo_0/words is of type object, expected numbers"),
])
def test_what_no_array_holds_is_refused_by_name(tmp_path: Path, robomimic_file: Make, name: str, value: Any,
                                                words: str) -> None:
    """Before anything is written."""
    path = robomimic_file()
    put(path, name, value)
    with pytest.raises(ReplayBufferError, match=words):
        convert(path, tmp_path / "back.zarr")
    assert not (tmp_path / "back.zarr").exists()
