"""A recording tells in which order the quaternions of an older folder are written."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.quaternion_order import require_quaternion_order
from ladle.episode import EpisodeFolder
from ladle.episode_files import EEF_FILE
from ladle.errors import EpisodeError
from ladle.pose import to_xyz_wxyz
from ladle.task import FramesConfig
from read_sensors_utils.extract_all import extract_all


@pytest.fixture(scope="module")
def bags(synthetic, small_task, tmp_path_factory) -> Path:
    """Recordings 3 and 4, and beside them the older folder of 3 with its poses in wxyz."""
    folder = tmp_path_factory.mktemp("order")
    synthetic.write_bag(folder / "bags/rosbag_3", synthetic.BagPlan(duration_s=1.0))
    (folder / "bags/data.csv").write_text("index,mass\n3,1\n")
    extract_all(folder / "bags", folder / "made", small_task, workers=1)
    (folder / "older/actions/3").mkdir(parents=True)
    np.save(folder / "older/actions/3" / EEF_FILE, to_xyz_wxyz(EpisodeFolder(folder / "made").load(3).eef))
    shutil.copytree(folder / "bags/rosbag_3", folder / "other/rosbag_4")
    return folder


def test_the_order_that_fits_the_arm_is_accepted_and_the_other_refused(bags: Path, small_task, caplog) -> None:
    """The refusal names the order that fits."""
    caplog.set_level("INFO")
    require_quaternion_order(bags / "older", bags / "bags", "wxyz", small_task)
    assert "episode 3: its quaternions are wxyz" in caplog.text
    with pytest.raises(EpisodeError, match=r"episode 3: read as xyzw .* pass --quaternion-order wxyz"):
        require_quaternion_order(bags / "older", bags / "bags", "xyzw", small_task)


def test_what_cannot_be_compared_is_refused(bags: Path, small_task) -> None:
    """No recording of that number, or another tip than the task's."""
    with pytest.raises(EpisodeError, match=r"no recording in .* has the number"):
        require_quaternion_order(bags / "older", bags / "other", "wxyz", small_task)
    assert small_task.frames is not None
    frames = FramesConfig(base=small_task.frames.base, tip="panda_link4")
    task = dataclasses.replace(small_task, frames=frames, workspace=None, home=None)
    with pytest.raises(EpisodeError, match="mm from where rosbag_3 has the tip"):
        require_quaternion_order(bags / "older", bags / "bags", "wxyz", task)
