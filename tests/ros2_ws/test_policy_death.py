"""What the arm does when the process that decides dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.domain import free_domain
from app.up import Bringup
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings

sys.path.insert(0, str(Path(__file__).parent))
from expert_episode import write_expert_episode

pytestmark = pytest.mark.slow
WATCHER = Path(__file__).with_name("joint_watcher.py")
MOVING_RAD_S, AT_REST_RAD_S = 0.05, 0.005
# What the controller may still hold (motion and tail), and a margin for the arm to settle.
TO_REST_S = 0.8 + 0.5 + 0.7
# The reflex model brakes harder than any motion of ours.
GENTLE_RAD_S2 = 5.0


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines that are there."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("route", [
    pytest.param({}, id="jtc"),
    # Ruckig's set-points as short overlapping trajectories, for arms that take no raw set-points.
    pytest.param({"controller": "ruckig", "setpoint_form": "trajectory"}, id="ruckig_through_jtc"),
])
def test_the_arm_comes_to_rest_when_the_policy_is_killed(route: dict[str, Any], tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of the policy in mid-motion: the arm brakes gently along its tail, without a reflex, and stays."""
    write_expert_episode(tmp_path / "episodes", seed=0)
    settings = BringupSettings(policy="replay", episodes=str(tmp_path / "episodes"), split="train", lockstep=False,
                               home=False, time_limit_s=9.0, output=str(tmp_path / "out"), **route)
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        log = tmp_path / "joints.jsonl"
        with log.open("w") as output:
            watcher = subprocess.Popen([sys.executable, str(WATCHER)], stdout=output,
                                       env={**os.environ, **environment("sim")})
        try:
            with Bringup(settings, log_folder=tmp_path / "logs") as bringup:
                killed_s = kill_in_motion(bringup, log)
                simulator = next(child for child in bringup.children if child.name == "ladle_simulator")
                assert simulator.wait(60.0)
        finally:
            watcher.send_signal(signal.SIGINT)
            watcher.wait(10)
    joints = read(log)
    times_s = np.array([joint["time_s"] for joint in joints])
    speeds = np.array([joint["dq_rad_s"] for joint in joints])
    assert times_s[-1] > killed_s + TO_REST_S + 0.5
    assert np.abs(speeds[times_s > killed_s + TO_REST_S]).max() < AT_REST_RAD_S
    after = times_s >= killed_s
    accelerations = np.diff(speeds[after][::4], axis=0) / np.diff(times_s[after][::4])[:, None]
    assert np.abs(accelerations).max() < GENTLE_RAD_S2
    assert read(tmp_path / "out" / "scenes.jsonl")[0]["reflex"] is None


def kill_in_motion(bringup: Bringup, log: Path) -> float:
    """Kill the policy once the arm moves; the simulation time of the last joint state before."""
    policy = next(child for child in bringup.children if child.name == "ladle_policy")
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        joints = read(log)
        if len(joints) > 200 and max(abs(v) for v in joints[-1]["dq_rad_s"]) > MOVING_RAD_S:
            os.kill(policy.pid, signal.SIGKILL)
            return float(joints[-1]["time_s"])
        time.sleep(0.05)
    raise AssertionError("the arm never moved")
