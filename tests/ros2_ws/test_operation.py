"""An operator's services, the states that /diagnostics tells, and how the node ends; through real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain import free_domain
from app.up import Bringup, command
from ladle.errors import DeploymentError
from ladle_bringup.description import NodeDescription
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings
from ladle_nodes.arm_conditions import message_type, of_franka

pytestmark = pytest.mark.slow
HELPER = Path(__file__).with_name("run_operator.py")
SLOW_NODE = Path(__file__).with_name("slow_policy_node.py")
SETTINGS = BringupSettings(policy="hold", home=False, time_limit_s=300.0)
PATIENCE_S = 60.0


class Console:
    """The helper process, and what it has written so far."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, str(HELPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **environment("sim")})
        self.lines: list[dict[str, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def ask(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def wait_for(self, key: str, text: str) -> str:
        """The reason or the answer of the first line from now on that has the text under the key."""
        until_s, seen = time.monotonic() + PATIENCE_S, 0
        while time.monotonic() < until_s:
            for line in self.lines[seen:]:
                seen += 1
                if text in line.get(key, ""):
                    del self.lines[:seen]
                    return line.get("reason", line[key])
            time.sleep(0.02)
        raise AssertionError(f"no {key} with {text!r}: {self.lines}")

    def do(self, word: str, state: str) -> str:
        """Carried out, and the state that it leads to; its reason."""
        self.ask(word)
        self.wait_for("answer", word)
        return self.wait_for("state", state)


def with_slow_policy(node: NodeDescription) -> list[str]:
    """The node's command, of the policy's with a policy that thinks for long."""
    line = command(node)
    return line if node.executable != "policy_node" else [line[0], str(SLOW_NODE), *line[3:]]


def stop_while_it_thinks(console: Console, folder: Path) -> str:
    """The question is open when the run ends, and answered afterwards."""
    (folder / "on").touch()
    until_s = time.monotonic() + PATIENCE_S
    while not (folder / "now").exists():
        assert time.monotonic() < until_s, "the policy is not asked"
        time.sleep(0.01)
    console.ask("stop")
    reason = console.wait_for("state", "STOPPED")
    (folder / "on").unlink()
    return reason


def test_an_operator_steers_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop, start, home, resume, clear_fault as far as each state allows; SIGINT ends the node at rest.

    The policy takes 0.3 s and has been asked when the run is stopped. A fault outlasts deactivating and activating,
    and where activating fails the node moves nothing.
    """
    monkeypatch.setenv("THINKING", str(tmp_path))
    monkeypatch.setattr("app.up.command", with_slow_policy)
    with free_domain() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        console = Console()
        try:
            with Bringup(SETTINGS, log_folder=tmp_path) as bringup:
                policy = next(child for child in bringup.children if child.name == "ladle_policy")
                console.wait_for("state", "RUNNING")
                console.ask("home")
                assert "stop it before homing" in console.wait_for("refusal", "home")
                console.ask("clear_fault")
                assert "no fault" in console.wait_for("refusal", "clear_fault")
                assert stop_while_it_thinks(console, tmp_path) == "stopped by an operator"
                console.ask("resume")
                assert "start it" in console.wait_for("refusal", "resume")
                console.ask("home")
                assert console.wait_for("reason", "at home") == "the arm is at home"
                console.do("start", "RUNNING")
                console.ask("guide")
                assert "guided by hand" in console.wait_for("state", "FAULT")
                console.ask("start")
                assert "clear it" in console.wait_for("refusal", "start")
                deactivated_and_activated(console)
                console.do("clear_fault", "IDLE")
                console.do("start", "RUNNING")
                activated_without_a_policy(console, policy.pid)
                policy.send(signal.SIGINT)
                assert console.wait_for("state", "STOPPED") == "the node ends"
                assert policy.wait(30.0)
                assert policy.exit_code == 0
        finally:
            console.process.kill()
            console.process.wait()


def deactivated_and_activated(console: Console) -> None:
    """A fault is latched before and after; meanwhile only a stop is carried out."""
    console.ask("deactivate")
    console.wait_for("answer", "deactivate")
    console.ask("clear_fault")
    assert "not active" in console.wait_for("refusal", "clear_fault")
    console.ask("stop")
    assert "FAULT" in console.wait_for("answer", "stop")
    console.ask("activate")
    console.wait_for("answer", "activate")
    console.ask("start")
    assert "clear it" in console.wait_for("refusal", "start")


def thread_states(process: Path) -> list[str]:
    """Of each thread; the last one that ends closes the socket."""
    with contextlib.suppress(OSError):
        return [path.read_text().rpartition(")")[2].split()[0] for path in (process / "task").glob("*/stat")]
    return []


def kill_policy_of(node: int) -> None:
    """kill -9 of the node's only child, and wait until it has let go of its socket."""
    children = [word for path in Path(f"/proc/{node}/task").glob("*/children") for word in path.read_text().split()]
    for child in map(Path("/proc").joinpath, children):
        assert "policy_process" in (child / "cmdline").read_text()
        os.kill(int(child.name), signal.SIGKILL)
        until_s = time.monotonic() + PATIENCE_S
        while any(state not in "ZX" for state in thread_states(child)):
            assert time.monotonic() < until_s
            time.sleep(0.01)


def activated_without_a_policy(console: Console, node: int) -> None:
    """Activating fails, and nothing moves until the node has been configured anew; then a run begins by itself."""
    console.ask("deactivate")
    console.wait_for("answer", "deactivate")
    kill_policy_of(node)
    console.ask("activate")
    console.wait_for("refusal", "activate")
    console.ask("home")
    assert "not active" in console.wait_for("refusal", "home")
    for word in ("cleanup", "configure", "activate"):
        console.ask(word)
        console.wait_for("answer", word)
    console.wait_for("state", "RUNNING")


def test_control_of_no_run_ends_in_one_line() -> None:
    """Exit code 2, and the domain in which nobody answered."""
    with free_domain() as domain:
        done = subprocess.run([sys.executable, "-c", "from app.cli import main; main()", "control", "stop"],
                              capture_output=True, text=True, timeout=120, check=False,
                              env={**os.environ, "ROS_DOMAIN_ID": str(domain)})
    assert done.returncode == 2
    assert f"nobody answers /ladle/stop in ROS_DOMAIN_ID {domain}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_real_franka_without_its_messages_is_refused() -> None:
    """With the remedy: its errors would go unseen."""
    with pytest.raises(DeploymentError, match="arm_condition:=none"):
        message_type("franka")


def test_a_frankas_report_is_read_by_its_fields() -> None:
    """Modes by number, errors by the names of the fields that are true."""

    class Errors:
        cartesian_reflex, joint_reflex = True, False

        def get_fields_and_field_types(self) -> dict[str, str]:
            return {"joint_reflex": "boolean", "cartesian_reflex": "boolean"}

    message: Any = SimpleNamespace(robot_mode=4, current_errors=Errors(), control_command_success_rate=0.5)
    condition = of_franka(message, 3.0)
    assert (condition.mode, condition.errors) == ("reflex", ("cartesian_reflex",))
    message.robot_mode = 9
    with pytest.raises(DeploymentError, match="robot_mode 9"):
        of_franka(message, 3.0)
