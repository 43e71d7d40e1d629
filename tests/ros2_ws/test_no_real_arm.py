"""A simulated run next to a robot's driver: three processes of ours, and one of the robot's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain import free_domain
from app.up import Bringup
from ladle.script import USER_ERROR_EXIT_CODE
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings

pytestmark = pytest.mark.slow
PEER = Path(__file__).with_name("trajectory_peer.py")
SETTINGS = BringupSettings(policy="hold", home=False, renderer="rays", time_limit_s=60.0)
PATIENCE_S = 90.0


def test_a_simulation_ends_before_it_begins_where_a_robots_driver_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                    ) -> None:
    """The user's own domain, and a driver of ros2_control in it: refused by name, with the remedy."""
    with free_domain() as domain:
        for name, value in {**environment("sim"), "ROS_DOMAIN_ID": str(domain)}.items():
            monkeypatch.setenv(name, value)
        driver = subprocess.Popen([sys.executable, str(PEER), "reader", "controller_manager", "/elsewhere"])
        try:
            with Bringup(SETTINGS, log_folder=tmp_path) as bringup:
                simulator = next(child for child in bringup.children if child.name == "ladle_simulator")
                assert simulator.wait(PATIENCE_S)
                assert simulator.exit_code == USER_ERROR_EXIT_CODE
        finally:
            driver.kill()
            driver.wait()
    assert re.search(r"controller_manager\), and would follow .* another ROS_DOMAIN_ID",
                     (tmp_path / "ladle_simulator.log").read_text())
    assert "HOMING" not in (tmp_path / "ladle_policy.log").read_text()
