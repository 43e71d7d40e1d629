"""From a driver's topics through rings to `RealEnv`: three processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.domain import free_domain
from ladle.kinematics import KinematicChain
from ladle.robot_description import panda_urdf
from ladle.task import load_task
from ladle_bringup.environment import environment
from real_world_deployment.real_env import RealEnv
from real_world_deployment.splice import Splice

DRIVER = Path(__file__).with_name("driver_publisher.py")


class Nobody:
    """A controller that must not be asked."""

    def follow(self, splice: Splice, now_s: float) -> None:
        raise AssertionError("nothing was to be moved")


@pytest.mark.slow
def test_a_script_sees_what_the_drivers_publish() -> None:
    """Cameras at the task's size, joints by name in the task's order, all fresh; the node ends on SIGINT."""
    task = load_task("scoop")
    assert task.frames is not None
    assert task.home is not None
    chain = KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)
    with free_domain() as domain:
        variables = {**os.environ, **environment("sim"), "ROS_DOMAIN_ID": str(domain)}
        driver = subprocess.Popen([sys.executable, str(DRIVER)], env=variables)
        rings = subprocess.Popen([sys.executable, "-m", "ladle_nodes.ring_node", "--ros-args", "-p", "task:=scoop"],
                                 env=variables)
        try:
            env = RealEnv(task, chain, Nobody())
            env.start(timeout_s=60.0)
            time.sleep(0.3)  # two observations lie a tenth of a second apart
            obs = env.get_obs()
            rings.send_signal(signal.SIGINT)
            assert rings.wait(20.0) == 0
        finally:
            for process in (rings, driver):
                process.kill()
                process.wait()
    assert obs["camera_1"].shape == (2, 120, 240, 3)
    assert obs["camera_1"].dtype == np.uint8
    np.testing.assert_allclose(obs["robot_joint"], [task.home.posture_rad] * 2)
    assert abs(time.time() - obs["timestamp"][-1]) < 30.0
    assert obs["camera_1"][1].mean() != obs["camera_1"][0].mean()
