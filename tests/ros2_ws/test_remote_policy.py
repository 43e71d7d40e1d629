"""A policy in another process, asked through topics over DDS; simulator, controller and run are real processes too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.domain import free_domain
from app.processes import ChildProcess, stop
from app.up import Bringup, command
from ladle_bringup.description import policy_server
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings

sys.path.insert(0, str(Path(__file__).parent))
from test_operation import Console

pytestmark = pytest.mark.slow
RUN = BringupSettings(policy="remote", home=False, time_limit_s=300.0, pace=0.5)
SERVED = BringupSettings(policy="sway")
WATCHER = Path(__file__).with_name("joint_watcher.py")


def has_moved(log: Path, at_least_rad: float = 0.2) -> bool:
    """Whether any joint has travelled so far."""
    positions = [json.loads(line)["dq_rad_s"] for line in log.read_text().splitlines(keepends=True)
                 if line.endswith("\n")]
    return any(max(map(abs, row)) > at_least_rad for row in positions)


def test_a_policy_elsewhere_moves_the_arm_and_its_death_rests_it(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """Circles, asked over DDS; after kill -9 of the server HOLD, then STOPPED; a start is refused with the reason."""
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        variables = {**os.environ, **environment("sim")}
        server = ChildProcess("policy_server", command(policy_server(SERVED)), variables, tmp_path / "server.log")
        console, log = Console(), tmp_path / "joints.jsonl"
        with log.open("w") as output:
            watcher = subprocess.Popen([sys.executable, str(WATCHER)], stdout=output, env=variables)
        try:
            with Bringup(RUN, log_folder=tmp_path) as bringup:
                console.wait_for("state", "RUNNING")
                until_s = time.monotonic() + 60.0
                while not has_moved(log) and time.monotonic() < until_s:
                    time.sleep(0.1)
                assert has_moved(log), "the arm never circled"
                os.kill(server.pid, signal.SIGKILL)
                assert "has not answered in time" in console.wait_for("state", "HOLD")
                assert "the policy is gone" in console.wait_for("state", "STOPPED")
                console.ask("start")
                refusal = console.wait_for("refusal", "not started: the policy is gone")
                assert "configure and activate it again" in refusal
                assert all(child.exit_code is None for child in bringup.children)
        finally:
            stop([server])
            for process in (watcher, console.process):
                process.kill()
                process.wait()
